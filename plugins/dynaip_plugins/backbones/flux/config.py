"""Options of the FLUX backbone."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from dynaip.config import ComponentConfig


class FluxConfig(ComponentConfig):
    """Which FLUX pipeline is loaded, and how."""

    model: str = "black-forest-labs/FLUX.1-dev"
    """Hub id, folder of a pipeline, or a bundle such as microworld."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    variant: str | None = None
    """Variant of the weight files, e.g. fp16."""
    device_map: str | None = None
    """Passed to diffusers, e.g. balanced."""
    max_sequence_length: PositiveInt | None = Field(default=None, le=512)
    """T5 tokens of a prompt; None takes what the tokenizer declares, at most 512."""
    training_guidance: float = Field(default=1.0, ge=0)
    """Guidance that models with a guidance embedding are trained under."""
