"""Whether several judges agree: case by case, on the order of arms, and who knows a case's own reference (all ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.ablation.statistics import Bootstrap, SuiteScores, collect
from dynaip.contracts import Case
from dynaip.statistics.intervals import interval
from dynaip_analysis.drawing import canvas

Floats = NDArray[np.float64]


Scores = Sequence[Mapping[str, Any]]


DRAWS = 1000


SHUFFLES = 199


PAIRS_DRAWS = 1000


KNOWN = {"cp": "CP", "pf": "PF", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}


def judges_of(scores: Scores) -> list[str]:
    """Columns that judge an image as a whole: parts of another column (``cp_texture`` of ``cp``) are left out."""
    names = canvas.metric_names(scores)
    parts = {
        name
        for name in names
        for whole in names
        if name.startswith(f"{whole}_") and not _second(name.removeprefix(f"{whole}_"))
    }
    return [name for name in names if name not in parts]


def _second(rest: str) -> bool:
    """Whether it names a judge beside another, not a part of it: ``clip_i_2``, ``cp_win``."""
    return rest.isdigit() or rest == "win"


def told(judge: str) -> str:
    """How figures and sentences name a judge."""
    return KNOWN.get(judge, judge)


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of two judges over cases: ranks within an arm and suite, then all of them together."""

    one: str
    other: str
    rho: float
    low: float
    high: float
    limit: float
    """The 95 % quantile of \\|rho\\| when one judge's values are dealt anew over the cases."""
    cases: int

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        return {"what": "rank correlation", "judge": self.one, "other": self.other, "value": self.rho, "low": self.low,
                "high": self.high, "null": self.limit, "cases": self.cases}  # fmt: skip


def agreements(scores: Scores, judges: Sequence[str], seed: int = 0) -> list[Agreement]:
    """Of every two judges; cases are drawn again with all their arms, for the interval.

    ``scores`` has one row an arm, suite and case. Judges that give all cases one value have NaN.
    """
    suites = [suite.values for suite in _aligned(scores, judges)]
    return [_agreement(suites, one, other, seed) for one, other in combinations(judges, 2)]


def _aligned(scores: Scores, judges: Sequence[str]) -> list[SuiteScores]:
    return collect([{"seed": 0, "arm": "run", "suite": "all", **row} for row in scores], judges)


def _centred_ranks(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Ranks over the cases that both judges know, (arms x seeds) x cases, with a mean of 0; 0 at the others."""
    from scipy.stats import rankdata  # a second that a report written from files alone does not need

    ranks = np.zeros(values.shape)
    for row, own, there in zip(ranks, values, known, strict=True):
        row[there] = rankdata(own[there]) - (there.sum() + 1) / 2
    return ranks


def _agreement(suites: Sequence[Mapping[str, Floats]], one: str, other: str, seed: int) -> Agreement:
    rng = np.random.default_rng(seed)
    moments, drawn, dealt, cases = np.zeros(3), np.zeros((DRAWS, 3)), np.zeros((SHUFFLES, 3)), 0
    for suite in suites:
        a, b = (suite[judge].reshape(-1, suite[judge].shape[-1]) for judge in (one, other))
        known = np.isfinite(a) & np.isfinite(b)
        a, b = _centred_ranks(a, known), _centred_ranks(b, known)
        each = np.stack([(a * b).sum(axis=0), (a * a).sum(axis=0), (b * b).sum(axis=0)], axis=1)
        count = len(each)
        moments += each.sum(axis=0)
        drawn += rng.multinomial(count, np.full(count, 1 / count), size=DRAWS) @ each
        for shuffle in range(SHUFFLES):
            dealt[shuffle] += ((a * b[:, rng.permutation(count)]).sum(), *each[:, 1:].sum(axis=0))
        cases += int(known.any(axis=0).sum())
    low, high = interval(_correlation(drawn), cases) if moments[1:].all() else (np.nan, np.nan)
    limit = float(np.percentile(np.abs(_correlation(dealt)), 95)) if moments[1:].all() else float("nan")
    return Agreement(one, other, float(_correlation(moments)), low, high, limit, cases)


def _correlation(moments: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return moments[..., 0] / np.sqrt(moments[..., 1] * moments[..., 2])


@dataclass(frozen=True)
class Verdicts:
    """Pairs of arms that two judges both tell apart (95 % interval of the paired difference without zero), in all suites."""

    one: str
    other: str
    alike: int
    opposed: int
    pairs: int
    """Pairs of arms that there are."""

    @property
    def share(self) -> float:
        """Alike minus opposed as a share of both, -1 to 1; 0 without any."""
        return (self.alike - self.opposed) / max(self.alike + self.opposed, 1)

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        return {"what": "order of arms", "judge": self.one, "other": self.other, "alike": self.alike,
                "opposed": self.opposed, "pairs": self.pairs}  # fmt: skip


def verdicts(scores: Scores, judges: Sequence[str]) -> list[Verdicts]:
    """Of every two judges over every two arms; none with a single arm."""
    signs = {judge: np.concatenate([_signs(suite, judge) for suite in _aligned(scores, judges)]) for judge in judges}
    pairs = len(next(iter(signs.values()))) if signs else 0
    products = {(one, other): signs[one] * signs[other] for one, other in combinations(judges, 2)} if pairs else {}
    return [
        Verdicts(one, other, int((found > 0).sum()), int((found < 0).sum()), pairs)
        for (one, other), found in products.items()
    ]


def _signs(suite: SuiteScores, judge: str) -> NDArray[np.int64]:
    """+1 or -1 for every two arms that the judge tells apart, 0 for the others."""
    boot = Bootstrap(suite, draws=PAIRS_DRAWS)
    gaps = [boot.difference(one, other, judge) for one, other in combinations(suite.arms, 2)]
    return np.array([int(np.sign(gap.value)) if gap.decided else 0 for gap in gaps], dtype=np.int64)


@dataclass(frozen=True)
class Recognition:
    """How often a judge gives an image more for its own case than for another one: P(own > other) + P(equal) / 2."""

    judge: str
    value: float
    low: float
    high: float
    cases: int

    def row(self) -> dict[str, Any]:
        """Tidy columns; chance is one half."""
        return {"what": "own case known", "judge": self.judge, "value": self.value, "low": self.low, "high": self.high,
                "null": 0.5, "cases": self.cases}  # fmt: skip


def partners(cases: Sequence[Case]) -> list[Case]:
    """For each case the next one with a subject of the same name, so that no judge is served by the kind of thing alone.

    Where there is none, the next case.
    """
    found: list[Case] = []
    for k, case in enumerate(cases):
        others = [*cases[k + 1 :], *cases[:k]]
        found.append(next((other for other in others if _subject(other) == _subject(case)), others[0]))
    return found


def _subject(case: Case) -> str:
    return case.references[0].subject if case.references else ""


def recognitions(own: Scores, other: Scores, judges: Sequence[str]) -> list[Recognition]:
    """From the same images scored against their own cases and against others', row by row."""
    rows: list[dict[str, Any]] = []
    for k, (one, two) in enumerate(zip(own, other, strict=True)):
        gaps = {judge: float(one.get(judge, np.nan)) - float(two.get(judge, np.nan)) for judge in judges}
        values = {judge: 0.5 * (1 + np.sign(gap)) for judge, gap in gaps.items()}
        rows.append({"seed": 0, "suite": "all", "arm": "run", "case": str(k), **values})
    boot = Bootstrap(_aligned(rows, judges)[0])
    found = {judge: boot.estimate("run", judge) for judge in judges}
    return [Recognition(judge, it.value, it.low, it.high, it.cases) for judge, it in found.items()]
