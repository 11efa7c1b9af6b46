"""``dynaip microworld``: make the embedded models again, measure them, read their card."""

from __future__ import annotations

import typer

app = typer.Typer(help="Build, measure and describe the embedded models.", no_args_is_help=True)
