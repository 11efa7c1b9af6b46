"""``dynaip doctor``: what works on this machine."""

from __future__ import annotations

import json

import typer

from dynaip.cli.options import AsJson, Device
from dynaip.cli.output import echo
from dynaip.device import use


def doctor(as_json: AsJson = False, device: Device = "auto") -> None:
    """Say what works here: versions, devices, attention kernels (tried), extras, plugins, folders. Bug reports begin with it.

    Exits with 1 if something that a default needs does not work.
    """
    use(device)
    from dynaip.doctor import examine

    found = examine()
    if as_json:
        echo(json.dumps(found.plain(), indent=2))
    else:
        from dynaip.cli.tables import show_table

        rows = [(each.part, each.name, _state(each.works, each.needed), each.found) for each in found.checks]
        show_table(("part", "what", "", "found"), rows)
    if not found.healthy:
        raise typer.Exit(1)


def _state(works: bool, needed: bool) -> str:
    return "ok" if works else "BROKEN" if needed else "-"
