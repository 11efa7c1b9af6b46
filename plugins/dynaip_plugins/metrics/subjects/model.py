"""Subjects by region: each region of the picture is compared with each reference (cosine x 100 of pooled embeddings; ours).

- ``subjects_own``: mean over references of the similarity with their own region.
- ``subjects_best``: the same under the assignment of regions to references that is best (Hungarian method).
- ``subjects_placed``: share of references whose best region is their own; lower means that subjects changed places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from dynaip.contracts import Box, Case, Metric
from dynaip.notes import tell

from ..seeing import Seeing
from .config import SubjectsConfig

COLUMNS = ("subjects_own", "subjects_best", "subjects_placed")


class SubjectsMetric(Metric):
    """Three columns; NaN for cases with fewer than two references that have regions."""

    columns = COLUMNS

    def __init__(self, config: SubjectsConfig) -> None:
        self.seeing = Seeing(config, "metric subjects: model")

    def to(self, device: Any) -> SubjectsMetric:
        """Move the tower."""
        self.seeing.to(device)
        return self

    def about(self) -> dict[str, Any]:
        """Model, revision, weights, pixels."""
        return self.seeing.about()

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Match references to regions, case by case."""
        placed = [[each for each in case.references if each.region is not None] for case in cases]
        several = [row for row, found in enumerate(placed) if len(found) > 1]
        lacking = sum(len(case.references) > 1 for case in cases) - len(several)
        if lacking:
            tell(f"metric subjects: {lacking} cases with several references have no regions; they have no score")
        parts = [cut(images[row], each.region) for row in several for each in placed[row] if each.region is not None]
        shown = self.seeing.embeddings([each.image for row in several for each in placed[row]])
        seen, counts = self.seeing.embeddings(parts), [len(placed[row]) for row in several]
        rows: list[dict[str, float]] = [{name: float("nan") for name in COLUMNS} for _ in cases]
        for row, own, regions in zip(several, shown.split(counts), seen.split(counts), strict=True):
            rows[row] = matched((own @ regions.T * 100).double().numpy())
        return rows


def cut(image: Image.Image, region: Box) -> Image.Image:
    """A region of a picture, one pixel at least."""
    left, top, right, bottom = (
        round(edge * side) for edge, side in zip(region, (*image.size, *image.size), strict=True)
    )
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def matched(similarities: Any) -> dict[str, float]:
    """Scores of one case from similarities (references x regions, region k being that of reference k)."""
    rows, columns = linear_sum_assignment(similarities, maximize=True)
    values = (np.diag(similarities).mean(), similarities[rows, columns].mean(), (rows == columns).mean())
    return dict(zip(COLUMNS, map(float, values), strict=True))
