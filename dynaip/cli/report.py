"""``dynaip report``: rebuild the report of an ablation from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import say


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an ablation, finished or not.")],
) -> None:
    """Rebuild the HTML report of an ablation from its files alone; no model is loaded."""
    from dynaip.report.build import build_report

    say(f"wrote {build_report(directory)}")
