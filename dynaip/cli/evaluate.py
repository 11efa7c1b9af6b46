"""``dynaip evaluate``: generate a benchmark's cases with a trained adapter and score them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import Device, Offload, Overrides
from dynaip.cli.output import echo
from dynaip.device import use
from dynaip.paths import at_home
from dynaip.scores import RESERVED

if TYPE_CHECKING:
    from dynaip.config import EvaluationConfig

COLUMNS = 9
"""Scores in one table: more are shown in further ones."""


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="Benchmark by name; the run's own by default.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Metric by name, instead of the run's own. Repeatable.")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", help="Only this suite. Repeatable.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Cases of every suite, at most.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the cases.")] = None,
    decoupling: Annotated[
        str | None, typer.Option("--decoupling", help="Another policy than the adapter's own.")
    ] = None,
    without_reference: Annotated[bool, typer.Option("--without-reference", help="The base alone: chance.")] = False,
    set_: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many pictures and calls it takes, and do nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write.")] = None,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Score a trained adapter and write scores.parquet (one row a case) and the images."""
    use(device, offload)
    given = {"benchmark": benchmark, "metrics": metric, "suites": suite, "limit": limit, "seed": seed}
    from dynaip.evaluation.runs import evaluation_of

    config = evaluation_of(run, {key: value for key, value in given.items() if value is not None}, set_ or ())
    if dry_run:
        tell_estimate(config)
        return
    folder = out or (at_home(run) if at_home(run).is_dir() else Path(f"evaluation-{Path(run).name}"))
    table = _evaluate(run, config, folder, decoupling, without_reference)
    show_scores(table)
    echo(f"wrote {folder / 'scores.parquet'} and {folder / 'samples'}")


def tell_estimate(config: EvaluationConfig) -> None:
    """Print how many pictures an evaluation needs, and what each metric's scoring takes; nothing is painted or asked."""
    from dynaip.evaluation.scoring import benchmark_cases, build_metrics

    cases = benchmark_cases(config)
    echo(f"{len(cases)} pictures")
    for metric in build_metrics(config):
        if words := metric.estimate(cases):
            echo(words)


def show_scores(table: Any) -> None:
    """Every column that the metrics gave, some at a time: the scores first, then the parts that they are made of."""
    from dynaip.cli.tables import show_table

    names = [name for name in table.columns if name != "suite"]
    parts = [name for name in names if name not in RESERVED and any(name.startswith(f"{each}_") for each in names)]
    for group in ([name for name in names if name not in parts], parts):
        for start in range(0, len(group), COLUMNS):
            shown = ["suite", *group[start : start + COLUMNS]]
            rows = [[row[name] for name in shown] for _, row in table.iterrows()]
            show_table(shown, [[f"{it:.3f}" if isinstance(it, float) else str(it) for it in row] for row in rows])


def _evaluate(run: str, config: EvaluationConfig, folder: Path, decoupling: str | None, bare: bool) -> Any:
    from rich.progress import Progress

    import dynaip
    from dynaip.adapter.files import backbone_of
    from dynaip.config import ComponentSpec
    from dynaip.evaluation.scoring import benchmark_cases
    from dynaip.evaluation.scoring import evaluate as score
    from dynaip.scores import summary
    from dynaip.sizes import check_size

    policy = ComponentSpec.parse("decoupling", decoupling) if decoupling else None
    cases, base = benchmark_cases(config), backbone_of(run).config
    for case in cases:
        if case.size is not None:
            check_size(base, case.size, f"case {case.id} of {config.benchmark.name}")
    pipe, dyna = dynaip.load(run)
    if policy is not None:
        dyna.set_policy(policy)
    with Progress() as progress:
        task = progress.add_task("generate", total=None)
        scores = score(
            config, pipe, dyna.backbone, None if bare else dyna, folder, cases=cases,
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    return summary(scores)
