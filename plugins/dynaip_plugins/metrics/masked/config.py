"""Options of the masked metric."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dynaip.config import ComponentSpec, OfKind

from ...shared.looking import TowerConfig


class MaskedConfig(TowerConfig):
    """Which tower looks, and who says where subjects are."""

    model: str = "google/siglip2-so400m-patch14-384"
    """Hub id, folder or bundle of a vision tower."""
    layer: float = Field(default=1.0, ge=0, le=1)
    """Depth whose patch tokens are averaged; 1.0 is the last layer."""
    masks: Path | None = None
    """Folder with masks of the painted pictures: ``CASE.png``, or ``CASE/1.png`` … for the first reference and so on."""
    segmenter: Annotated[ComponentSpec, OfKind("segmenter")] | None = None
    """A plugin that finds subjects by their names, for pictures (and references) without a mask."""

    @model_validator(mode="after")
    def _one_way(self) -> MaskedConfig:
        if self.masks is None and self.segmenter is None:
            raise ValueError("nothing says where subjects are: name masks (a folder) or segmenter (a plugin)")
        return self
