"""``dynaip ui``: a page on this machine to play with a run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dynaip.atomic import check_folder
from dynaip.cli.options import Device, Offload
from dynaip.cli.output import echo
from dynaip.device import use
from dynaip.errors import InputError, MissingDependency

HOST = "127.0.0.1"
"""Nobody but this machine is served."""


def ui(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")] = "microworld",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where pictures and what they were made of are kept.")
    ] = Path("dynaip-ui"),
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The first free one from 7860 up.")
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Let anybody who has the link use this machine, through gradio's servers.")
    ] = False,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page.")] = False,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Open a page to play with: draw regions, move sliders, compare, look inside. This machine alone is served."""
    use(device, offload)
    if find_spec("gradio") is None:
        raise MissingDependency('the page needs gradio: pip install "dynaip[ui]"')
    check_folder(out)
    from dynaip_analysis.page.layout import serve
    from dynaip_analysis.page.studio import Studio

    studio = Studio.open(run, out)
    try:
        page, address = serve(studio, HOST, port, share=share, browser=browser)
    except OSError as error:
        raise InputError(
            f"port {port or '7860 and those above'} cannot be used ({error}): choose another --port"
        ) from error
    echo(f"{address} shows {run}; pictures are kept in {out}; Ctrl-C ends it")
    page.block_thread()
