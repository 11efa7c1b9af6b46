"""Options of the FLUX backbone."""

from __future__ import annotations

from pydantic import Field

from ..config import PipelineConfig, model_part


class FluxConfig(PipelineConfig):
    """Which FLUX pipeline is loaded, and how."""

    model: str = "black-forest-labs/FLUX.1-dev"
    """Hub id, folder of a pipeline, or a bundle such as microworld."""
    training_guidance: float = Field(default=1.0, ge=0)
    """Guidance that models with a guidance embedding are trained under."""

    def native_size(self) -> tuple[int, int]:
        """Height and width in pixels that the autoencoder was made for."""
        edge = int(model_part(self, "vae").get("sample_size", 1024))
        return edge, edge
