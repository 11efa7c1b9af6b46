"""What a reference term at (branch, block, step) does: scaled, dropped or swapped, with everything else left alone."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from PIL import Image

from dynaip.adapter.injector import BlockScale
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

    def covers(self, branch: Branch, block: int, progress: float) -> bool:
        """Whether an address is among those that are changed."""
        return (
            self.branch in (None, branch)
            and (self.blocks is None or block in self.blocks)
            and self.steps[0] <= progress < self.steps[1]
        )

    def at(self, branch: Branch, block: int, progress: float) -> float:
        """What the term at an address is multiplied with; a swap changes whose term it is, not its size."""
        if self.kind == "swap" or not self.covers(branch, block, progress):
            return 1.0
        return self.factor if self.kind == "scale" else 0.0


@dataclass(frozen=True)
class Together:
    """Interventions as one function for ``dyna.intervene``: factors multiply, and a swap of a swap is no swap."""

    interventions: tuple[Intervention, ...]
    beneath: BlockScale | None = None
    """A function of somebody else's whose factors count too."""

    @property
    def swaps(self) -> bool:
        """Whether a second reference is needed."""
        return any(each.kind == "swap" for each in self.interventions)

    def __call__(self, branch: Branch, block: int, progress: float) -> float | Sequence[float]:
        """The factor at an address: one number, or one for each of two references."""
        factor = prod(each.at(branch, block, progress) for each in self.interventions)
        covering = sum(each.kind == "swap" and each.covers(branch, block, progress) for each in self.interventions)
        found: float | Sequence[float] = factor
        if self.swaps:
            found = (0.0, factor) if covering % 2 else (factor, 0.0)
        return found if self.beneath is None else _times(self.beneath(branch, block, progress), found)


def together(interventions: Sequence[Intervention], outer: BlockScale | None = None) -> Together:
    """One function for ``dyna.intervene``, on top of what ``outer`` changes already."""
    if isinstance(outer, Together):
        return Together((*outer.interventions, *interventions), outer.beneath)
    return Together(tuple(interventions), outer)


def _times(one: float | Sequence[float], other: float | Sequence[float]) -> float | Sequence[float]:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one * other
    length = max(len(each) for each in (one, other) if not isinstance(each, (int, float)))
    pair = [_spread(each, length) for each in (one, other)]
    return tuple(a * b for a, b in zip(*pair, strict=True))


def _spread(factor: float | Sequence[float], length: int) -> list[float]:
    """One factor a reference; those that a sequence does not name keep theirs."""
    if isinstance(factor, (int, float)):
        return [float(factor)] * length
    return [*factor, *[1.0] * (length - len(factor))]


@contextmanager
def intervene(dyna: Any, *interventions: Intervention) -> Generator[None]:
    """Change reference terms while the context is open, on top of what an outer one changes; all is undone afterwards.

    A swap in a pass whose samples have other than two references raises ``InputError``.
    """
    scale = together(interventions, dyna.injector.block_scale)
    with ExitStack() as stack:
        if any(each.kind == "swap" for each in interventions):
            check = dyna.injector.transformer.register_forward_pre_hook(partial(_check_pairs, dyna))
            stack.callback(check.remove)
        stack.enter_context(dyna.intervene(scale))
        yield


def _check_pairs(dyna: Any, *_: Any) -> None:
    """Refuse a pass in which a swap would leave a sample without its reference, or with some third one untouched."""
    hooks = dyna.injector
    if hooks.call is None:
        return
    rows = [set(slot.rows) for slot in hooks.injection.slots]
    if len(rows) != 2 or rows[0] != rows[1]:
        raise InputError("a swap is between two references: give two for every prompt that has any")


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
        raise InputError(
            f"{count} windows need at least as many denoising steps; there are {len(steps)}: ask for fewer windows"
        )
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
    places = cells(*_addresses(seen, branches, blocks), windows)
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


def _addresses(
    seen: Collection[tuple[Branch, int, float]], branches: Sequence[Branch], blocks: Sequence[int] | None
) -> tuple[list[Branch], list[int]]:
    """Branches and blocks to change; ``InputError`` for those to which nothing is added anyway."""
    open_branches, open_blocks = sorted({branch for branch, _, _ in seen}), sorted({block for _, block, _ in seen})
    for branch in branches:
        if branch not in open_branches:
            raise InputError(
                f"nothing is added to the {branch} branch under this policy, so there is nothing to change: "
                "choose a policy that opens it, such as decoupling=coupled"
            )
    for block in blocks or ():
        if block not in open_blocks:
            raise InputError(f"nothing is added in block {block}; it is in blocks {', '.join(map(str, open_blocks))}")
    return list(branches) or open_branches, open_blocks if blocks is None else list(blocks)


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
