"""``dynaip analyze``: figures and tidy tables that look inside one adapter."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer

from dynaip.cli.options import Device, Offload
from dynaip.cli.output import say
from dynaip.device import use
from dynaip.errors import InputError
from dynaip.plain import one_plain_line
from dynaip.quiet import hushed


def analyze(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="What to look at: attention, interventions, routing, granularity, decoupling, judges, or a plugin's section.",
        ),
    ],
    ref: Annotated[Path | None, typer.Option("--ref", metavar="IMAGE", help="A reference of your own.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What to generate with your reference.")] = None,
    labelled: Annotated[
        Path | None,
        typer.Option("--labelled", metavar="DIR", help="Pictures to probe: category/instance/*.png, or a labels.csv."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="OPTION=VALUE", help="An option of the analysis, e.g. -s cases=16. Repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the generation.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write; by default the run's analysis/.")
    ] = None,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Write figures (PNG) and their tables (parquet) about one trained adapter."""
    use(device, offload)
    from dynaip.config.merge import overridden
    from dynaip.contracts.section import AnalysisRequest
    from dynaip.report.sections import build

    if prompt is not None and not prompt.strip():
        raise InputError("--prompt is empty; say what to generate, or leave it out to take cases of the benchmark")
    section = build(what, overridden({}, set_ or ()), f"analyze {what}")
    own = Path(run) / "analysis" if Path(run).is_dir() else Path(f"analysis-{Path(run).name}")
    folder = _writable(out or own)
    with _working(f"{what} of {run}"):
        figures = section.analyse(AnalysisRequest(run, folder, ref, prompt, seed, labelled))
    for figure in figures:
        table = figure.with_suffix(".parquet")
        say(f"wrote {figure} and {table.name}" if table.is_file() else f"wrote {figure}")


def _working(text: str) -> AbstractContextManager[object]:
    """A spinner with the time that went by, on a terminal alone; it leaves nothing behind."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    shown = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console,
                     transient=True, disable=hushed() or not console.is_terminal)  # fmt: skip
    shown.add_task(one_plain_line(text), total=None)
    return shown


def _writable(folder: Path) -> Path:
    """The folder, checked before minutes are spent on what goes into it; ``InputError`` if nothing can be written there."""
    parent = next(each for each in (folder, *folder.parents) if each.exists())
    if not parent.is_dir():
        raise InputError(f"{parent} is a file; choose a folder with --out")
    try:
        with TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another place with --out") from error
    return folder
