"""``dynaip report``: rebuild the report of an ablation from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import say


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="The directory of an ablation, finished or not; or of several."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where the report of several goes; report-A-B by default."),
    ] = None,
) -> None:
    """Rebuild the HTML report of an ablation, or join those of several, from files alone; no model is loaded."""
    from dynaip.report.build import build_report

    first, *others = directories
    if others and out is None:
        out = Path("-".join(["report", *(each.resolve().name for each in directories)]))
    say(f"wrote {build_report(first, *others, out=out)}")
