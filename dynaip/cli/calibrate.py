"""``dynaip calibrate``: a judge against people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.cli.output import echo

if TYPE_CHECKING:
    from dynaip.judging.calibration import Calibration
    from dynaip.judging.ratings import Rating

HIGHEST = 4.0


def calibrate(
    judge: Annotated[
        Path, typer.Argument(metavar="JUDGE", help="scores.parquet, a table, answers (jsonl) or a folder.")
    ],
    people: Annotated[
        Path, typer.Argument(metavar="PEOPLE", help="A table of case, rater, score, or a folder a rater.")
    ],
    score: Annotated[str, typer.Option("--score", help="Which score: cp, pf, or another column.")] = "cp",
    judge_max: Annotated[
        float | None, typer.Option("--judge-max", help="Highest score of the judge: 1 where none is higher, else 4.")
    ] = None,
    people_max: Annotated[float, typer.Option("--people-max", help="Highest score of people.")] = HIGHEST,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option("--draws", min=20, help="Samples of the bootstrap.")] = 400,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to write.")] = Path("calibration"),
) -> None:
    """Hold a judge against human ratings: agreement with intervals, confusion, bias by category."""
    from dynaip.atomic import write_json
    from dynaip.judging.calibration import calibrate as hold
    from dynaip.judging.ratings import read_ratings

    own, theirs = read_ratings(judge, score), read_ratings(people, score)
    highest = judge_max or (1.0 if own and max(each.value for each in own) <= 1 else HIGHEST)
    echo(f"{judge} is read as 0 to {highest:g}, {people} as 0 to {people_max:g}")
    found = hold(_scaled(own, highest, judge), _scaled(theirs, people_max, people), seed=seed, draws=draws)
    _show(found)
    path = out / f"{score}.json"
    write_json(path, {"score": score, "judge": str(judge), "people": str(people), **found.plain()})
    echo(f"wrote {path}")


def _scaled(ratings: list[Rating], highest: float, where: Path) -> list[Rating]:
    """Ratings on the scale of 0 to 4."""
    from dynaip.judging.ratings import within

    return [replace(each, value=each.value * HIGHEST / highest) for each in within(ratings, highest, where)]


def _show(found: Calibration) -> None:
    from dynaip.cli.tables import show_table

    echo(f"{found.cases} cases rated by the judge and by {found.raters} people")
    rows = [(name, _number(it.value), f"{_number(it.low)} … {_number(it.high)}") for name, it in found.figures.items()]
    show_table(("agreement", "value", "95 % interval"), rows)
    if found.means:
        means = [(it.arm, str(it.cases), _number(it.judge), _number(it.people)) for it in found.means]
        show_table(("arm", "cases", "judge (0 to 1)", "people (0 to 1)"), means)
    levels = [str(level) for level in range(len(found.confusion))]
    counts = [(f"people {level}", *map(str, row)) for level, row in zip(levels, found.confusion.tolist())]
    show_table(("median", *(f"judge {level}" for level in levels)), counts)
    bias = [
        (it.category, str(it.cases), _number(it.value), f"{_number(it.low)} … {_number(it.high)}") for it in found.bias
    ]
    show_table(("category", "cases", "judge minus people (0 to 4)", "95 % interval"), bias)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
