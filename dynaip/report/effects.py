"""What arms score and how they differ: one row for an arm, suite and metric, differences paired and adjusted for their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dynaip.ablation.statistics import PRODUCTS, SuiteScores, collect, metrics_of
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.statistics.comparisons import Verdict, holm, verdict
from dynaip.statistics.hierarchical import Gap, Hierarchy
from dynaip.statistics.intervals import DRAWS, LEVEL, Floats
from dynaip.statistics.power import detectable
from dynaip.suggest import did_you_mean

OUR_MEAN = "mean_cp_pf"
"""Mean of the cases' products, beside ``cp_pf``, the product of the two means (DreamBench++)."""


@dataclass(frozen=True)
class Effect:
    """One arm's figure and its difference from the arm that all are held against."""

    suite: str
    metric: str
    arm: str
    cases: int
    seeds: int
    value: float
    low: float
    high: float
    against: str
    """Empty for that arm itself, which has no difference."""
    difference: float
    difference_low: float
    difference_high: float
    p: float
    p_holm: float
    """Adjusted for all differences of the table (Holm)."""
    verdict: Verdict | str
    detectable: float
    """The smallest true difference that so many cases would find in 80 of 100 studies."""

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        return asdict(self)


def effects(
    rows: Iterable[Mapping[str, Any]],
    *,
    metrics: Sequence[str] | None = None,
    against: str | None = None,
    subjects: Mapping[str, str] | None = None,
    margin: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Effect]:
    """Compare arms by rows with ``arm``, ``seed`` (of training), ``suite``, ``case`` and columns of scores.

    ``against`` is the arm that the others are held against, the first by default; ``subjects`` says whose case each is;
    differences within ±``margin`` are told to be equivalent where the data says so. Raises ``InputError`` for an arm or a
    metric that the rows lack.
    """
    every = [_with_product(row) for row in rows]
    suites = collect(every)
    arms = list(dict.fromkeys(name for suite in suites for name in suite.arms))
    _known("arm", against, arms)
    known = _metrics(every)
    for name in metrics or ():
        _known("metric", name, known)
    found = [
        (suite, metric, arm, against or arms[0])
        for suite in suites
        for metric in (metrics or known)
        for arm in suite.arms
        if _there(suite, metric, arm)
    ]
    gaps = [_gap(suite, metric, arm, other, subjects, draws, seed) for suite, metric, arm, other in found]
    _tell_apart(suites, metrics or known, against or arms[0])
    adjusted = holm([gap.p if gap else float("nan") for _, gap in gaps])
    return [
        _effect(suite, metric, arm, other, own, gap, p, margin)
        for (suite, metric, arm, other), (own, gap), p in zip(found, gaps, adjusted, strict=True)
    ]


def _tell_apart(suites: Sequence[SuiteScores], metrics: Sequence[str], against: str) -> None:
    """Say where arms do not have the same: a difference over few of the cases looks like any other in a table."""
    for suite in suites:
        scored = {name: [arm for arm in suite.arms if _there(suite, name, arm)] for name in metrics}
        for arm in suite.arms:
            if lacking := [name for name, having in scored.items() if having and arm not in having]:
                tell(f"{suite.suite}: {arm} has no numbers in {', '.join(lacking)}, which other arms have")
            both = [name for name, having in scored.items() if {arm, against} <= set(having)]
            if arm == against or not both:
                continue
            has = [np.isfinite(_parts(suite, both[0], name)[0]).any(axis=0) for name in (arm, against)]
            shared, every = int((has[0] & has[1]).sum()), int((has[0] | has[1]).sum())
            if shared < every:
                tell(
                    f"{suite.suite}: {arm} and {against} share {shared} of {every} cases: their difference is over these"
                )


def _with_product(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = [row.get(name) for name in PRODUCTS["cp_pf"]]
    whole = all(isinstance(part, (int, float)) for part in parts)
    return {**row, **({OUR_MEAN: parts[0] * parts[1]} if whole and OUR_MEAN not in row else {})}  # type: ignore[operator]


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = metrics_of(rows)
    products = [name for name, parts in PRODUCTS.items() if set(parts) <= set(names)]
    first = [name for name in ("cp", "pf", *products, OUR_MEAN) if name in (*names, *products)]
    return first + [name for name in names if name not in first]


def _known(what: str, name: str | None, names: Sequence[str]) -> None:
    if name is not None and name not in names:
        raise InputError(f"there is no {what} {name}; there are {', '.join(names)}.{did_you_mean(name, names)}")


def _there(suite: SuiteScores, metric: str, arm: str) -> bool:
    return all(np.isfinite(part).any() for part in _parts(suite, metric, arm)) if _has(suite, metric) else False


def _has(suite: SuiteScores, metric: str) -> bool:
    return set(PRODUCTS.get(metric, (metric,))) <= set(suite.values)


def _parts(suite: SuiteScores, metric: str, arm: str) -> list[Floats]:
    at = suite.arms.index(arm)
    return [suite.values[name][at] for name in PRODUCTS.get(metric, (metric,))]


def _gap(
    suite: SuiteScores, metric: str, arm: str, other: str, subjects: Mapping[str, str] | None, draws: int, seed: int
) -> tuple[Gap, Gap | None]:
    """An arm's own figure, and its difference from the other; None for that arm itself, or where the other has no figure."""
    named = [(subjects or {}).get(case, case) for case in suite.cases]
    hierarchy = Hierarchy(len(suite.seeds), len(suite.cases), named, draws, seed)
    parts = _parts(suite, metric, arm)
    nothing = [np.zeros_like(part) for part in parts]
    own = hierarchy.gap(parts, nothing)
    if arm == other or other not in suite.arms or not _there(suite, metric, other):
        return own, None
    return own, hierarchy.gap(parts, _parts(suite, metric, other))


def _effect(
    suite: SuiteScores, metric: str, arm: str, other: str, own: Gap, gap: Gap | None, p: float, margin: float | None
) -> Effect:
    nan = float("nan")
    if gap is None:
        return Effect(
            suite.suite,
            metric,
            arm,
            own.cases,
            own.seeds,
            own.value,
            own.low,
            own.high,
            "",
            nan,
            nan,
            nan,
            nan,
            nan,
            "",
            nan,
        )
    return Effect(
        suite.suite, metric, arm, gap.cases, gap.seeds, own.value, own.low, own.high, other, gap.value, gap.low, gap.high,
        gap.p, p, verdict(gap, p, margin=margin, level=LEVEL), detectable(gap.error * gap.subjects**0.5, gap.subjects),
    )  # fmt: skip
