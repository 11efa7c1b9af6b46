"""Cases generated in batches look as they do alone, and finished images are not made again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.contracts import Case
from dynaip.evaluation.generation import painted, sample_path
from dynaip.images import load_image
from dynaip.notes import Note
from dynaip.painting import batches, generate_cases
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

    together = run(8)
    for one, many in zip(run(1), together, strict=True):
        assert np.abs(one - many).max() <= 1
    bare = [
        np.asarray(image, dtype=int) for _, image in generate_cases(tiny_flux, dyna.backbone, cases(), options=OPTIONS)
    ]
    assert any(np.abs(one - other).max() > 1 for one, other in zip(together, bare, strict=True))


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


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-200]])
def test_a_damaged_image_is_painted_again_and_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    wanted = cases()

    def generate(missing: Any) -> Any:
        for case in missing:
            yield case, Image.effect_noise((64, 64), 80).convert("RGB")

    first = painted(tmp_path, wanted, generate)
    path = sample_path(tmp_path, wanted[1])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(Note, match=r"single-0001.*painted again"):
        again = painted(tmp_path, wanted, generate)
    assert [image.tobytes() for image in first[2:]] == [image.tobytes() for image in again[2:]]
    assert load_image(path).tobytes() == again[1].tobytes()


def test_prompts_that_are_cut_are_told_once_and_counted(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    long = [replace(case, prompt=case.prompt + " and a star" * 30, size=None) for case in cases()[:2]]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = generate_cases(tiny_flux, dyna.backbone, [*long, cases()[2]], batch_size=1, options=OPTIONS)
        assert len(list(made)) == 3
    (line,) = [str(one.message) for one in told if "tokens" in str(one.message)]
    words = max(len(tiny_flux.tokenizer_2(case.prompt).input_ids) for case in long)
    assert f"T5 reads 24 of {words} tokens of the longest prompt, and 2 of 3 prompts are longer" in line
