"""``dynaip evaluate``: generate a benchmark's cases with a trained adapter and score them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import AsJson, Data, Device, Offload, Overrides, with_data
from dynaip.cli.output import echo, echo_json, say
from dynaip.device import use
from dynaip.paths import at_home
from dynaip.quiet import hushed
from dynaip.scores import RESERVED

if TYPE_CHECKING:
    from dynaip.config import EvaluationConfig

COLUMNS = 9
"""Scores in one table: more are shown in further ones."""
WITH_INTERVAL = 23
"""Signs that a mean with its interval takes."""


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
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Every N-th case alone, from the I-th on, such as 2/8.")
    ] = None,
    data: Data = None,
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
    as_json: AsJson = False,
    offload: Offload = None,
) -> None:
    """Score a trained adapter and write scores.parquet (one row a case) and the images."""
    use(device, offload)
    given = {"benchmark": benchmark, "metrics": metric, "suites": suite, "limit": limit, "seed": seed}
    from dynaip.evaluation.cases import shard_of
    from dynaip.evaluation.runs import evaluation_of

    part = shard_of(shard) if shard else None
    config = evaluation_of(
        run, {key: value for key, value in given.items() if value is not None}, with_data(data, set_)
    )
    if dry_run:
        tell_estimate(config, part)
        return
    folder = out or (at_home(run) if at_home(run).is_dir() else Path(f"evaluation-{Path(run).name}"))
    scores = _evaluate(run, config, folder, decoupling, without_reference, part)
    print_scores(scores, as_json)
    if as_json:
        return
    written = "scores.parquet" if part is None else f"scores-{part[0]}-of-{part[1]}.parquet"
    say(f"wrote {folder / written} and {folder / 'samples'}")
    if part:
        say("once all shards are painted, the same command without --shard scores all of them together")


def print_scores(scores: Any, as_json: bool = False) -> None:
    """Print the means of a table of scores (one row a case) by suite, each with its 95 % interval over cases."""
    from dynaip.scores import summary

    table, found = summary(scores), intervals(scores)
    if not as_json:
        show_scores(table, found=found)
        return
    rows: list[dict[str, Any]] = []
    for _, row in table.iterrows():
        ends = {name: found.get((str(row["suite"]), name)) for name in table.columns}
        values = {str(name): getattr(value, "item", lambda it=value: it)() for name, value in row.items()}
        rows.append(values | {"intervals": {name: list(pair) for name, pair in ends.items() if pair}})
    echo_json(rows)


def intervals(scores: Any) -> dict[tuple[str, str], tuple[float, float]]:
    """Suite and metric -> low and high end of the 95 % interval of its mean over cases; none below two cases."""
    import math

    from dynaip.ablation.statistics import Bootstrap, collect

    table = scores.assign(arm="", seed=scores.groupby(["suite", "case"]).cumcount())
    if {"cp", "pf"} <= set(table.columns):
        table = table.assign(mean_cp_pf=table["cp"] * table["pf"])
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for suite in collect(table.to_dict("records")):
        product = ["cp_pf"] * ({"cp", "pf"} <= set(suite.values))
        for metric in [*suite.values, *product]:
            it = Bootstrap(suite).estimate("", metric)
            if math.isfinite(it.low) and math.isfinite(it.high):
                found[suite.suite, metric] = (it.low, it.high)
    return found


def tell_estimate(config: EvaluationConfig, shard: tuple[int, int] | None = None) -> None:
    """Print how many pictures an evaluation needs, and what each metric's scoring takes; nothing is painted or asked."""
    from dynaip.evaluation.cases import benchmark_cases
    from dynaip.evaluation.scoring import build_metrics

    cases = benchmark_cases(config, shard)
    echo(f"{len(cases)} pictures")
    for metric in build_metrics(config):
        if words := metric.estimate(cases):
            echo(words)


def show_scores(
    table: Any, by: str = "suite", found: Mapping[tuple[str, str], tuple[float, float]] | None = None
) -> None:
    """Every column that the metrics gave, some at a time: the scores first, then the parts that they are made of."""
    from dynaip.cli.tables import show_table, width

    names = [name for name in table.columns if name != by]
    parts = [name for name in names if name not in RESERVED and any(name.startswith(f"{each}_") for each in names)]
    across = COLUMNS if not found else max(2, min(COLUMNS, (width() - 16) // WITH_INTERVAL))
    for group in ([name for name in names if name not in parts], parts):
        for start in range(0, len(group), across):
            shown = [by, *group[start : start + across]]
            rows = [[_cell(row, name, by, found or {}) for name in shown] for _, row in table.iterrows()]
            show_table(shown, rows)


def _cell(row: Any, name: str, by: str, found: Mapping[tuple[str, str], tuple[float, float]]) -> str:
    """A mean with its interval, such as ``0.512 [0.49, 0.53]``."""
    value, ends = row[name], found.get((str(row[by]), name))
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"{text} [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else text


def _evaluate(
    run: str,
    config: EvaluationConfig,
    folder: Path,
    decoupling: str | None,
    bare: bool,
    shard: tuple[int, int] | None = None,
) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    import dynaip
    from dynaip.adapter.files import backbone_of
    from dynaip.config import ComponentSpec
    from dynaip.evaluation.cases import benchmark_cases
    from dynaip.evaluation.scoring import evaluate as score
    from dynaip.sizes import check_size

    policy = ComponentSpec.parse("decoupling", decoupling) if decoupling else None
    cases, base = benchmark_cases(config, shard), backbone_of(run).config
    for case in cases:
        if case.size is not None:
            check_size(base, case.size, f"case {case.id} of {config.benchmark.name}")
    pipe, dyna = dynaip.load(run)
    if policy is not None:
        dyna.set_policy(policy)
    with Progress(console=Console(stderr=True), disable=hushed()) as progress:
        task = progress.add_task("generate", total=None)
        return score(
            config, pipe, dyna.backbone, None if bare else dyna, folder, cases=cases,
            part=f"-{shard[0]}-of-{shard[1]}" if shard else "",
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
