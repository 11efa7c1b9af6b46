"""The tables of ``concepts/findings.md``, made from the scores of every case that lie beside the page.

``python -m dynaip_site.findings`` writes them again; ``python -m dynaip_site.findings NAME RUN`` first takes the scores from the
folder of an ablation; ``sweep RUN`` and ``sweep-of-labels RUN`` paint cases with its adapters under other fusion coefficients. A
table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from dynaip.report.directory import AblationDirectory
from dynaip.statistics.comparisons import holm
from dynaip.statistics.hierarchical import Gap, Hierarchy

from .blocks import TABLE
from .running import ROOT

PAGE = ROOT / "docs" / "concepts" / "findings.md"
DATA = PAGE.parent / "findings"
KEYS = ["arm", "seed", "suite", "case"]
KEPT = ["cp", "cp_fine", "cp_middle", "cp_coarse", "cp_main", "cp_second", "cp_texture", "pf", "leak", "outline"]
COLUMNS = {
    "CP": "cp",
    "fine": "cp_fine",
    "main colour": "cp_main",
    "second colour": "cp_second",
    "texture": "cp_texture",
    "emblem": "cp_middle",
    "form": "cp_coarse",
    "PF": "pf",
    "leak": "leak",
    "outline": "outline",
}
SUITES = {"single": "one", "multi2": "two", "multi3": "three", "multi4": "four"}
SWEPT: Mapping[str, tuple[Sequence[str], Mapping[str, Mapping[str, float]]]] = {
    "sweep": (
        ("hmoe", "hmoe_0.3", "hmoe_0.3_0.01_3"),
        {"as routed": {}, "low × 4": {"low": 4.0}, "mid × 4": {"mid": 4.0}, "high × 4": {"high": 4.0}},
    ),
    "sweep-of-labels": (
        ("labels",),
        {
            "fine × 4": {"fine": 4.0},
            "middle × 4": {"middle": 4.0},
            "fine alone": {"middle": 0.0, "coarse": 0.0},
            "middle alone": {"fine": 0.0, "coarse": 0.0},
        },
    ),
}
"""Which arms meet which fusion coefficients; those that are not named are 1."""
SWEEP = slice(24, 96)
"""Cases of one subject: others than the first ones, which suggested the question."""


@dataclass(frozen=True)
class Scores:
    """The scores of one ablation, a row an arm, training seed, suite and case; the base, which nothing trained, has one seed."""

    rows: pd.DataFrame

    def of(self, arm: str, suite: str, metric: str) -> np.ndarray:
        """Seeds x cases; raises ``KeyError`` if nothing of the arm is there."""
        found = self.rows[(self.rows.arm == arm) & (self.rows.suite == suite)]
        if found.empty:
            raise KeyError(f"no scores of {arm} in {suite}")
        return found.pivot(index="seed", columns="case", values=metric).to_numpy(float)

    def mean(self, arm: str, suite: str, metric: str) -> float:
        """Over seeds and cases."""
        return float(np.nanmean(self.of(arm, suite, metric)))

    def gap(self, one: str, other: str, suite: str, metric: str) -> Gap:
        """Paired by seed and case; what nothing trained meets every seed of the other."""
        first, second = self.of(one, suite, metric), self.of(other, suite, metric)
        seeds = max(len(first), len(second))
        first, second = (np.broadcast_to(each, (seeds, each.shape[1])) for each in (first, second))
        return Hierarchy(seeds, first.shape[1]).gap([first], [second])


@dataclass(frozen=True)
class Means:
    """A row an arm, a cell a figure for each suite."""

    data: str
    arms: Mapping[str, str]
    """What the page calls an arm, and its name in the ablation."""
    columns: Sequence[str]
    suites: Sequence[str] = ("single", "multi2")

    def lines(self) -> list[str]:
        scores = scores_of(self.data)
        rows = (
            [said, *(self._cell(scores, arm, COLUMNS[each]) for each in self.columns)]
            for said, arm in self.arms.items()
        )
        return _table(["", *self.columns], rows)

    def _cell(self, scores: Scores, arm: str, metric: str) -> str:
        return " / ".join(number(scores.mean(arm, suite, metric)) for suite in self.suites)


@dataclass(frozen=True)
class Gaps:
    """A row a pair of arms and a suite, a cell a paired difference with its interval; bold if clear after Holm's correction."""

    data: str
    pairs: Sequence[tuple[str, str, str]]
    """What the page says, one arm, minus the other."""
    columns: Sequence[str]
    suites: Sequence[str] = ("single", "multi2")

    def lines(self) -> list[str]:
        scores = scores_of(self.data)
        found = {
            (said, suite): [scores.gap(one, other, suite, COLUMNS[each]) for each in self.columns]
            for said, one, other in self.pairs
            for suite in self.suites
        }
        clear = iter(p < 0.05 for p in holm([gap.p for gaps in found.values() for gap in gaps]))
        rows = (
            [said, SUITES[suite], *(_interval(gap, bold=next(clear)) for gap in gaps)]
            for (said, suite), gaps in found.items()
        )
        return _table(["", "subjects", *self.columns], rows)


@cache
def scores_of(name: str) -> Scores:
    """What was kept of an ablation."""
    return Scores(pd.read_csv(DATA / f"{name}.csv.gz"))


def keep(run: Path, name: str) -> Path:
    """Take from the folder of an ablation what the page needs; raises ``FileNotFoundError`` if it has no scores."""
    parts: list[pd.DataFrame] = []
    for arm in AblationDirectory.read(run).planned:
        parts.append(pd.read_parquet(arm.folder / "scores.parquet").assign(arm=arm.name, seed=arm.seed))
    return _write(pd.concat(parts), name)


def sweep(run: Path, name: str) -> Path:
    """Paint and score the same cases with adapters of an ablation under each setting of the coefficients; minutes an adapter."""
    from dynaip_analysis import Workbench

    parts: list[pd.DataFrame] = []
    arms, settings = SWEPT[name]
    for arm in (each for each in AblationDirectory.read(run).planned if each.name in arms):
        bench = Workbench.open(str(arm.folder))
        cases = bench.cases("single", SWEEP.stop)[SWEEP]
        for said, coefficients in settings.items():
            rows = pd.DataFrame(bench.score(cases, bench.generate(cases, granularity=coefficients or None)))
            keys = {
                "arm": f"{arm.name}: {said}",
                "seed": arm.seed,
                "suite": "single",
                "case": [each.id for each in cases],
            }
            parts.append(rows.assign(**keys))
    return _write(pd.concat(parts), name)


def _write(table: pd.DataFrame, name: str) -> Path:
    path = DATA / f"{name}.csv.gz"
    path.parent.mkdir(exist_ok=True)
    kept = [*KEYS, *(each for each in KEPT if each in table)]
    table[kept].round(4).to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})
    return path


def made(page: str, tables: Mapping[str, Means | Gaps]) -> str:
    """The page with its tables as the scores give them; raises ``KeyError`` for one that nothing makes."""
    return TABLE.sub(
        lambda found: found["begin"] + "\n".join(tables[found["name"]].lines()) + "\n" + found["end"], page
    )


def number(value: float) -> str:
    """Two digits, without a zero before the point."""
    text = f"{value:.2f}"
    text = "0" if text in ("0.00", "-0.00") else text.removesuffix(".00")
    return text.replace("-0.", "−.").replace("-", "−").removeprefix("0") or "0"


def _interval(gap: Gap, *, bold: bool) -> str:
    value = number(gap.value)
    sign = "+" if gap.value > 0 and value != "0" else ""
    text = f"**{sign}{value}**" if bold else f"{sign}{value}"
    return f"{text} [{number(gap.low)}, {number(gap.high)}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def main(words: Sequence[str]) -> None:
    """Take scores if an ablation is named, then write the page again."""
    from .findings_tables import TABLES

    if words:
        (sweep if words[0] in SWEPT else keep)(Path(words[1]), words[0])
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
