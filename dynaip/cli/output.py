"""What commands print: lines of text that may hold what others wrote, so no control character of it reaches a terminal."""

from __future__ import annotations

import typer

from dynaip.plain import plain


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout, or on stderr."""
    typer.echo(plain(str(text)), err=err, nl=nl)
