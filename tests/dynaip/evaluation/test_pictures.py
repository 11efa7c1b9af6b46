"""Pictures of others in every layout: each case has one, and what is missing or doubled is said before anything is scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.evaluation.pictures import find_pictures
from dynaip.notes import Note

CASES = [Case(f"style_01_t-shirt-{k}", "full", "a star", (), 40 + k) for k in range(3)]


def places(case: Case) -> Sequence[str]:
    collection, _, number = case.id.rpartition("-")
    return (case.id, f"{case.id}/{case.seed}", f"tgt_image/{collection}/{number}_0")


def paint(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)


LAYOUTS: dict[str, Callable[[Case], str]] = {
    "by case": lambda case: f"{case.id}.png",
    "other endings": lambda case: f"{case.id}.{'JPG' if case.seed % 2 else 'webp'}",
    "ours": lambda case: f"samples/{case.id}/{case.seed}.png",
    "dreambench++": lambda case: f"tgt_image/{case.id.rpartition('-')[0]}/{case.id[-1]}_0.jpg",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    for case in CASES:
        paint(tmp_path / LAYOUTS[layout](case), case.seed)
        paint(tmp_path / f"src_image/style_01_t-shirt/{case.id[-1]}_0.png", 9)
    found = find_pictures(tmp_path, CASES, places).paths
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [LAYOUTS[layout](case) for case in CASES]
    pictures = find_pictures(tmp_path, CASES, places)
    assert len(pictures) == 3 and len(pictures[1:]) == 2
    assert all(abs(image.getpixel((0, 0))[0] - case.seed) < 9 for image, case in zip(pictures, CASES, strict=True))


def test_a_table_names_pictures(tmp_path: Path) -> None:
    for case in CASES:
        paint(tmp_path / "made" / f"{case.seed}.png")
    rows = [{"case": case.id, "image": f"made/{case.seed}.png"} for case in reversed(CASES)]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = find_pictures(tmp_path / "table.jsonl", CASES, places).paths
    assert [path.name for path in found] == ["40.png", "41.png", "42.png"]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[0]])))
    with pytest.raises(InputError, match=r"1 cases have two pictures or more, such as style_01_t-shirt-2"):
        find_pictures(tmp_path / "table.jsonl", CASES, places)
    shared = [*rows[:2], {**rows[1], "case": rows[2]["case"]}, {**rows[0], "case": "another"}]
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, shared)))
    with pytest.warns(Note) as notes:
        find_pictures(tmp_path / "table.jsonl", CASES, places)
    said = " ".join(str(note.message) for note in notes)
    assert (
        "1 rows belong to no case that is scored, another for one" in said
        and "is the picture of style_01_t-shirt-0 and" in said
    )
    (tmp_path / "table.jsonl").write_text(json.dumps({"case": "x"}))
    with pytest.raises(InputError, match="row 1 needs the columns case and image"):
        find_pictures(tmp_path / "table.jsonl", CASES, places)


def test_missing_and_doubled_pictures_are_named(tmp_path: Path) -> None:
    paint(tmp_path / "style_01_t-shirt-1.png")
    line = r"2 of 3 pictures are missing: style_01_t-shirt-0, style_01_t-shirt-2 \(looked for style_01_t-shirt-0 or"
    with pytest.raises(InputError, match=line):
        find_pictures(tmp_path, CASES, places)
    for case in CASES:
        paint(tmp_path / f"{case.id}.png")
    paint(tmp_path / "style_01_t-shirt-1.jpg")
    with pytest.raises(
        InputError, match=r"1 cases have two .* style_01_t-shirt-1\.jpg and style_01_t-shirt-1\.png: leave"
    ):
        find_pictures(tmp_path, CASES, places)
    with pytest.raises(InputError, match="there is no such folder or table"):
        find_pictures(tmp_path / "nothing", CASES, places)
    with pytest.raises(InputError, match="give a folder of pictures, or a table"):
        find_pictures(tmp_path / "style_01_t-shirt-1.png", CASES, places)


def test_one_picture_serves_no_two_cases(tmp_path: Path) -> None:
    paint(tmp_path / "4_words.png")
    with pytest.raises(
        InputError, match=r"4_words.png is the picture of style_01_t-shirt-0 and of .*: score one suite"
    ):
        find_pictures(tmp_path, CASES, lambda case: ("4_*",))


def test_pictures_of_no_case_are_told(tmp_path: Path) -> None:
    for name in (*(case.id for case in CASES), "another"):
        paint(tmp_path / f"{name}.png")
    with pytest.warns(Note, match=r"1 pictures belong to no case that is scored, another\.png for one"):
        find_pictures(tmp_path, CASES, places)
