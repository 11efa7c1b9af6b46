"""What a reference term at (branch, block, step) does: scaled, dropped or swapped, with everything else left alone."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from PIL import Image

from dynaip.adapter.injection import BlockScale
from dynaip.contracts import Branch, Case
from dynaip.errors import InputError
from dynaip.suggest import did_you_mean

Kind = Literal["drop", "scale", "swap"]
Window = tuple[float, float]
"""Denoising progress from (included) and to (not included)."""
ALWAYS: Window = (0.0, float("inf"))


@dataclass(frozen=True)
class Intervention:
    """A change of the reference term at some addresses; None means all of them.

    ``swap`` takes the second reference of each sample instead of the first there, and the first everywhere else.
    """

    kind: Kind = "drop"
    branch: Branch | None = None
    blocks: Collection[int] | None = None
    steps: Window = ALWAYS
    factor: float = 0.0
    """What ``scale`` multiplies the term with."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(
                f"an intervention is one of {', '.join(get_args(Kind))}, not {self.kind!r}."
                f"{did_you_mean(str(self.kind), get_args(Kind))}"
            )
        if self.branch not in (None, *get_args(Branch)):
            raise InputError(f"an intervention's branch is image or text (None: both), not {self.branch!r}")
        if isinstance(self.blocks, (int, str)):
            raise InputError(f"an intervention's blocks are a list such as [0, 1] (None: all), not {self.blocks!r}")

    def at(self, branch: Branch, block: int, progress: float) -> float | tuple[float, float]:
        """The factor at an address: one number, or one for each of two references."""
        inside = (
            self.branch in (None, branch)
            and (self.blocks is None or block in self.blocks)
            and self.steps[0] <= progress < self.steps[1]
        )
        if self.kind == "swap":
            return (0.0, 1.0) if inside else (1.0, 0.0)
        if not inside:
            return 1.0
        return self.factor if self.kind == "scale" else 0.0


def together(interventions: Sequence[Intervention]) -> BlockScale:
    """One function for ``dyna.intervene``: factors multiply. ``InputError`` for more than one swap."""
    if sum(each.kind == "swap" for each in interventions) > 1:
        raise InputError("one swap at a time: give it all its blocks and branches, or nest nothing")

    def scale(branch: Branch, block: int, progress: float) -> float | Sequence[float]:
        found: float | Sequence[float] = 1.0
        for each in interventions:
            found = _times(found, each.at(branch, block, progress))
        return found

    return scale


def _times(one: float | Sequence[float], other: float | Sequence[float]) -> float | Sequence[float]:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one * other
    pair = [(each, each) if isinstance(each, (int, float)) else each for each in (one, other)]
    return tuple(a * b for a, b in zip(*pair, strict=True))


@contextmanager
def intervene(dyna: Any, *interventions: Intervention) -> Generator[None]:
    """Change reference terms while the context is open, on top of what an outer one changes; all is undone afterwards."""
    own, outer = together(interventions), dyna.injector.block_scale

    def scale(branch: Branch, block: int, progress: float) -> float | Sequence[float]:
        found = own(branch, block, progress)
        return found if outer is None else _times(outer(branch, block, progress), found)

    with dyna.intervene(scale):
        yield


@dataclass(frozen=True)
class Cell:
    """One place of the causal map; None means all blocks, or all steps."""

    branch: Branch
    block: int | None
    window: int | None

    @property
    def name(self) -> str:
        """How tables name it."""
        block = "all blocks" if self.block is None else f"block {self.block}"
        return f"{self.branch}, {block}, {'all steps' if self.window is None else f'window {self.window}'}"


def cells(branches: Sequence[Branch], blocks: Sequence[int], windows: int) -> list[Cell]:
    """Every block x window, each block in all steps, each window in all blocks, and everything."""
    places = product(branches, [*blocks, None], [*range(windows), None])
    return [Cell(branch, block, window) for branch, block, window in places]


def windows_of(progress: Collection[float], count: int) -> list[Window]:
    """Split the steps of a run into ``count`` windows of (nearly) as many steps each."""
    steps = sorted(set(progress))
    if count > len(steps):
        raise InputError(f"{count} windows need at least as many denoising steps; there are {len(steps)}")
    starts = [part[0] for part in np.array_split(np.array(steps), count)]
    return [(float(low), float(high)) for low, high in zip(starts, [*starts[1:], np.inf], strict=True)]


@dataclass(frozen=True, repr=False)
class Sweep:
    """Generations of the same cases under the interventions of a causal map."""

    kind: Kind
    factor: float
    cells: Sequence[Cell]
    windows: Sequence[Window]
    scores: Sequence[Mapping[str, Any]]
    """One row a cell and case (``cell`` is its name, or ``untouched``): metrics, ``change`` of pixels in [0, 1]."""
    images: Mapping[str, Sequence[Image.Image]]
    """Cell's name -> images of the cases that are shown."""

    def table(self) -> pd.DataFrame:
        """The mean over cases of every metric, one row a cell, the untouched run first."""
        return pd.DataFrame(self.scores).groupby("cell", sort=False).mean(numeric_only=True)

    def __repr__(self) -> str:
        cases = len({row["case"] for row in self.scores})
        return f"Sweep of {self.kind} at {len(self.cells)} places on {cases} cases: table() has the scores"

    def _repr_html_(self) -> str:
        main = [name for name in ("cp", "pf", "leak", "change") if name in self.table()]
        return f"<p>{self!r}</p>{self.table()[main].round(2).to_html()}"


UNTOUCHED = "untouched"


def sweep(
    bench: Any, cases: Sequence[Case], *, kind: Kind = "drop", factor: float = 0.0, windows: int = 3, shown: int = 1,
    branches: Sequence[Branch] = (), blocks: Sequence[int] | None = None, decoupling: Any = None,
) -> Sweep:  # fmt: skip
    """Generate and score the cases with the term changed at one address after the other.

    ``branches`` and ``blocks`` are by default those that are open in an untouched run. A swap takes the reference of the
    next case; columns ``other_...`` then hold the scores against that case.
    """
    seen: set[tuple[Branch, int, float]] = set()
    with bench.dyna.observe(lambda event: seen.add((event.branch, event.block, event.progress))):
        base = bench.generate(cases, decoupling=decoupling)
    if not seen:
        raise InputError("no reference term was added: the policy keeps every branch closed")
    where = windows_of({progress for _, _, progress in seen}, windows)
    places = cells(
        list(branches) or sorted({branch for branch, _, _ in seen}),
        sorted({block for _, block, _ in seen}) if blocks is None else list(blocks),
        windows,
    )
    partners = [*cases[1:], *cases[:1]]
    asked = swapped(cases, partners) if kind == "swap" else list(cases)
    rows, images = _scored(bench, cases, partners, kind, UNTOUCHED, base, base), {UNTOUCHED: base[:shown]}
    for cell in places:
        steps = ALWAYS if cell.window is None else where[cell.window]
        change = Intervention(kind, cell.branch, None if cell.block is None else [cell.block], steps, factor)
        with intervene(bench.dyna, change):
            made = bench.generate(asked, decoupling=decoupling)
        rows += _scored(bench, cases, partners, kind, cell.name, made, base)
        images[cell.name] = made[:shown]
    return Sweep(kind, factor, places, where, rows, images)


def swapped(cases: Sequence[Case], partners: Sequence[Case]) -> list[Case]:
    """Each case with its partner's reference as a second one."""
    if any(len(case.references) != 1 for case in cases) or len(cases) < 2:
        raise InputError("a swap needs at least two cases of one reference each: take a suite of single subjects")
    return [
        replace(case, references=(case.references[0], other.references[0]))
        for case, other in zip(cases, partners, strict=True)
    ]


def _scored(
    bench: Any, cases: Sequence[Case], partners: Sequence[Case], kind: Kind, name: str, made: Sequence[Image.Image],
    base: Sequence[Image.Image],
) -> list[dict[str, Any]]:  # fmt: skip
    own = bench.score(cases, made) or [{} for _ in cases]
    others = bench.score(partners, made) if kind == "swap" else []
    others = others or [{} for _ in cases]
    return [
        {"cell": name, "case": case.id, "change": _change(image, before), **scores}
        | {f"other_{metric}": value for metric, value in other.items()}
        for case, image, before, scores, other in zip(cases, made, base, own, others, strict=True)
    ]


def _change(image: Image.Image, before: Image.Image) -> float:
    """Mean absolute difference of pixels, 0 to 1."""
    one, other = (np.asarray(each.convert("RGB"), dtype=np.float64) / 255 for each in (image, before))
    return float(np.abs(one - other).mean())
