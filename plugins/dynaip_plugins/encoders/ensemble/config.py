"""Options of an encoder that reads several vision transformers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dynaip.config import ComponentConfig
from dynaip.registry.options import Strict
from dynaip.suggest import did_you_mean

TOWERS = {
    "clip": "openai/clip-vit-large-patch14",
    "siglip": "google/siglip-so400m-patch14-384",
    "siglip2": "google/siglip2-so400m-patch14-384",
    "dinov2": "facebook/dinov2-large",
    "dinov2_registers": "facebook/dinov2-with-registers-large",
    "dinov3": "facebook/dinov3-vitl16-pretrain-lvd1689m",
    "radio": "nvidia/C-RADIOv4-H",
}
"""Towers that need not be written out: name -> hub id."""


class TowerOptions(Strict):
    """One of the towers."""

    model: str
    """Hub id, folder or bundle, as for the encoder vit."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    size: int | None = Field(default=None, gt=0)
    """Edge of its pixels; None takes the model's own."""


class EnsembleConfig(ComponentConfig):
    """Which layer of which tower is which level."""

    levels: dict[str, str] = Field(default={"low": "dinov2@0.4", "high": "siglip2@1.0"}, min_length=1)
    """Level name -> tower@layer, from shallow to deep: ``dinov2@0.4`` (share of the depth) or ``dinov2@10`` (layer)."""
    towers: dict[str, TowerOptions] = Field(default_factory=dict)
    """Name of a tower -> its model (``dinov2: folder``) or ``{model: …, size: …}``; some names are known already."""
    grid: int | None = Field(default=None, gt=0)
    """Rows and columns of tokens that all levels are resampled to; None takes the finest grid of the towers."""
    fit: Literal["crop", "pad"] = "crop"
    """How a picture becomes square, for all towers alike, so that their patches lie on the same places."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen weights, whatever type they are stored in."""

    @field_validator("towers", mode="before")
    @classmethod
    def _short_towers(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: {"model": value} if isinstance(value, str) else value for name, value in given.items()}

    @model_validator(mode="after")
    def _known(self) -> EnsembleConfig:
        known = {**TOWERS, **self.towers}
        for level in self.levels:
            tower, _ = self.place(level)
            if tower not in known:
                hint = did_you_mean(tower, known)
                raise ValueError(f"levels.{level}: there is no tower {tower}; name it under towers.{hint}")
        unused = set(self.towers) - {self.place(level)[0] for level in self.levels}
        if unused:
            raise ValueError(f"towers.{min(unused)}: no level reads it")
        return self

    def place(self, level: str) -> tuple[str, int | float]:
        """The tower of a level, and its layer or share of the depth."""
        tower, _, layer = self.levels[level].partition("@")
        try:
            return tower, int(layer) if layer.isdigit() else float(layer)
        except ValueError as error:
            raise ValueError(f"levels.{level}: write tower@layer, such as dinov2@0.4 or dinov2@10") from error

    def options(self, tower: str) -> TowerOptions:
        """What a tower's name stands for."""
        return self.towers.get(tower) or TowerOptions(model=TOWERS[tower])
