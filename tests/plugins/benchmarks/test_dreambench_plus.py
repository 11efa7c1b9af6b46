"""DreamBench++ read from a copy of its layout: names, prompts, categories and places are its own; faults are one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip.promises import check_cases, check_different
from dynaip.registry import registry

PICTURES = {
    "live_subject/animal/00": "Kitten",
    "live_subject/human/03": "old man",
    "object/12": "T-Shirt",
    "style/01": "ink",
}


def prompts(subject: str) -> list[str]:
    return [f"a {subject} of prompt {number}" for number in range(9)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for number, (name, subject) in enumerate(PICTURES.items()):
        picture, text = tmp_path / "images" / f"{name}.jpg", tmp_path / "captions" / f"{name}.txt"
        picture.parent.mkdir(parents=True, exist_ok=True)
        text.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 30), (number * 60, 0, 0)).save(picture)
        text.write_text("\n".join([subject, *prompts(subject)]) + "\n")
    return tmp_path


def build(folder: Path | str, **options: Any) -> Any:
    return registry().build(
        ComponentSpec.parse("benchmark", {"use": "dreambench_plus", "folder": str(folder), **options})
    )


def test_cases_are_every_picture_with_every_prompt(copy: Path) -> None:
    benchmark = build(copy)
    assert benchmark.suites == ("full",)
    cases = check_cases("dreambench_plus", "full", benchmark.cases("full"))
    check_different("dreambench_plus", cases)
    assert len(cases) == 4 * 9
    # The benchmark's own names, in its own order; prompt by prompt, so that a limit takes every picture.
    assert [case.id for case in cases[:4]] == [
        "live_subject_animal_00_kitten-0", "live_subject_human_03_old_man-0", "object_12_t-shirt-0", "style_01_ink-0",
    ]  # fmt: skip
    assert [case.category for case in cases[:4]] == ["animal", "human", "object", "style"]
    last = cases[-2]
    assert (last.prompt, last.references[0].subject) == ("a T-Shirt of prompt 8", "T-Shirt")
    assert np.asarray(last.references[0].image).shape == (30, 42, 3)
    assert "tgt_image/object_12_t-shirt/8_0" in benchmark.places(last)
    assert {case.size for case in cases} == {(1024, 1024)}


def test_seeds_belong_to_the_case_alone(copy: Path) -> None:
    whole = {case.id: case.seed for case in build(copy).cases("full")}
    part = {case.id: case.seed for case in build(copy, categories=["style"], prompts=[8, 2]).cases("full")}
    assert part == {name: whole[name] for name in ("style_01_ink-8", "style_01_ink-2")}
    assert len(set(whole.values())) == len(whole)
    assert {case.id: case.seed for case in build(copy).cases("full", seed=1)} != whole


def test_data_may_lie_one_folder_deeper(copy: Path, tmp_path: Path) -> None:
    deeper = tmp_path / "repository" / "data"
    deeper.mkdir(parents=True)
    for name in ("images", "captions"):
        (copy / name).rename(deeper / name)
    assert len(build(deeper.parent).cases("full")) == 36


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no prompts of a picture": (
        lambda copy: (copy / "captions/object/12.txt").unlink(),
        r"object/12.txt: the prompts of",
    ),
    "eight prompts": (
        lambda copy: (copy / "captions/style/01.txt").write_text("\n".join(["ink", *prompts("ink")[:8]])),
        "holds 8 prompts behind the subject, not 9",
    ),
    "empty text": (lambda copy: (copy / "captions/style/01.txt").write_text(""), "holds 0 prompts"),
    "no picture of prompts": (
        lambda copy: (copy / "images/object/12.jpg").unlink(),
        r"images/object/12.jpg: the picture of 12.txt is missing",
    ),
    "truncated picture": (lambda copy: cut(copy / "images/object/12.jpg"), r"object/12.jpg is (damaged|no picture)"),
    "no captions": (lambda copy: (copy / "captions").rename(copy / "texts"), "there is no captions"),
    "no images": (lambda copy: (copy / "images").rename(copy / "pictures"), "there is no images"),
    "other folder": (
        lambda copy: (copy / "images/style").rename(copy / "images/styles"),
        "its folder is none of animal",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_what_is_missing(fault: str, copy: Path) -> None:
    spoil, line = FAULTS[fault]
    spoil(copy)
    with pytest.raises(InputError, match=line) as caught:
        build(copy).cases("full")
    assert "\n" not in str(caught.value)
    assert "dreambenchplus" in str(caught.value) or "picture" in fault


def test_marks_and_hidden_files_change_no_name_and_spare_prompts_are_told(copy: Path) -> None:
    names = [case.id for case in build(copy).cases("full")]
    text = copy / "captions/object/12.txt"
    text.write_text(text.read_text() + "one more\n", encoding="utf-8-sig")
    (copy / "images/object/._12.jpg").write_bytes(b"of an archive")
    with pytest.warns(Note, match="holds 10 prompts behind the subject: the first 9 are read"):
        assert [case.id for case in build(copy).cases("full")] == names
    text.write_text("Café", encoding="latin-1")
    with pytest.raises(InputError, match="it is no UTF-8: save it as that"):
        build(copy).cases("full")


def test_a_missing_copy_says_where_to_get_one(tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", "nowhere", "no/dataset"):
        with pytest.raises(InputError, match=r"dreambenchplus\.github\.io"):
            build(folder).cases("full")
    with pytest.raises(InputError, match="there is no prompt 9"):
        build(tmp_path, prompts=[9]).cases("full")
    with pytest.raises(InputError, match="Did you mean full"):
        build(tmp_path).cases("ful")
