"""``dynaip encode``: the encodings of a config's pairs, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.options import ConfigName, Device, Overrides
from dynaip.cli.output import echo
from dynaip.device import use


def encode(
    file: ConfigName,
    set_: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where encodings lie; training.cache_folder by default.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Encode every pair of a config onto disk, once for all trainings. Start it as often as there are devices.

    What is there already is left as it is, so that it goes on after being stopped or killed. Trainings with
    training.cache: disk find it.
    """
    use(device)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from dynaip.config import load_experiment
    from dynaip.plain import plain

    overrides = [*(set_ or ()), *([f"training.cache_folder={folder.absolute()}"] if folder else [])]
    config = load_experiment(file, overrides)
    from dynaip.training.prepare import encode_pairs

    columns = (TextColumn("encode"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("encode", total=None)
        made = encode_pairs(
            config,
            on_progress=lambda told: progress.update(bar, total=told.total, completed=told.done),  # pyright: ignore[reportAttributeAccessIssue]
            warn=lambda line: progress.console.print(plain(line), soft_wrap=True, markup=False),
        )
    others = f", {made.bad} of them cannot be used" if made.bad else ""
    echo(f"{made.pairs} pairs in {made.blocks} blocks{others}; {made.made} blocks encoded now, the rest was there")
    echo(f"encodings: {made.folder} ({made.bytes / 1e9:.3g} GB)")
