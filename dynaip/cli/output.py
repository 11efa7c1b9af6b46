"""What commands print: lines of text that may hold what others wrote, so no control character of it reaches a terminal."""

from __future__ import annotations

import json
import math
from typing import Any

import typer

from dynaip.plain import plain
from dynaip.quiet import hushed


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout, or on stderr: what was asked for, whether quietly or not."""
    typer.echo(plain(str(text)), err=err, nl=nl)


def echo_json(value: Any) -> None:
    """Print plain data as JSON; what is not finite becomes null."""
    echo(json.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: object) -> None:
    """Print what is good to know and was not asked for, such as where something was written; nothing under ``--quiet``."""
    if not hushed():
        echo(text)
