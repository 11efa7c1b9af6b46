"""``dynaip runs``: what there is, and how far it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.options import AsJson
from dynaip.cli.output import echo


def runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that holds runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs below a folder with their state, step, loss (a mean over the last logged steps) and scores."""
    from dynaip.report.listing import runs_below

    found = runs_below(folder)
    if as_json:
        echo(json.dumps([state.plain() for state in found], indent=2))
    elif not found:
        echo(f"no runs below {folder}")
    else:
        from dynaip.cli.tables import show_table

        rows = [
            (each.run, each.state, f"{_of(each.step)}/{_of(each.steps)}", figure(each.loss),
             figure(each.validation_loss), scores_told(each.scores))
            for each in found
        ]  # fmt: skip
        show_table(("run", "state", "step", "loss", "validation", "scores"), rows)


def figure(value: float | None) -> str:
    """Four digits, or a dash where there is no number."""
    return "-" if value is None else f"{value:.4f}"


def scores_told(scores: dict[str, float]) -> str:
    """Metrics in one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items()) or "-"


def _of(value: int | None) -> str:
    return "-" if value is None else str(value)
