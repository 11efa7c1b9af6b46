"""Options of the FLUX.2 backbone."""

from __future__ import annotations

from pydantic import Field

from ..config import PipelineConfig


class Flux2Config(PipelineConfig):
    """Which FLUX.2 pipeline is loaded, and how."""

    model: str = "black-forest-labs/FLUX.2-dev"
    """Hub id, or folder of a pipeline; dev and klein are told apart by the folder."""
    training_guidance: float = Field(default=1.0, ge=0)
    """Guidance that models with a guidance embedding (dev) are trained under."""
