"""``dynaip evaluate``: generate a benchmark's cases with a trained adapter and score them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import Device, Offload, Overrides
from dynaip.cli.output import echo
from dynaip.device import use

if TYPE_CHECKING:
    from dynaip.config import EvaluationConfig


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", help="Benchmark by name; the run's own by default.")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", help="Only this suite. Repeatable.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Cases of every suite, at most.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the cases.")] = None,
    decoupling: Annotated[
        str | None, typer.Option("--decoupling", help="Another policy than the adapter's own.")
    ] = None,
    without_reference: Annotated[bool, typer.Option("--without-reference", help="The base alone: chance.")] = False,
    set_: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write.")] = None,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Score a trained adapter and write scores.parquet (one row a case) and the images."""
    use(device, offload)
    given = {"benchmark": benchmark, "suites": suite, "limit": limit, "seed": seed}
    from dynaip.evaluation.runs import evaluation_of

    config = evaluation_of(run, {key: value for key, value in given.items() if value is not None}, set_ or ())
    folder = out or (Path(run) if Path(run).is_dir() else Path(f"evaluation-{Path(run).name}"))
    table = _evaluate(run, config, folder, decoupling, without_reference)
    from dynaip.cli.tables import show_table

    columns = [
        name for name in ("suite", "n", "cp", "pf", "cp_pf", "mean_cp_pf", "leak", "clip_i", "clip_t") if name in table
    ]
    show_table(columns, [[_shown(row[name]) for name in columns] for _, row in table.iterrows()])
    echo(f"wrote {folder / 'scores.parquet'} and {folder / 'samples'}")


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _evaluate(run: str, config: EvaluationConfig, folder: Path, decoupling: str | None, bare: bool) -> Any:
    from rich.progress import Progress

    import dynaip
    from dynaip.evaluation.scoring import evaluate as score
    from dynaip.scores import summary

    pipe, dyna = dynaip.load(run)
    if decoupling:
        dyna.set_policy(decoupling)
    with Progress() as progress:
        task = progress.add_task("generate", total=None)
        scores = score(
            config, pipe, dyna.backbone, None if bare else dyna, folder,
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    return summary(scores)
