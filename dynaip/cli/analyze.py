"""``dynaip analyze``: figures and tidy tables that look inside one adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.errors import InputError


def analyze(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="What to look at: attention, interventions, routing, granularity, decoupling or judges.",
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
) -> None:
    """Write figures (PNG) and their tables (parquet) about one trained adapter."""
    from dynaip.config.merge import overridden
    from dynaip.report.section import AnalysisRequest
    from dynaip.report.sections import build

    if prompt is not None and not prompt.strip():
        raise InputError("--prompt is empty; say what to generate, or leave it out to take cases of the benchmark")
    folder = out or _folder(run)
    for figure in build(what, overridden({}, set_ or ())).analyse(
        AnalysisRequest(run, folder, ref, prompt, seed, labelled)
    ):
        typer.echo(f"wrote {figure} and {figure.with_suffix('.parquet').name}")


def _folder(run: str) -> Path:
    return Path(run) / "analysis" if Path(run).is_dir() else Path(f"analysis-{Path(run).name}")
