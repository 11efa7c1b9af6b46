"""``dynaip score``: score pictures that others painted, on the cases of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.cli.evaluate import show_scores
from dynaip.cli.options import Data, Device, Overrides, with_data
from dynaip.cli.output import echo, say
from dynaip.device import use

if TYPE_CHECKING:
    from dynaip.config import EvaluationConfig


def score(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Folders of pictures, or tables with the columns case and image; NAME=FOLDER names an arm.",
        ),
    ],
    benchmark: Annotated[str | None, typer.Option("--benchmark", help="Benchmark by name.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Metric by name. Repeatable.")] = None,
    data: Data = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", help="Only this suite. Repeatable.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Cases of every suite, at most.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the cases.")] = None,
    set_: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the pictures, say how many calls it takes, and score nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write.")] = None,
    device: Device = "auto",
) -> None:
    """Score pictures of any method, several folders as arms of a comparison; write scores.parquet and a report."""
    use(device)
    from dynaip.ablation.scored import named_folders, score_pictures
    from dynaip.evaluation.runs import evaluation_alone
    from dynaip.report.build import build_report
    from dynaip.scores import LABELS, summary

    given = {"benchmark": benchmark, "metrics": metric, "suites": suite, "limit": limit, "seed": seed}
    config = evaluation_alone(
        {name: value for name, value in given.items() if value is not None}, with_data(data, set_)
    )
    if dry_run:
        _tell_what_it_takes(config, named_folders(images))
        return
    folder = out or Path(f"scores-{config.benchmark.name}")
    scores = score_pictures(config, named_folders(images), folder, lambda name: say(f"scoring {name}"))
    for name, rows in scores.groupby("arm", sort=False):
        echo(f"\n{name}")
        rows = rows.drop(columns="arm")
        for by in ("suite", *(label for label in LABELS if label in rows.columns)):
            show_scores(summary(rows, by), by)
    say(f"wrote {folder / 'scores.parquet'}, {folder / 'results.csv'} and {build_report(folder)}")


def _tell_what_it_takes(config: EvaluationConfig, arms: dict[str, Path]) -> None:
    """Find every picture, which fails as scoring would, and print what each metric's scoring takes."""
    from dynaip.ablation.scored import pictures_of
    from dynaip.evaluation.scoring import build_metrics
    from dynaip.notes import gathered

    with gathered():
        cases, found = pictures_of(config, arms)
    for name, paths in found.items():
        echo(f"{name}: {len(paths)} pictures, one a case")
    for metric in build_metrics(config):
        if words := metric.estimate(cases):
            echo(f"for each of {len(arms)} arms: {words}" if len(arms) > 1 else words)
