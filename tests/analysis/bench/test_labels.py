"""Labels from cases and from folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip_analysis.bench.labels import (
    Labelled,
    at_most,
    labelled_cases,
    labelled_folder,
    pictures_of,
    require_identities,
    said,
    varied_first,
)

COLUMNS = ("cp", "pf", "leak", "cp_colour", "pf_kind", "pf_place", "leak_pose")


def case(k: int, reference: dict[str, int], wanted: dict[str, int]) -> Case:
    truth = {"subjects": [{"reference": reference, "labels": wanted}]}
    return Case(f"c{k}", "single", "", (CaseReference(Image.new("RGB", (4, 4))),), k, truth=truth)


def cases() -> list[Case]:
    shown = [{"colour": k % 2, "kind": k % 3, "place": k % 4, "pose": k // 4, "count": 1} for k in range(8)]
    return [case(k, row, {**row, "place": 3 - row["place"], "pose": 0}) for k, row in enumerate(shown)]


def test_families_and_identities_of_cases() -> None:
    found = labelled_cases(cases(), COLUMNS)
    assert found is not None
    assert list(found.factors) == ["colour", "kind", "place", "pose"], "what never changes is no factor"
    assert found.family("specific") == ["colour"]
    assert found.family("agnostic") == ["pose"]
    assert found.family("other") == ["kind", "place"]
    np.testing.assert_array_equal(found.groups, found.factors["colour"])
    assert labelled_cases([Case("a", "s", "", (CaseReference(Image.new("RGB", (4, 4))),), 0)]) is None


def test_what_the_prompt_says_of_the_reference() -> None:
    assert said(cases(), COLUMNS) == {"kind"}


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_a_folder_by_its_names(tmp_path: Path) -> None:
    for name in ("mug/a/1.png", "mug/a/2.png", "mug/b/1.png", "toy/c/1.png"):
        picture(tmp_path / name)
    found = labelled_folder(tmp_path)
    assert found.categories is not None
    np.testing.assert_array_equal(found.categories, [0, 0, 0, 1])
    assert found.groups[0] == found.groups[1] != found.groups[2]


def test_a_folder_by_its_table(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / f"{k}.png")
    (tmp_path / "labels.csv").write_text(
        "file,group,specific/colour,weather\n0.png,x,red,sun\n1.png,x,red,rain\n2.png,y,blue,sun\n"
    )
    found = labelled_folder(tmp_path)
    assert found.families == {"colour": "specific", "weather": "other"}
    np.testing.assert_array_equal(found.factors["colour"], [1, 1, 0])
    np.testing.assert_array_equal(found.groups, [0, 0, 1])


@pytest.mark.parametrize(
    ("names", "table", "words"),
    [
        ([], None, "no labels.csv and no sub-folders"),
        (["a/1.png", "a/2.png"], None, "all pictures have the same labels"),
        (["1.png"], "picture,kind\n1.png,x\n", "needs a column file"),
        ([], "file,kind\n9.png,x\n8.png,y\n", "there is no such picture"),
        (["1.png"], "file,kind\n1.png,x,y\n", "line 2: it has more cells"),
        (["1.png"], "file,kind,pose\n1.png,x\n", "line 2: it has fewer cells"),
        (["1.png"], "file,kind\n1.png,x\n,y\n", "line 3: it names no file"),
        (["1.png"], "file,kind,kind\n1.png,x,y\n", "a name of its own"),
        (["1.png"], "file,specific/kind,kind\n1.png,x,y\n", "two columns are called kind"),
        (["1.png"], "file,specfic/kind\n1.png,x\n", "kind names no family.*Did you mean specific"),
        (["1.png"], "file,kind\n1.png,bl\xe5\n", "save it as CSV in UTF-8"),
    ],
)
def test_folders_that_tell_nothing(tmp_path: Path, names: list[str], table: str | None, words: str) -> None:
    for name in names:
        picture(tmp_path / name)
    if table:
        (tmp_path / "labels.csv").write_text(table, encoding="latin-1")
    with pytest.raises(InputError, match=words):
        labelled_folder(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        labelled_folder(tmp_path / "missing")


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    """With a byte order mark, and cells that nobody filled."""
    for k in range(3):
        picture(tmp_path / f"{k}.png")
    (tmp_path / "labels.csv").write_text("file,colour\n0.png,red\n1.png,\n2.png,blue\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(labelled_folder(tmp_path).factors["colour"], [1, -1, 0])


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", ".cache/1.png", "__MACOSX/a/._1.png"):
        picture(tmp_path / name)
    assert len(labelled_folder(tmp_path).images) == 2


def test_too_few_identities(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match="need 5 of them; there are 2"):
        require_identities(labelled_folder(tmp_path), 5)


def test_cases_that_show_one_picture() -> None:
    red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    shown = [Case(str(k), "s", "", (CaseReference(image),), k) for k, image in enumerate((red, blue, red))]
    np.testing.assert_array_equal(pictures_of(shown), [0, 1, 0])


def sorted_pictures() -> Labelled:
    """Two categories of three instances with two pictures each, as folders give them."""
    images = [Image.new("RGB", (1, 1), (k, 0, 0)) for k in range(12)]
    groups = np.repeat(np.arange(6), 2)
    return Labelled(images, {"category": groups // 3}, {}, groups)


def test_the_first_pictures_vary() -> None:
    found = varied_first(sorted_pictures())
    assert [image.getpixel((0, 0))[0] for image in found.images] == [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]  # type: ignore[index]
    np.testing.assert_array_equal(found.groups[:6], [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(found.factors["category"][:4], [0, 1, 0, 1])


def test_at_most_so_many_pictures_of_whole_identities() -> None:
    found = at_most(sorted_pictures(), 5)
    assert np.unique(found.groups, return_counts=True)[1].tolist() == [2, 2]
    assert len(at_most(sorted_pictures(), 12).images) == 12
    assert len(at_most(sorted_pictures(), 1).images) == 2


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("mug/a/1.png", "toy/b/1.png", "toy/b/2.bmp", "3.png", "4.png"):
        picture(tmp_path / "folders" / name)
    with pytest.warns(Note, match="lie in no sub-folder are left out: 2"):
        assert len(labelled_folder(tmp_path / "folders").images) == 3
    for k in range(2):
        picture(tmp_path / "table" / f"{k}.png")
    (tmp_path / "table" / "labels.csv").write_text("file,kind,weather\n0.png,x,sun\n1.png,y,sun\n")
    with pytest.warns(Note, match="left out, since they have one value in all pictures: weather"):
        assert list(labelled_folder(tmp_path / "table").factors) == ["kind"]


def test_a_benchmark_that_knows_some_references_alone_says_so() -> None:
    unknown = Case("x", "single", "", (CaseReference(Image.new("RGB", (4, 4))),), 9)
    with pytest.warns(Note, match="knows the factors of 8 of 9 references alone"):
        assert labelled_cases([*cases(), unknown], COLUMNS) is None
