"""The grid of the report: references, prompt, and what every arm made of them, for the same cases and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynaip.report.directory import AblationDirectory, Arm, ShownCase
from dynaip.report.pictures import picture

SHOWN = 4
"""Cases a suite."""


@dataclass(frozen=True)
class Tile:
    """What one arm made of a case."""

    arm: str
    image: str | None
    cp: float
    pf: float


@dataclass(frozen=True)
class Strip:
    """One case with its references and the tiles of all arms."""

    case: ShownCase
    references: tuple[str | None, ...]
    tiles: tuple[Tile, ...]

    @property
    def boxes(self) -> list[tuple[int, tuple[float, float, float, float]]]:
        """Number and region of the references that have a region of their own."""
        found = [(k + 1, reference.region) for k, reference in enumerate(self.case.references)]
        return [(number, region) for number, region in found if region and region != (0.0, 0.0, 1.0, 1.0)]


def gallery(ablation: AblationDirectory, shown: int = SHOWN) -> dict[str, list[Strip]]:
    """Strips by suite; the cases are spread evenly from easy to hard, by the mean score of all arms."""
    arms = [arm for arm in first_seeds(ablation.arms) if (arm.folder / "samples").is_dir()]
    scores = {arm.name: {str(row["case"]): row for row in arm.scores} for arm in arms}
    suites = dict.fromkeys(case.suite for case in ablation.cases)
    return {
        suite: [_strip(case, arms, scores) for case in _chosen(ablation, suite, arms, scores, shown)]
        for suite in suites
    }


def first_seeds(arms: Sequence[Arm]) -> list[Arm]:
    """One arm a name: its first training seed that has pictures, else its first."""
    chosen: dict[str, Arm] = {}
    for arm in arms:
        if arm.name not in chosen or not (chosen[arm.name].folder / "samples").is_dir():
            chosen[arm.name] = arm
    return list(chosen.values())


Scores = dict[str, dict[str, dict[str, object]]]


def _chosen(
    ablation: AblationDirectory, suite: str, arms: Sequence[Arm], scores: Scores, shown: int
) -> list[ShownCase]:
    own = [arm.name for arm in arms if not arm.baseline] or [arm.name for arm in arms]
    cases = [case for case in ablation.cases if case.suite == suite and any(arm.image(case) for arm in arms)]
    cases.sort(key=lambda case: -sum(_product(scores[name].get(case.id, {})) for name in own))
    count = min(shown, len(cases))
    return [cases[int((k + 0.5) * len(cases) / count)] for k in range(count)]


def _product(row: dict[str, object]) -> float:
    value = _number(row, "cp") * _number(row, "pf")
    return 0.0 if math.isnan(value) else value


def _number(row: dict[str, object], name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan


def _strip(case: ShownCase, arms: Sequence[Arm], scores: Scores) -> Strip:
    tiles = tuple(
        Tile(arm.name, picture(arm.image(case)), _number(row, "cp"), _number(row, "pf"))
        for arm in arms
        for row in [scores[arm.name].get(case.id, {})]
    )
    return Strip(case, tuple(picture(reference.image) for reference in case.references), tiles)
