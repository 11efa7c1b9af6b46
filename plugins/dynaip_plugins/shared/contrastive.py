"""Options that metrics of an image and text model share; light to import."""

from __future__ import annotations

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class ContrastiveConfig(ComponentConfig):
    """Options of such a metric."""

    model: str
    """Hub id, folder or bundle."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    batch_size: PositiveInt = 64
    """Images or prompts at once; it changes nothing of the scores beyond rounding."""
