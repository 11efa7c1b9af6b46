"""The grid of the report: references, prompt, and what every arm made of them, for the same cases and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynaip.ablation.answer import label
from dynaip.report.directory import AblationDirectory, ShownArm, ShownCase
from dynaip.report.pictures import thumbnail

SHOWN = 4
"""Cases a suite."""


@dataclass(frozen=True)
class Tile:
    """What one arm made of a case."""

    arm: str
    image: str | None
    problem: str
    """Why there is no image."""
    figures: tuple[tuple[str, float], ...]
    """The first metrics of the case, those that it has."""


@dataclass(frozen=True)
class Strip:
    """One case with its references and the tiles of all arms."""

    case: ShownCase
    references: tuple[tuple[str | None, str], ...]
    """Picture, or why there is none."""
    tiles: tuple[Tile, ...]

    @property
    def boxes(self) -> list[tuple[int, tuple[float, float, float, float]]]:
        """Number and region of the references that have a region of their own."""
        found = [(k + 1, reference.region) for k, reference in enumerate(self.case.references)]
        return [(number, region) for number, region in found if region and region != (0.0, 0.0, 1.0, 1.0)]


def gallery(
    ablation: AblationDirectory, metrics: Sequence[str] = ("cp", "pf"), shown: int = SHOWN
) -> dict[str, list[Strip]]:
    """Strips by suite; the cases are spread evenly from easy to hard, by the mean of the first ``metrics`` over all arms."""
    arms = [arm for arm in first_seeds(ablation.arms) if arm.samples.is_dir()]
    scores = {arm.name: {str(row["case"]): row for row in arm.scores} for arm in arms}
    strips: dict[str, list[Strip]] = {}
    for suite in dict.fromkeys(case.suite for case in ablation.cases):
        asked = [arm for arm in arms if _took_part(arm, suite, ablation.cases)]
        strips[suite] = [
            Strip(
                case,
                tuple(thumbnail(reference.image) for reference in case.references),
                tuple(
                    Tile(arm.name, *thumbnail(arm.image(case)), _figures(scores[arm.name].get(case.id, {}), metrics))
                    for arm in asked
                ),
            )
            for case in _chosen(ablation, suite, asked, scores, metrics, shown)
        ]
    return strips


def _took_part(arm: ShownArm, suite: str, cases: Sequence[ShownCase]) -> bool:
    """Arms of joined ablations need not have the same suites: one that was never asked has no empty tiles."""
    scored = any(row.get("suite") == suite for row in arm.scores)
    return scored or any(arm.image(case) for case in cases if case.suite == suite)


def first_seeds(arms: Sequence[ShownArm]) -> list[ShownArm]:
    """One arm a name: its first training seed that has pictures, else its first."""
    chosen: dict[str, ShownArm] = {}
    for arm in arms:
        if arm.name not in chosen or not chosen[arm.name].samples.is_dir():
            chosen[arm.name] = arm
    return list(chosen.values())


Scores = dict[str, dict[str, dict[str, object]]]


def _chosen(
    ablation: AblationDirectory,
    suite: str,
    arms: Sequence[ShownArm],
    scores: Scores,
    metrics: Sequence[str],
    shown: int,
) -> list[ShownCase]:
    own = [arm.name for arm in arms if not arm.baseline] or [arm.name for arm in arms]
    cases = [case for case in ablation.cases if case.suite == suite and any(arm.image(case) for arm in arms)]

    def difficulty(case: ShownCase) -> float:
        rows = [scores[name].get(case.id, {}) for name in own]
        products = [math.prod(value for _, value in _figures(row, metrics)) for row in rows if row]
        return -sum(products)

    cases.sort(key=difficulty)
    count = min(shown, len(cases))
    return [cases[int((k + 0.5) * len(cases) / count)] for k in range(count)]


def _figures(row: dict[str, object], metrics: Sequence[str]) -> tuple[tuple[str, float], ...]:
    values = ((name, row.get(name)) for name in metrics)
    return tuple(
        (label(name), float(value)) for name, value in values if isinstance(value, (int, float)) and value == value
    )
