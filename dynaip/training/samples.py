"""Sample images during training: references above what the adapter makes of them, in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.adapter.model import DynaIP
from dynaip.atomic import write_image
from dynaip.config import EvaluationConfig
from dynaip.contracts import Benchmark
from dynaip.notes import gathered
from dynaip.painting import generate_cases
from dynaip.promises import check_cases
from dynaip.registry import registry

SHOWN = 6


def sample_grid(dyna: DynaIP, pipe: Any, evaluation: EvaluationConfig, path: Path | None) -> None:
    """Paint the first cases of the benchmark's first suite and write one PNG, unless another process does."""
    benchmark: Benchmark = registry().build(evaluation.benchmark)
    cases = check_cases(
        f"benchmark {evaluation.benchmark.use}",
        benchmark.suites[0],
        benchmark.cases(benchmark.suites[0], seed=evaluation.seed),
    )[:SHOWN]
    with gathered():
        found = generate_cases(pipe, dyna.backbone, cases, dyna=dyna, batch_size=SHOWN, options=evaluation.options)
        painted = [image for _, image in found]
    if path is None:
        return
    width, height = painted[0].size
    canvas = Image.new("RGB", (width * len(cases), 2 * height), "white")
    for column, (case, image) in enumerate(zip(cases, painted, strict=True)):
        canvas.paste(case.references[0].image.resize((width, height)), (column * width, 0))
        canvas.paste(image, (column * width, height))
    write_image(path, canvas)
