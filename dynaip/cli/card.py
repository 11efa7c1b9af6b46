"""``dynaip card``: what an adapter is, how it was trained and what it was measured at, as a page for those who find it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.output import echo


def card(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder; the run's adapter/ by default, card-RUN of a RUN that is no folder.",
        ),
    ] = None,
) -> None:
    """Write the model card of a run: parts, licences, training, scores, and the figures of its analyses."""
    from dynaip.adapter.card import write_card
    from dynaip.adapter.model import DynaIP
    from dynaip.atomic import check_folder
    from dynaip.paths import at_home

    here = at_home(run)
    folder = out or (here / "adapter" if (here / "adapter").is_dir() else Path(f"card-{Path(run).name}"))
    check_folder(folder)
    adapter = DynaIP.from_pretrained(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_card(adapter, folder, run=adapter.source)
    echo(f"wrote {folder / 'README.md'}")
