"""Options of the Qwen-Image backbone."""

from __future__ import annotations

from ..config import PipelineConfig


class QwenImageConfig(PipelineConfig):
    """Which Qwen-Image pipeline is loaded, and how."""

    model: str = "Qwen/Qwen-Image"
    """Hub id, or folder of a pipeline."""
