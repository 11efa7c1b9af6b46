"""How many pairs are trained in which size, and how much of them is lost by it: said before training, and kept with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from dynaip import atomic
from dynaip.contracts.data import PairSource
from dynaip.runs import Run

HEAVY = 0.2
"""Share of a picture whose loss is counted as heavy."""


@dataclass(frozen=True)
class Bucket:
    """One size of targets."""

    height: int
    width: int
    pairs: int
    lost: float | None = None
    """Mean share of a picture that is cut off (or, padded, of a target that is white); None if the source does not say."""
    heavily: int = 0
    """Pairs that lose more than ``HEAVY``."""

    def line(self, *, padded: bool = False) -> str:
        """The bucket in words."""
        what = "white" if padded else "cropped"
        lost = (
            "" if self.lost is None else f", {self.lost:.1%} {what} on average, {self.heavily} of them over {HEAVY:.0%}"
        )
        return f"{self.height} x {self.width}: {self.pairs} pairs{lost}"


def buckets_of(source: PairSource) -> list[Bucket]:
    """The sizes of a source's targets (height, width), largest group first; none where all have one size."""
    told = source.sizes()
    if told is None:
        return []
    sizes, pictures = np.asarray(told, dtype=np.float64), source.picture_sizes()
    lost = np.full(len(sizes), np.nan)
    if pictures is not None:
        ratios = sizes / np.maximum(np.asarray(pictures, dtype=np.float64), 1)
        lost = 1 - ratios.min(1) / ratios.max(1)
        lost[np.asarray(pictures).min(1) < 1] = np.nan  # a picture that cannot be read
    made: list[Bucket] = []
    for height, width in np.unique(sizes, axis=0):
        here = lost[(sizes == (height, width)).all(1)]
        known = here[~np.isnan(here)]
        mean = float(known.mean()) if len(known) else None
        made.append(Bucket(int(height), int(width), len(here), mean, int((known > HEAVY).sum())))
    return sorted(made, key=lambda bucket: -bucket.pairs)


def note_buckets(run: Run, source: PairSource, tell: Callable[[str], None]) -> None:
    """Tell a run's buckets and keep them in its folder, if its targets differ in size."""
    if buckets := buckets_of(source):
        tell("buckets: " + "; ".join(f"{each.height} x {each.width} ({each.pairs} pairs)" for each in buckets))
        atomic.write_json(run.path / "buckets.json", [asdict(each) for each in buckets])
