"""Whether a difference of two arms survives every judge of the same thing (ours): one judge alone may be biased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dynaip.ablation.statistics import SuiteScores, collect
from dynaip.statistics.comparisons import holm, verdict
from dynaip.statistics.hierarchical import Hierarchy

Scores = Sequence[Mapping[str, Any]]

QUALITIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "concept preservation": (("cp",), ("clip_i", "dino", "siglip_i", "masked")),
    "prompt following": (("pf",), ("clip_t", "siglip_t")),
}
"""What is judged -> words and beginnings of the columns that judge it."""
DRAWS = 1000


def judging(names: Sequence[str]) -> dict[str, list[str]]:
    """The judges of each quality, where there are two at least: ``cp``, ``cp_2``, ``qwen_cp``, ``clip_i`` judge one thing."""
    found = {quality: [name for name in names if _judges(name, *rule)] for quality, rule in QUALITIES.items()}
    return {quality: judges for quality, judges in found.items() if len(judges) > 1}


def _judges(name: str, words: tuple[str, ...], beginnings: tuple[str, ...]) -> bool:
    return bool(set(words) & set(name.split("_"))) or name.startswith(beginnings)


@dataclass(frozen=True)
class Survival:
    """What the judges of one quality say of two arms in one suite; higher means that ``one`` is above ``other``."""

    quality: str
    suite: str
    one: str
    other: str
    higher: int
    lower: int
    judges: int

    @property
    def verdict(self) -> str:
        """``survives``, ``contradicted`` (judges say the opposite), ``not all`` (some find it), ``none``."""
        if self.higher and self.lower:
            return "contradicted"
        found = self.higher + self.lower
        return "none" if not found else "survives" if found == self.judges else "not all"

    @property
    def better(self) -> str:
        """The arm that most judges put above the other, in words."""
        one, other = (self.one, self.other) if self.higher >= self.lower else (self.other, self.one)
        return f"{one} over {other}"

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        return {"what": "difference", "quality": self.quality, "suite": self.suite, "arm": self.one, "against": self.other,
                "higher": self.higher, "lower": self.lower, "judges": self.judges, "verdict": self.verdict}  # fmt: skip


def survivals(scores: Scores, judges: Sequence[str]) -> list[Survival]:
    """Of every two arms in every suite; p-values of all of them are adjusted together (Holm), judge by judge."""
    suites = collect([{"seed": 0, "arm": "run", "suite": "all", **row} for row in scores], judges)
    found: list[Survival] = []
    for quality, names in judging(judges).items():
        pairs = [(suite, one, other) for suite in suites for one, other in combinations(suite.arms, 2)]
        signs = np.array([_signs(pairs, name) for name in names]).reshape(len(names), len(pairs))
        for at, (suite, one, other) in enumerate(pairs):
            higher, lower = int((signs[:, at] > 0).sum()), int((signs[:, at] < 0).sum())
            found.append(Survival(quality, suite.suite, one, other, higher, lower, len(names)))
    return found


def _signs(pairs: Sequence[tuple[SuiteScores, str, str]], judge: str) -> list[int]:
    """+1 or -1 where the judge tells two arms apart, given how many it is asked about."""
    gaps = [_gap(suite, one, other, judge) for suite, one, other in pairs]
    said = [verdict(gap, p) for gap, p in zip(gaps, holm([gap.p for gap in gaps]), strict=True)]
    return [{"higher": 1, "lower": -1}.get(each, 0) for each in said]


def _gap(suite: SuiteScores, one: str, other: str, judge: str) -> Any:
    values = suite.values[judge]
    hierarchy = Hierarchy(len(suite.seeds), len(suite.cases), draws=DRAWS)
    return hierarchy.gap([values[suite.arms.index(one)]], [values[suite.arms.index(other)]])


def sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to say of these rows: how many differences survive, which they are, and which are contradicted."""
    told: list[str] = []
    for quality in dict.fromkeys(str(row["quality"]) for row in rows):
        own = [row for row in rows if row["quality"] == quality]
        found = [row for row in own if row["verdict"] != "none"]
        judges = int(own[0]["judges"])
        if not found:
            told.append(f"None of {judges} judges of {quality} tells any two arms apart.")
            continue
        whole = [row for row in found if row["verdict"] == "survives"]
        names = f": {', '.join(map(_named, whole[:4]))}{', …' if len(whole) > 4 else ''}" if whole else ""
        told.append(
            f"{len(whole)} of {len(found)} differences in {quality} that some judge finds survive all {judges} judges{names}."
        )
        if odd := [
            f"{row['arm']} and {row['against']} ({row['suite']})" for row in found if row["verdict"] == "contradicted"
        ]:
            told.append(f"Judges of {quality} contradict each other on {', '.join(odd[:4])}.")
    return told


def _named(row: Mapping[str, Any]) -> str:
    one, other = (row["arm"], row["against"]) if row["higher"] >= row["lower"] else (row["against"], row["arm"])
    return f"{one} over {other} ({row['suite']})"
