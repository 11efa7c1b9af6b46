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
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, two or more.")],
    as_json: AsJson = False,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="Print a table of scores and their differences: csv, markdown, latex."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this score (--format). Repeatable.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Differences within ± this are equivalent (--format).")
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option("--subjects", metavar="FILE", help="Table of case and subject: cases of one belong together."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap (--format).")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Draw the losses into this file (.png, .svg, .pdf).")
    ] = None,
) -> None:
    """Show where the configs of runs differ, their losses and scores; with -o also their curves in one figure.

    With --format it prints scores with intervals, and how each run differs from the first.
    """
    from dynaip.errors import InputError
    from dynaip.report.comparison import compare_runs, draw_curves

    if len(runs) < 2:
        raise InputError("compare takes two runs at least: dynaip runs lists those there are")
    if format_:
        from dynaip.report.effects import effects
        from dynaip.report.formats import as_text
        from dynaip.report.scored import named, scored_rows, subjects_of, tell_unnamed

        rows, of = scored_rows(named(runs)), subjects_of(subjects) if subjects else None
        if subjects and of:
            tell_unnamed(subjects, of, rows)
        echo(as_text(effects(rows, metrics=metric, subjects=of, margin=margin, seed=seed), format_), nl=False)
        return
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
