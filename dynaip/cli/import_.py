"""``dynaip import``: somebody else's adapter becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import say


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A safetensors file, or a pickle of tensors alone.")],
    source: Annotated[str, typer.Option("--from", metavar="FORMAT", help="xlabs, instantx, …: dynaip plugins format.")],
    base: Annotated[
        str | None, typer.Option("--base", help="Hub id or folder of its base; the public one by default.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Hub id or folder of its encoder; the public one by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Run folder; runs/FORMAT-FILE.")
    ] = None,
) -> None:
    """Read public weights into a run that generates, trains on and takes part in ablations like any other."""
    from dynaip.adapter.exchange import GO_ON, import_run

    folder = out or Path("runs") / f"{source}-{file.stem}"
    run = import_run(file, source, folder, base=base, encoder=encoder)
    say(f"wrote {run.adapter}; {folder / GO_ON} trains on from it")
