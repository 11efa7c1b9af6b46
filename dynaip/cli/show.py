"""``dynaip show``: the options of a component."""

from __future__ import annotations

from typing import Annotated

import typer

from dynaip.cli.options import AsJson
from dynaip.cli.output import echo, echo_json


def show(
    kind: Annotated[str, typer.Argument(help="Kind of component, e.g. fusion.")],
    name: Annotated[str, typer.Argument(help="Its name, plain or qualified, e.g. hmoe or builtin:hmoe.")],
    as_json: AsJson = False,
) -> None:
    """Show what a component is, and its options with types, defaults and descriptions."""
    from dynaip.cli.tables import show_table
    from dynaip.config.describe import describe
    from dynaip.registry import KINDS, registry

    entry = registry().find(kind, name)
    component = entry.component
    target = component.target if isinstance(component.target, str) else component.target.__qualname__
    options = describe(registry().config_class(kind, entry.qualified))
    if as_json:
        about = {"kind": kind, "name": entry.qualified, "version": entry.version, "state": registry().state(entry)}
        about |= {"summary": component.summary, "class": target, "contract": KINDS[kind].contract.replace(":", ".")}
        rows = [{"option": o.name, "type": o.type, "default": o.default, "description": o.text} for o in options]
        echo_json({**about, "options": rows})
        return
    echo(f"{kind} {entry.qualified}  (version {entry.version or 'unknown'}, {registry().state(entry)})")
    echo(component.summary)
    echo(f"class {target}, contract {KINDS[kind].contract.replace(':', '.')}")
    if options:
        show_table(("option", "type", "default", "description"), [(o.name, o.type, o.default, o.text) for o in options])
    else:
        echo("It has no options.")
