"""Options of the Qwen-Image backbone."""

from __future__ import annotations

from typing import Any

from ..config import PipelineConfig


class QwenImageConfig(PipelineConfig):
    """Which Qwen-Image pipeline is loaded, and how."""

    model: str = "Qwen/Qwen-Image"
    """Hub id, or folder of a pipeline."""

    def latent_edge(self, vae: dict[str, Any]) -> int | None:
        """The autoencoder of a video model halves once for each of its temporal steps."""
        steps = vae.get("temperal_downsample")
        return 2 ** len(steps) if steps else None
