"""Options of the CLIP metric."""

from __future__ import annotations

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class ClipMetricConfig(ComponentConfig):
    """Which CLIP compares."""

    model: str = "openai/clip-vit-base-patch32"
    """Hub id or folder of a CLIPModel with tokenizer, or a bundle such as microworld."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    batch_size: PositiveInt = 64
    """Images at once."""
