"""``dynaip cache``: what lies in the folder of encodings, whether it is whole, and what may go."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dynaip.cli.options import AsJson
from dynaip.cli.output import echo
from dynaip.cli.tables import show_table
from dynaip.errors import DynaIPError, InputError

app = typer.Typer(help="Encodings on disk: list, verify, prune.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Folder of encodings; DYNAIP_ENCODINGS, or ~/.cache/dynaip/encodings by default."),
]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names that `dynaip cache list` shows.")]


@app.command(name="list")
def list_(folder: Folder = None, as_json: AsJson = False) -> None:
    """List collections, the least recently used first: what they hold, of which models and pairs, and how large they are."""
    from dynaip.encodings.folder import collections

    found = [_told(one) for one in collections(_place(folder))]
    if as_json:
        echo(json.dumps(found, indent=2))
        return
    rows = [
        (one["name"], _size(one["bytes"]), str(one["shards"]), f"{one['hours']:.1f} h ago", one["of"]) for one in found
    ]
    show_table(("name", "size", "shards", "used", "of"), rows)
    echo(f"{len(found)} collections, {_size(sum(one['bytes'] for one in found))} in {_place(folder)}")


@app.command()
def verify(
    names: Names = None,
    folder: Folder = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what is damaged, so that the next training makes it again.")
    ] = False,
) -> None:
    """Read every shard and compare it with its checksums; exit 1 if some are damaged (and not removed)."""
    from dynaip.encodings.folder import chosen, damaged

    place = _place(folder)
    count = sum(one.shards for one in chosen(place, names or ()))
    bad = list(damaged(place, names or ()))
    for file, reason in bad:
        echo(f"damaged: {reason}" + ("; removed" if remove else ""))
        if remove:
            file.unlink(missing_ok=True)
    echo(f"{count} shards read, {len(bad)} damaged")
    if bad and not remove:
        raise DynaIPError(
            f"{len(bad)} of {count} shards are damaged: add --remove, and the next training makes them again"
        )


@app.command()
def prune(
    names: Names = None,
    limit: Annotated[
        float | None,
        typer.Option("--limit", min=0, help="Gigabytes to keep: what was not used for longest goes first."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what was used within the last hour.")] = False,
    folder: Folder = None,
) -> None:
    """Remove collections by name, or the least recently used ones until the rest takes no more than --limit."""
    from dynaip.encodings import folder as folders

    place = _place(folder)
    if bool(names) == (limit is not None):
        raise InputError("dynaip cache prune: give names (dynaip cache list shows them), or --limit GB")
    wanted = folders.chosen(place, names) if names else _beyond(place, limit or 0.0, force)
    for one in wanted:
        if one.busy and not force:
            raise InputError(f"{one.path.name} was used within the last hour: a training may be reading it (--force)")
    for one in wanted:
        folders.remove(one)
        echo(f"removed {one.path.name} ({_size(one.bytes)})")
    folders.prune(place, float("inf"))
    left = folders.collections(place)
    echo(f"{len(left)} collections left, {_size(sum(one.bytes for one in left))}")


def _beyond(place: Path, limit: float, force: bool) -> list[Any]:
    from dynaip.encodings.folder import collections

    there = collections(place)
    size, gone = sum(one.bytes for one in there), list[Any]()
    for one in there:
        if size <= limit * 1e9:
            break
        if force or not one.busy:
            gone.append(one)
            size -= one.bytes
    if size > limit * 1e9:
        echo(f"{_size(size)} stay: they were used within the last hour (--force removes them, too)")
    return gone


def _size(number: float) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _place(folder: Path | None) -> Path:
    from dynaip.encodings.folder import default_folder

    return folder or default_folder()


def _told(one: Any) -> dict[str, Any]:
    """What a line of the list says."""
    depends = one.depends
    source = depends.get("source", {})
    parts = [str(source.get("use", "?")), *(str(source[key]) for key in ("folder", "path", "name") if source.get(key))]
    made_by = depends.get("encoder", depends.get("backbone", {}))
    parts += [str(made_by.get(key)) for key in ("use", "model") if made_by.get(key)]
    parts += [f"levels in {depends['kept']}"] if "kept" in depends else []
    return {
        "name": one.path.name,
        "bytes": one.bytes,
        "shards": one.shards,
        "hours": max(0.0, (time.time() - one.used) / 3600),
        "busy": one.busy,
        "of": ", ".join(parts),
        "depends": depends,
    }
