"""DINO score (DreamBooth, Ruiz et al. 2023): cosine x 100 between class tokens of image and reference, mean over references.

The column names the model (``dino_s16``, ``dino_s8``, ``dinov2_s14``), since figures of one do not carry to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from dynaip.contracts import Case, Metric

from ..seeing import DREAMBENCH, Seeing
from .config import DinoConfig

NAMES = {"ViT or DINO": "dino", "DINOv2": "dinov2", "DINOv2 with registers": "dinov2r", "DINOv3": "dinov3"}
WIDTHS = {384: "s", 768: "b", 1024: "l", 1536: "g"}
FAMILIES = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")


class DinoMetric(Metric):
    """One column."""

    def __init__(self, config: DinoConfig) -> None:
        self.seeing = Seeing(config, "metric dino: model", families=FAMILIES)
        tower = self.seeing.tower
        first = tower.family.name == "ViT or DINO"
        if config.pixels == "protocol" or (config.pixels is None and first):
            self.seeing.preprocessing = DREAMBENCH
        size = WIDTHS.get(tower.width, f"w{tower.width}_")
        self.columns = (f"{NAMES[tower.family.name]}_{size}{tower.model.config.patch_size}",)

    def to(self, device: Any) -> DinoMetric:
        """Move the tower."""
        self.seeing.to(device)
        return self

    def about(self) -> dict[str, Any]:
        """Model, revision, weights, pixels."""
        return self.seeing.about()

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Cosine x 100; NaN for a case without reference."""
        painted = self.seeing.embeddings(images)
        shown = self.seeing.embeddings([each.image for case in cases for each in case.references], again=True)
        parts = shown.split([len(case.references) for case in cases])
        column = self.columns[0]
        return [
            {column: float((many @ one).mean() * 100) if len(many) else float("nan")}
            for one, many in zip(painted, parts, strict=True)
        ]
