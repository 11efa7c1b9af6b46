"""``dynaip microworld``: make the embedded models again, measure them, read their card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import echo
from dynaip.device import choose
from dynaip.errors import InputError

from .bundle import ASSETS, MicroworldBundle

app = typer.Typer(help="Build, measure and describe the embedded models.", no_args_is_help=False)
Threads = Annotated[int, typer.Option(help="CPU threads.", min=1)]


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, …")]


@app.command()
def build(
    out: Annotated[Path, typer.Argument(help="Folder to write; an unfinished one is gone on with.")],
    seed: Annotated[int, typer.Option(help="Seed of every training.", min=0)] = 0,
    scale: Annotated[float, typer.Option(help="1 is the models that ship; 0.001 takes seconds.", min=0)] = 1.0,
    minutes: Annotated[
        float | None, typer.Option(help="Let the clock end trainings: minutes for all of them.", min=0)
    ] = None,
    threads: Threads = 2,
    device: Device = "auto",
    stage: Annotated[list[str] | None, typer.Option(help="Only this stage. Repeatable.")] = None,
    beside: Annotated[bool, typer.Option("--beside", help="Every stage in a process of its own.")] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Folder of models, or microworld: base and decoder go on from it.", metavar="FOLDER"),
    ] = None,
    waits: Annotated[bool, typer.Option("--waits", help="Wait for what another process makes.", hidden=True)] = False,
    eager: Annotated[bool, typer.Option("--eager", help="Step by step, without captured graphs.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the base: a minute or two at first.")] = False,
) -> None:
    """Make all embedded models again from a seed."""
    choose(device)  # one that is not here is refused before what trains is imported
    ran = MicroworldBundle().build(
        out, seed=seed, scale=scale, minutes=minutes, threads=threads, device=device, stages=stage or [],
        compiled=compiled, eager=eager, beside=beside, waits=waits,
        start=ASSETS if start == "microworld" else Path(start) if start else None,
    )  # fmt: skip
    echo(f"built {', '.join(ran) or 'nothing: everything was complete'}; wrote {out}")


@app.command()
def measure(
    folder: Annotated[Path | None, typer.Argument(help="Folder of models; by default those that ship.")] = None,
    count: Annotated[int, typer.Option(help="Held-out scenes to measure on.", min=1)] = 200,
    threads: Threads = 2,
    device: Device = "auto",
) -> None:
    """Measure models on held-out scenes and write their card."""
    choose(device)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder of models")
    echo(f"wrote {MicroworldBundle().measure(folder, count=count, threads=threads, device=device)}")


@app.command()
def card() -> None:
    """Print the model card of the models that ship."""
    echo(MicroworldBundle().card(), nl=False)
