"""Options of the SD3 backbone."""

from __future__ import annotations

from ..config import PipelineConfig, model_part


class SD3Config(PipelineConfig):
    """Which Stable Diffusion 3 pipeline is loaded, and how."""

    model: str = "stabilityai/stable-diffusion-3.5-medium"
    """Hub id, or folder of a pipeline."""

    def native_size(self) -> tuple[int, int]:
        """Height and width in pixels; the transformer's config says how many latents the model was made for."""
        latents = int(model_part(self, "transformer").get("sample_size", 128))
        edge = super().native_size()[0] // 128 * latents
        return edge, edge

    def size_multiple(self) -> int:
        """Pixels on an edge of one image token; the transformer's config says how many latents are one."""
        patch = int(model_part(self, "transformer").get("patch_size", self.patch))
        return super().size_multiple() // self.patch * patch

    def longest_edge(self) -> int | None:
        """Pixels that the transformer has places for; None if its config is not at hand."""
        places = model_part(self, "transformer").get("pos_embed_max_size")
        return None if places is None else int(places) * self.size_multiple()
