"""Features inside foreground masks (after MaSC): patch tokens averaged under a mask of image and of reference, cosine x 100.

A mask is brought onto the grid of patches by area, after the picture's own resizing and cutting; the mean is weighted by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynaip.contracts import Case, CaseReference, Metric, Segmenter
from dynaip.errors import InputError, PluginError
from dynaip.images import read_mask
from dynaip.notes import tell
from dynaip.registry import registry

from ...shared.preprocessing import Preprocessing
from ..seeing import Seeing
from .config import MaskedConfig


class MaskedMetric(Metric):
    """One column; NaN where no mask is known, or where it is empty."""

    columns = ("masked",)

    def __init__(self, config: MaskedConfig) -> None:
        self.config = config
        self.seeing = Seeing(config, "metric masked: model", whole=False)
        self.layer = round(config.layer * self.seeing.tower.depth)
        self.segmenter: Segmenter | None = registry().build(config.segmenter) if config.segmenter else None

    def to(self, device: Any) -> MaskedMetric:
        """Move tower and segmenter."""
        self.seeing.to(device)
        if self.segmenter:
            self.segmenter = self.segmenter.to(device)
        return self

    def about(self) -> dict[str, Any]:
        """Model, revision, weights, pixels, layer, and where masks come from."""
        source = self.config.segmenter.dump() if self.config.segmenter else str(self.config.masks)
        return {**self.seeing.about(), "layer": self.layer, "masks": source}

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Mean over the references of a case whose masks are known, in both pictures."""
        asked = [(row, k, each) for row, case in enumerate(cases) for k, each in enumerate(case.references)]
        shown = self._features([each.image for _, _, each in asked], self._of_references(asked))
        found = self._features([images[row] for row, _, _ in asked], self._of_images(cases, images, asked))
        cosines = torch.cosine_similarity(shown, found, dim=1) * 100
        values: list[list[float]] = [[] for _ in cases]
        for (row, _, _), value in zip(asked, cosines.tolist(), strict=True):
            values[row].append(value)
        known = [[value for value in each if value == value] for each in values]
        lacking = sum(not each for each in known)
        if lacking:
            tell(
                f"metric masked: {lacking} of {len(cases)} cases have no mask of image and reference; they have no score"
            )
        return [{"masked": float(np.mean(each)) if each else float("nan")} for each in known]

    def _features(self, images: Sequence[Image.Image], masks: Sequence[Any]) -> Tensor:
        """Mean patch tokens under masks (N x C); NaN where there is none."""
        if not images:
            return torch.empty(0, self.seeing.tower.width)
        tokens, edge = self.seeing.patches(images, self.layer), self.seeing.tower.edge
        weights = torch.stack(
            [
                on_patches(mask, image.size, self.seeing.preprocessing, edge)
                for mask, image in zip(masks, images, strict=True)
            ]
        )
        return (tokens * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)

    def _of_references(self, asked: Sequence[tuple[int, int, CaseReference]]) -> list[Any]:
        known = [each.mask() if each.mask else None for _, _, each in asked]
        return self._completed(known, [each.image for _, _, each in asked], [each.subject for _, _, each in asked])

    def _of_images(self, cases: Sequence[Case], images: Sequence[Image.Image], asked: Any) -> list[Any]:
        known = [self._file(cases[row], k) for row, k, _ in asked]
        return self._completed(known, [images[row] for row, _, _ in asked], [each.subject for _, _, each in asked])

    def _file(self, case: Case, number: int) -> Any:
        if self.config.masks is None:
            return None
        if not self.config.masks.is_dir():
            raise InputError(f"metric masked: {self.config.masks}: there is no such folder of masks")
        own = self.config.masks / case.id / f"{number + 1}.png"
        path = own if own.is_file() else self.config.masks / f"{case.id}.png"
        return _read(path) if path.is_file() else None

    def _completed(self, known: list[Any], images: Sequence[Image.Image], subjects: Sequence[str]) -> list[Any]:
        """Ask the segmenter for what is not known."""
        open_ = [place for place, mask in enumerate(known) if mask is None]
        if self.segmenter is None or not open_:
            return known
        made = self.segmenter.masks([images[place] for place in open_], [subjects[place] for place in open_])
        if len(made) != len(open_):
            raise PluginError(
                f"segmenter {type(self.segmenter).__name__}: gave {len(made)} masks for {len(open_)} pictures"
            )
        for place, mask in zip(open_, made, strict=True):
            known[place] = mask
        return known


def _read(path: Path) -> Any:
    return read_mask(path, f"metric masked: {path.name}")


def on_patches(mask: Any, size: tuple[int, int], preprocessing: Preprocessing, edge: int) -> Tensor:
    """Share of every patch that a mask covers (edge^2), as the preprocessed picture shows it; zeros where there is none."""
    if mask is None:
        return torch.zeros(edge * edge)
    grey = Image.fromarray((np.asarray(mask, dtype=np.float32).clip(0, 1) * 255).round().astype(np.uint8))
    if grey.size != size:
        grey = grey.resize(size, Image.Resampling.BILINEAR)
    plain = replace(preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3, factor=1 / 255, resample=Image.Resampling.BILINEAR)
    pixels = plain.pixels([grey])[:, :1]
    return torch.nn.functional.adaptive_avg_pool2d(pixels, edge).flatten()
