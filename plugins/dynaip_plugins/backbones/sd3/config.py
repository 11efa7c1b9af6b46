"""Options of the SD3 backbone."""

from __future__ import annotations

from ..config import PipelineConfig


class SD3Config(PipelineConfig):
    """Which Stable Diffusion 3 pipeline is loaded, and how."""

    model: str = "stabilityai/stable-diffusion-3.5-medium"
    """Hub id, or folder of a pipeline."""
