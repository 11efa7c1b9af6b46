"""``dynaip compare``: runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.cli.options import AsJson
from dynaip.cli.output import echo
from dynaip.cli.runs import figure, scores_told

if TYPE_CHECKING:
    from dynaip.report.comparison import Compared


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Run folders.")],
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Draw the losses into this file (.png, .svg, .pdf).")
    ] = None,
) -> None:
    """Show where the configs of runs differ, their losses and scores; with -o also their curves in one figure."""
    from dynaip.errors import InputError
    from dynaip.report.comparison import compare_runs, draw_curves

    if len(runs) < 2:
        raise InputError("compare takes two runs at least: dynaip runs lists those there are")
    compared = compare_runs(runs)
    echo(json.dumps(compared.plain(), indent=2)) if as_json else _show(compared)
    if out:
        drawn = draw_curves(compared, out)
        echo(f"curves: {drawn}", err=as_json)


def _show(compared: Compared) -> None:
    from dynaip.cli.tables import show_table

    states = compared.states
    if compared.settings:
        show_table(("setting", *states), [(path, *map(str, values)) for path, values in compared.settings])
    else:
        echo("their configs are the same")
    rows = [
        ("state", *(each.state for each in states.values())),
        ("step", *("-" if each.step is None else str(each.step) for each in states.values())),
        ("loss", *(figure(each.loss) for each in states.values())),
        ("validation loss", *(figure(each.validation_loss) for each in states.values())),
        ("scores", *(scores_told(each.scores) for each in states.values())),
    ]
    show_table(("", *states), rows)
