"""``dynaip export``: a run's adapter in somebody else's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import say


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    target: Annotated[str, typer.Option("--to", metavar="FORMAT", help="diffusers, xlabs: dynaip plugins format.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder; RUN-FORMAT by default.")
    ] = None,
) -> None:
    """Write what other programs load, where that is exact; otherwise say which property prevents it."""
    from dynaip.adapter.exchange import export_run

    say(f"wrote {export_run(run, target, out or Path(f'{Path(run).name}-{target}'))}")
