"""``dynaip show``: the options of a component."""

from __future__ import annotations

from typing import Annotated

import typer

from dynaip.cli.output import echo


def show(
    kind: Annotated[str, typer.Argument(help="Kind of component, e.g. fusion.")],
    name: Annotated[str, typer.Argument(help="Its name, plain or qualified, e.g. hmoe or builtin:hmoe.")],
) -> None:
    """Show what a component is, and its options with types, defaults and descriptions."""
    from dynaip.cli.tables import show_table
    from dynaip.config.describe import describe
    from dynaip.registry import KINDS, registry

    entry = registry().find(kind, name)
    component = entry.component
    echo(f"{kind} {entry.qualified}  (version {entry.version or 'unknown'}, {registry().state(entry)})")
    echo(component.summary)
    target = component.target if isinstance(component.target, str) else component.target.__qualname__
    echo(f"class {target}, contract {KINDS[kind].contract.replace(':', '.')}")
    options = describe(registry().config_class(kind, entry.qualified))
    if options:
        show_table(("option", "type", "default", "description"), [(o.name, o.type, o.default, o.text) for o in options])
    else:
        echo("It has no options.")
