"""The causal map of the reference term: every block and window of steps changed in turn, with its effect on the scores (ours)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dynaip.ablation.statistics import Bootstrap, collect
from dynaip.adapter.attention import BRANCHES
from dynaip.contracts import Branch, Case
from dynaip.errors import InputError
from dynaip_analysis.bench.workbench import Workbench
from dynaip_analysis.drawing import canvas
from dynaip_analysis.interventions.intervention import ALWAYS, Intervention, Kind, Window, intervene

Floats = NDArray[np.float64]


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
        return cast(pd.DataFrame, pd.DataFrame(self.scores).groupby("cell", sort=False).mean(numeric_only=True))

    def __repr__(self) -> str:
        cases = len({row["case"] for row in self.scores})
        return f"Sweep of {self.kind} at {len(self.cells)} places on {cases} cases: table() has the scores"

    def _repr_html_(self) -> str:
        main = [name for name in ("cp", "pf", "leak", "change") if name in self.table()]
        return f"<p>{self!r}</p>{self.table()[main].round(2).to_html()}"


UNTOUCHED = "untouched"


def sweep(
    bench: Workbench, cases: Sequence[Case], *, kind: Kind = "drop", factor: float = 0.0, windows: int = 3, shown: int = 1,
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
        blocks = None if cell.block is None else [cell.block]
        change = Intervention(kind, cell.branch, blocks, steps, factor if kind == "scale" else 0.0)
        with intervene(bench.dyna, change):
            made = bench.generate(asked, decoupling=decoupling)
        rows += _scored(bench, cases, partners, kind, cell.name, made, base)
        images[cell.name] = made[:shown]
    return Sweep(kind, factor, places, where, rows, images)


def _addresses(
    seen: Collection[tuple[Branch, int, float]], branches: Sequence[Branch], blocks: Sequence[int] | None
) -> tuple[list[Branch], list[int]]:
    """Branches and blocks to change; ``InputError`` for those to which nothing is added anyway."""
    there = {branch for branch, _, _ in seen}
    open_branches: list[Branch] = [branch for branch in BRANCHES if branch in there]
    open_blocks = sorted({block for _, block, _ in seen})
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
    bench: Workbench, cases: Sequence[Case], partners: Sequence[Case], kind: Kind, name: str, made: Sequence[Image.Image],
    base: Sequence[Image.Image],
) -> list[dict[str, Any]]:  # fmt: skip
    own = bench.score(cases, made) or [{} for _ in cases]
    others = bench.score(partners, made) if kind == "swap" else []
    others = others or [{} for _ in cases]
    rows: list[dict[str, Any]] = []
    for case, image, before, scores, other in zip(cases, made, base, own, others, strict=True):
        pixels = (np.asarray(each.convert("RGB"), dtype=np.float64) / 255 for each in (image, before))
        change = float(np.abs(np.subtract(*pixels)).mean())
        rows.append(
            {"cell": name, "case": case.id, CHANGE: change, **scores}
            | {f"other_{metric}": value for metric, value in other.items()}
        )
    return rows


CHANGE = "change"


FLIPS = 2000


ROUNDING = 1 + 1e-9
"""What two orders of the same sum may differ by: a cell must not stand out from itself."""


def effects(found: Sweep) -> list[dict[str, Any]]:
    """Tidy rows: cell and metric with the paired difference to the untouched run, its 95 % interval, and the null.

    ``null`` is what the largest t of all cells reaches in 95 % of draws that flip signs case by case (ours): a cell whose
    own ``t`` lies beyond it stands out from chance even though many cells are looked at. Intervals are of each cell alone.
    A change of pixels is never below zero: flipping its sign would mean nothing, and it has no null.
    """
    metrics = list(canvas.metric_names(found.scores))
    aligned = collect([{"seed": 0, "suite": "all", **row, "arm": row["cell"]} for row in found.scores], metrics)[0]
    boot = Bootstrap(aligned)
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        values, base = aligned.values[metric][:, 0], aligned.arms.index(UNTOUCHED)
        differences = np.delete(values - values[base], base, axis=0)  # cells x cases
        complete = int(np.isfinite(differences).all(axis=0).sum())
        null, strength = float("nan") if metric == CHANGE else null_of(differences), t_of(differences)
        for place, cell in enumerate(found.cells):
            gap = boot.difference(cell.name, UNTOUCHED, metric)
            steps = (found.windows[0][0], 1.0) if cell.window is None else found.windows[cell.window]
            rows.append(
                {"kind": found.kind, "factor": found.factor if found.kind == "scale" else None,
                 "branch": cell.branch, "block": -1 if cell.block is None else cell.block,
                 "window": -1 if cell.window is None else cell.window, "from": steps[0], "to": min(steps[1], 1.0),
                 "metric": metric, "effect": gap.value, "low": gap.low, "high": gap.high, "t": float(strength[place]),
                 "null": null, "null_cases": complete, "stands_out": bool(strength[place] > null * ROUNDING), "cases": gap.cases,
                 "untouched": boot.estimate(UNTOUCHED, metric).value}
            )  # fmt: skip
    return rows


def null_of(differences: Floats, level: float = 0.95, seed: int = 0) -> float:
    """The ``level`` quantile of the largest |t| over cells when each case's differences get a sign by chance.

    All sign patterns are tried where there are few cases, else ``FLIPS`` of them with the signs as they are among them, so
    that no more than ``1 - level`` of patterns lie beyond: of fewer than six cases none can. Cases without a value in some
    cell are left out; NaN for one case.
    """
    kept = differences[:, np.isfinite(differences).all(axis=0)]
    cases = kept.shape[1]
    if cases < 2:
        return float("nan")
    if 2**cases <= FLIPS:
        signs = np.array(list(product((-1.0, 1.0), repeat=cases)))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(FLIPS, cases))
        signs[0] = 1
    squares = (kept**2).sum(axis=1, keepdims=True)
    return float(np.quantile(_t(kept @ signs.T / cases, squares, cases).max(axis=0), level, method="higher"))


def t_of(differences: Floats) -> Floats:
    """|t| of every cell: the mean of its differences over the standard error; infinite where all cases agree exactly."""
    kept = differences[:, np.isfinite(differences).all(axis=0)]
    if not kept.shape[1]:
        return np.full(len(differences), np.nan)
    return _t(kept.mean(axis=1), (kept**2).sum(axis=1), kept.shape[1])


def _t(means: Floats, squares: Floats, cases: int) -> Floats:
    rest = squares / cases - means**2
    spread = np.where(rest > 1e-12 * squares, rest, 0) / max(cases - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.abs(means) / np.sqrt(spread)
    return np.where(np.abs(means) < 1e-12, 0.0, found)
