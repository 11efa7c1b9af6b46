"""Cases generated in batches look as they do alone, and finished images are not made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.contracts import Case
from dynaip.evaluation.generation import batches, generate_cases, painted, sample_path
from dynaip.registry import registry

Make = Callable[..., Any]
OPTIONS = {"num_inference_steps": 2, "true_cfg_scale": 2.0, "negative_prompt": ""}


def cases() -> list[Case]:
    benchmark = registry().build(ComponentSpec.parse("benchmark", {"use": "microworld", "single": 3, "multi2": 2}))
    return [*benchmark.cases("single"), *benchmark.cases("multi2")]


def test_batches_hold_cases_of_one_kind() -> None:
    found = [[case.id for case in batch] for batch in batches(cases(), 2)]
    assert found == [["single-0000", "single-0001"], ["single-0002"], ["multi2-0000", "multi2-0001"]]


def test_images_do_not_depend_on_the_batch(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()

    def run(size: int) -> list[np.ndarray[Any, Any]]:
        made = generate_cases(tiny_flux, dyna.backbone, cases(), dyna=dyna, batch_size=size, options=OPTIONS)
        return [np.asarray(image, dtype=int) for _, image in made]

    for one, many in zip(run(1), run(8), strict=True):
        assert np.abs(one - many).max() <= 1
    bare = [
        np.asarray(image, dtype=int) for _, image in generate_cases(tiny_flux, dyna.backbone, cases(), options=OPTIONS)
    ]
    assert any(np.abs(one - other).max() > 1 for one, other in zip(run(8), bare, strict=True))


def test_finished_images_are_read(tmp_path: Path) -> None:
    wanted = cases()
    asked: list[list[str]] = []

    def generate(missing: Any) -> Any:
        asked.append([case.id for case in missing])
        for case in missing:
            yield case, Image.new("RGB", (4, 4), "red")

    first = painted(tmp_path, wanted, generate)
    sample_path(tmp_path, wanted[1]).unlink()
    again = painted(tmp_path, wanted, generate)
    assert asked == [[case.id for case in wanted], ["single-0001"]]
    assert [image.tobytes() for image in first] == [image.tobytes() for image in again]
    assert not list(tmp_path.rglob("*.part"))
