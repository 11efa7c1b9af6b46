"""Options that several commands share."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Annotated

import typer


def _configs(incomplete: str) -> list[str]:
    """Recipes, config files and folders whose names go on from what the shell has."""
    from dynaip.config import recipes

    found = sorted(Path().glob(f"{glob.escape(incomplete)}*")) if not Path(incomplete).is_absolute() else []
    files = [path.as_posix() for path in found if path.suffix in (".yaml", ".yml")]
    return (
        [name for name in recipes() if name.startswith(incomplete)]
        + files
        + [f"{path}/" for path in found if path.is_dir()]
    )


ConfigName = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A config file or the name of a recipe.", autocompletion=_configs),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="PATH=VALUE", help="Override a value, e.g. -s fusion.router=image. Repeatable."
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Load a Python file with components of your own. Repeatable."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No bars, no notes, no lines that say what was written; errors stay.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="auto (the accelerator where there is one), cpu, cuda, cuda:1, mps, …"
    ),
]
Offload = Annotated[
    str | None,
    typer.Option(
        "--offload", metavar="HOW", help="Keep what is not at work off the accelerator: none, model, sequential."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER", help="Your copy of the benchmark, for those that read one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def with_data(data: Path | None, overrides: list[str] | None) -> list[str]:
    """``-s`` values, with the folder of the benchmark's copy in front."""
    folder = [] if data is None else [f"evaluation.benchmark.folder={json.dumps(str(data.absolute()))}"]
    return [*folder, *(overrides or ())]
