"""Benchmarks of several subjects read from copies of their own layouts; whatever is missing is one line with where to get it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.evaluation.pictures import find_pictures
from dynaip.notes import Note
from dynaip.promises import check_cases, check_different
from dynaip.registry import registry


def build(use: str, folder: Path, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("benchmark", {"use": use, "folder": str(folder), **options}))


def paint(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (red, 0, 0)).save(path)


PROMPTS = """
Classes

subject_name,class
backpack_dog,backpack
cat2,cat

Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

prompt_list = [
'a {0} {1} in a police outfit'.format(unique_token, class_token)
]
"""


def dreambench(root: Path) -> None:
    for subject, name in (("backpack_dog", "00.jpg"), ("backpack_dog", "02.jpg"), ("cat2", "01.jpg")):
        paint(root / "dataset" / subject / name, red=int(name[:2]) * 60)
    (root / "dataset" / "prompts_and_classes.txt").write_text(PROMPTS)


def xverse(root: Path) -> None:
    paint(root / "assets" / "XVerseBench" / "human" / "05_old man.jpg")
    paint(root / "assets" / "XVerseBench" / "object" / "00_motorcycle.jpg")
    inputs = [
        {"image_path": "assets/XVerseBench/human/05_old man.jpg", "caption": "an old man"},
        {"image_path": "assets/XVerseBench/object/00_motorcycle.jpg", "caption": "a motorcycle"},
    ]
    entry = {"index": 4, "prompt": "An old man rides.", "modulation": [{"type": "adapter", "src_inputs": inputs}]}
    (root / "eval" / "tools").mkdir(parents=True)
    (root / "eval" / "tools" / "XVerseBench_multi.json").write_text(json.dumps([entry]))


def multibanana(root: Path) -> None:
    for number, count in (("006", 3), ("014", 2)):
        for k in range(count):
            paint(root / "data" / "3_back" / f"{number}_{k}.jpg", red=k * 40)
        (root / "data" / "3_back" / f"{number}_prompt.txt").write_text(f"Put {count} things\ntogether.")
    paint(root / "data" / "3_back" / "006_generated.jpg")
    (root / "data" / "3_back" / "types.json").write_text(json.dumps({"006": "scale"}))


def omnicontext(root: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (7, 5), "red").save(data, "PNG")
    picture = {"bytes": data.getvalue(), "path": None}
    rows = [
        {"key": "a1", "task_type": "single_object", "instruction": "Put it there.", "input_images": [picture]},
        {"key": "b-2", "task_type": "multi_character", "instruction": "Both.", "input_images": [picture, picture]},
    ]
    (root / "data").mkdir()
    pd.DataFrame(rows).to_parquet(root / "data" / "train-00000-of-00001.parquet")


MAKE: dict[str, Callable[[Path], None]] = {
    "dreambench": dreambench, "xverse": xverse, "multibanana": multibanana, "omnicontext": omnicontext,
}  # fmt: skip


def cases(use: str, root: Path, suite: str, **options: Any) -> tuple[Any, list[Any]]:
    MAKE[use](root)
    benchmark = build(use, root, **options)
    found = check_cases(use, suite, benchmark.cases(suite))
    check_different(use, found)
    return benchmark, found


def test_dreambench_by_its_own_text(tmp_path: Path) -> None:
    benchmark, found = cases("dreambench", tmp_path, "single", images=2)
    assert [case.prompt for case in found[:3]] == [
        "a backpack in the jungle", "a red backpack", "a cat in a police outfit",
    ]  # fmt: skip
    assert [(case.category, case.references[0].subject) for case in found[:3]] == [
        ("object", "backpack"), ("object", "backpack"), ("live", "cat"),
    ]  # fmt: skip
    assert len(found) == 6 and len({case.seed for case in found}) == 6
    assert found[3].id == f"{found[0].id}-1" and "0_1" in benchmark.places(found[3])
    assert found[0].references[0].image.getpixel((0, 0))[0] < 9  # the first picture is the reference


def test_dreambench_by_the_lists_of_uno(tmp_path: Path) -> None:
    paths = ["./dreambooth/dataset/backpack_dog/02.jpg", "./dreambooth/dataset/cat2/01.jpg"]
    rows = [{"prompt": "a backpack and a cat", "image_paths": paths}]
    (tmp_path / "dreambench_multiip.json").write_text(json.dumps(rows))
    _, (case,) = cases("dreambench", tmp_path, "pairs")
    assert [each.subject for each in case.references] == ["backpack", "cat"] and case.category == "mixed"
    assert 100 < case.references[0].image.getpixel((0, 0))[0] < 140


def test_xverse(tmp_path: Path) -> None:
    benchmark, (case,) = cases("xverse", tmp_path, "multi")
    assert (case.id, case.category, case.prompt) == ("multi-004", "human+object", "An old man rides.")
    assert [each.subject for each in case.references] == ["old man", "motorcycle"] and "4" in benchmark.places(case)


def test_the_squares_that_programs_of_xverse_write_are_cut(tmp_path: Path) -> None:
    benchmark, found = cases("xverse", tmp_path, "multi", images=4)
    square = Image.new("RGB", (8, 6))
    for k, corner in enumerate(((0, 0), (4, 0), (0, 3), (4, 3))):
        square.paste((50 * k, 0, 0), (*corner, corner[0] + 4, corner[1] + 3))
    (tmp_path / "made").mkdir()
    square.save(tmp_path / "made" / "4_An_old_man_rides..png")
    with pytest.warns(Note, match="4 pictures are quarters of squares of four"):
        pictures = find_pictures(tmp_path / "made", found, benchmark.places)
    assert [(image.size, image.getpixel((2, 1))[0]) for image in pictures] == [((4, 3), 50 * k) for k in range(4)]
    assert [case.id for case in found[:2]] == ["multi-004", "multi-004-1"] and len({case.seed for case in found}) == 4
    paint(tmp_path / "made" / "4_again.png")
    with pytest.raises(InputError, match=r"two pictures or more, such as multi-004: 4_A.*png and 4_again"):
        find_pictures(tmp_path / "made", found, benchmark.places)


def test_multibanana(tmp_path: Path) -> None:
    benchmark, found = cases("multibanana", tmp_path, "3_back")
    assert benchmark.suites == ("3_back",)
    assert [(case.id, len(case.references), case.category) for case in found] == [
        ("3_back-006", 3, "scale"), ("3_back-014", 2, ""),
    ]  # fmt: skip
    assert found[0].prompt == "Put 3 things together." and "3_back/006_generated" in benchmark.places(found[0])
    with pytest.raises(InputError, match="Did you mean 3_back"):
        _ = build("multibanana", tmp_path, tasks=["3_bak"]).suites


def test_omnicontext(tmp_path: Path) -> None:
    benchmark, (case,) = cases("omnicontext", tmp_path, "multi_character")
    assert benchmark.suites == ("single_object", "multi_character")
    assert (case.id, len(case.references), case.category) == ("multi_character-b-2", 2, "character")
    assert case.references[0].image.size == (7, 5)
    assert "fullset/multi_character/b-2" in benchmark.places(case)


def entries(root: Path, rows: Any) -> None:
    (root / "dreambench_singleip.json").write_text(json.dumps(rows))


def text(root: Path, words: str) -> None:
    (root / "dataset" / "prompts_and_classes.txt").write_text(words)


def spoil_list(root: Path, change: Callable[[Any], Any]) -> None:
    path = root / "eval/tools/XVerseBench_multi.json"
    path.write_text(json.dumps([change(json.loads(path.read_text())[0])]))


def test_classes_are_words_of_any_kind_and_folders_without_one_are_told(tmp_path: Path) -> None:
    dreambench(tmp_path)
    text(tmp_path, "\ufeff" + PROMPTS.replace("cat2,cat", "cat2,tabby-cat"))
    paint(tmp_path / "dataset" / "robot" / "00.jpg")
    with pytest.warns(Note, match="robot have no class"):
        found = build("dreambench", tmp_path).cases("single")
    assert [case.references[0].subject for case in found] == ["backpack", "backpack", "tabby-cat", "tabby-cat"]


FAULTS: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("dreambench", "pairs", lambda root: None, r"there is no dreambench_multiip\.json; get DreamBooth"),
    ("dreambench", "single", lambda root: (root / "dataset" / "cat2" / "01.jpg").unlink(), "no pictures of cat2; get"),
    ("dreambench", "single", lambda root: (root / "dataset" / "prompts_and_classes.txt").unlink(), "no prompts and classes"),
    ("xverse", "single", lambda root: None, r"XVerseBench_single\.json and no XVerseBench_single\.json; get XVerseBench"),
    (
        "xverse", "multi", lambda root: (root / "assets/XVerseBench/object/00_motorcycle.jpg").unlink(),
        "there is no such picture in the copy; get XVerseBench",
    ),
    (
        "xverse", "multi", lambda root: (root / "eval/tools/XVerseBench_multi.json").write_text('[{"prompt": "a"}]'),
        "entry 0 is not as the benchmark writes it",
    ),
    ("dreambench", "single", lambda root: entries(root, [{"prompt": "a", "image_paths": ["01.jpg"]}]), "01.jpg names no folder"),
    ("dreambench", "single", lambda root: entries(root, [{"prompt": "a", "image_paths": "cat2/01.jpg"}]), "a list image_paths"),
    ("dreambench", "single", lambda root: entries(root, [{"prompt": " ", "image_paths": ["cat2/01.jpg"]}]), "cat2 is empty"),
    ("dreambench", "single", lambda root: text(root, PROMPTS.replace("'a red", "a red")), r"no prompt can be read from .a red"),
    (
        "xverse", "multi",
        lambda root: spoil_list(root, lambda entry: entry | {"prompt": None}), "entry 0 has no prompt; get XVerseBench",
    ),
    ("multibanana", "3_back", lambda root: (root / "data/3_back/006_prompt.txt").unlink(), "the prompt of 006_0.jpg is missing"),
    (
        "omnicontext", "single_object", lambda root: pd.DataFrame([{"x": 1}]).to_parquet(root / "z.parquet"),
        "z.parquet: there is no column key",
    ),
    ("multibanana", "3_back", lambda root: (root / "data/3_back/006_1.jpg").unlink(), r"references 006_0, 006_1, … are not"),
    ("multibanana", "3_back", lambda root: (root / "data/3_back/014_prompt.txt").write_text(" \n"), "014_prompt.txt is empty"),
    (
        "omnicontext", "single_object", lambda root: (root / "data/train-00000-of-00001.parquet").unlink(),
        "there are no parquet files; get the data set OmniGen2/OmniContext",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("use", "suite", "spoil", "line"), FAULTS)
def test_faults_name_what_is_missing(use: str, suite: str, spoil: Any, line: str, tmp_path: Path) -> None:
    MAKE[use](tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=line) as caught:
        build(use, tmp_path).cases(suite)
    assert "\n" not in str(caught.value)
