"""Several references a sample: where each may appear, and which of a pair's are seen this time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynaip.adapter.reference import normalised, region_weights
from dynaip.contracts import Pair, PairReference
from dynaip.images import read_mask
from dynaip.notes import tell


@dataclass(frozen=True)
class Drawn:
    """References that a batch sees this time, sample by sample."""

    places: list[int] | None
    """Their places among all references of the batch; None for all of them."""
    rows: list[int]
    """The sample that each belongs to."""

    def of(self, values: Tensor) -> Tensor:
        """The chosen ones of P rows."""
        return values if self.places is None else values[self.places]

    def regions(self, given: Sequence[Tensor | None]) -> list[Tensor | None] | None:
        """M_r of each chosen one, brought to a sum of at most 1 where those of one sample overlap; None without any."""
        chosen = list(given) if self.places is None else [given[place] for place in self.places]
        if all(each is None for each in chosen):
            return None
        made: list[Tensor | None] = []
        for row in dict.fromkeys(self.rows):
            made += normalised([one for one, owner in zip(chosen, self.rows, strict=True) if owner == row])
        return made


def drawn(counts: Sequence[int], most: int, seed: int) -> Drawn:
    """Draw from 1 to ``most`` of each sample's references (it has ``counts`` of them): how many, then which, in their order."""
    starts = [sum(counts[:row]) for row in range(len(counts))]
    if all(count == 1 for count in counts):
        return Drawn(None, list(range(len(counts))))
    chance = np.random.default_rng(seed)
    places, rows = list[int](), list[int]()
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        number = int(chance.integers(1, min(most, count) + 1))
        chosen = sorted(int(each) for each in chance.permutation(count)[:number])
        places += [start + each for each in chosen]
        rows += [row] * number
    return Drawn(places, rows)


def seen(pair: Pair, most: int) -> tuple[PairReference, ...]:
    """The references of a pair that an adapter for ``most`` of them is trained with."""
    if len(pair.references) > most:
        tell(
            f"pair {pair.id} has {len(pair.references)} references, and its first {most} alone are trained on: raise "
            "adapter.max_references",
            kind="many references",
        )
    return pair.references[:most]


def picture(reference: PairReference) -> Image.Image:
    """What the encoder sees of a reference: the subject alone, on white, where a mask tells it from the rest."""
    if reference.mask is None:
        return reference.image
    weights = np.rint(read_mask(reference.mask, "a reference") * 255).astype(np.uint8)
    mask = Image.fromarray(weights).resize(reference.image.size, Image.Resampling.BILINEAR)
    return Image.composite(reference.image, Image.new("RGB", reference.image.size, "white"), mask)


def grid_of(tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the image tokens of a target of (height, width) pixels."""
    rows = round((tokens * size[0] / size[1]) ** 0.5)
    return rows, tokens // rows


def regions_of(references: Sequence[PairReference], tokens: int, size: tuple[int, int]) -> Tensor | None:
    """M_r of each reference (R x T; 1 everywhere where it has no region); None if none has one."""
    if all(each.region is None for each in references):
        return None
    grid = grid_of(tokens, size)
    return torch.stack([_weights(each, grid) for each in references])


def _weights(reference: PairReference, grid: tuple[int, int]) -> Tensor:
    region = reference.region
    if region is None:
        return torch.ones(grid[0] * grid[1])
    return region_weights(
        region if isinstance(region, tuple) else torch.from_numpy(read_mask(region, "the region of a reference")), grid
    )
