"""``dynaip plugins``: which components there are, and who brings them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.cli.options import AsJson, PluginFiles
from dynaip.cli.output import echo
from dynaip.errors import PluginError

if TYPE_CHECKING:
    from dynaip.registry import Entry, Registry


def plugins(
    kind: Annotated[str | None, typer.Argument(help="Only components of this kind, e.g. fusion.")] = None,
    as_json: AsJson = False,
    errors: Annotated[bool, typer.Option("--errors", help="Show the plugins that failed, and why.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """List components with the plugin they come from, its version, and whether they can be used."""
    from dynaip.registry import registry

    for file in plugin or []:
        with suppress(PluginError):  # it is among the failures, which is what one looks for here
            registry().load_file(file)
    entries = registry().components(kind)
    if as_json:
        echo(_json(registry(), entries))
    elif errors:
        for each in registry().failures:
            echo(f"{each.plugin}: failed at {each.stage}: {each.error}")
        if not registry().failures:
            echo("no plugin failed")
    else:
        _print_table(registry(), entries)


def _json(known: Registry, entries: list[Entry]) -> str:
    rows = [
        {
            "kind": each.component.kind,
            "name": each.component.name,
            "qualified": each.qualified,
            "version": each.version,
            "origin": each.origin,
            "state": known.state(each),
            "summary": each.component.summary,
        }
        for each in entries
    ]
    failures = [vars(each) for each in known.failures]
    return json.dumps({"components": rows, "failures": failures}, indent=2)


def _print_table(known: Registry, entries: list[Entry]) -> None:
    from dynaip.cli.tables import show_table

    columns = ("kind", "name", "plugin", "version", "state", "summary")
    rows = [
        (
            each.component.kind,
            each.component.name,
            each.plugin,
            "file" if each.origin == "file" else each.version,
            known.state(each),
            each.component.summary,
        )
        for each in entries
    ]
    show_table(columns, rows)
    count = len(known.failures)
    if count:
        echo(f"{count} plugin{'s' * (count > 1)} failed: dynaip plugins --errors says why")
