"""A table of one's own in every format gives the same cases; what is wrong with a row is said with its number."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dynaip.config import ComponentSpec, load_experiment
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip.promises import check_cases
from dynaip.registry import registry

ROWS: list[dict[str, Any]] = [
    {
        "id": "first", "suite": "pairs", "prompt": "a corgi beside a mug", "references": ["corgi.png", "in/mug.png"],
        "regions": [[0, 0, 0.5, 1], [0.5, 0, 1, 1]], "subjects": ["corgi", "mug"], "masks": ["mask.png", None],
        "seed": 7, "category": "animal", "height": 64, "width": 96,
    },
    {"prompt": "a mug on sand", "references": ["in/mug.png"]},
]  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 6), "red").save(tmp_path / "corgi.png")
    Image.new("RGB", (5, 5), "blue").save(tmp_path / "in" / "mug.png")
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[2:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, [*rows[0]])
            table.writeheader()
            plain = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
            table.writerows(plain)


def build(folder: Path, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("benchmark", {"use": "folder", "folder": str(folder), **options}))


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_cases(copy: Path, ending: str) -> None:
    write(copy / f"cases{ending}", ROWS)
    benchmark = build(copy, size=[32, 48])
    assert benchmark.suites == ("pairs", "all")
    (first,) = check_cases("folder", "pairs", benchmark.cases("pairs"))
    assert (first.id, first.prompt, first.seed, first.category, first.size) == (
        "first", "a corgi beside a mug", 7, "animal", (64, 96),
    )  # fmt: skip
    corgi, mug = first.references
    assert (corgi.region, corgi.subject, mug.region, mug.subject) == ((0, 0, 0.5, 1), "corgi", (0.5, 0, 1, 1), "mug")
    assert corgi.image.getpixel((0, 0)) == (255, 0, 0) and mug.image.size == (5, 5)
    assert corgi.mask and corgi.mask().sum() == 16 and corgi.mask()[2:, 4:].all() and mug.mask is None
    (second,) = benchmark.cases("all")
    assert (second.id, second.size, second.category, second.references[0].region) == ("case-0001", (32, 48), "", None)


def test_short_ways_to_write_a_row(copy: Path) -> None:
    (copy / "cases.csv").write_text("prompt,references,regions\na mug,corgi.png | in/mug.png,\na dog,,\n")
    first, second = build(copy).cases("all")
    assert [each.image.size for each in first.references] == [(8, 6), (5, 5)] and second.references == ()
    (copy / "cases.csv").unlink()
    rows = [{"prompt": "a mug", "references": [{"image": "in/mug.png", "region": [0, 0, 1, 0.5], "subject": "mug"}]}]
    write(copy / "cases.jsonl", rows)
    assert build(copy).cases("all")[0].references[0].region == (0, 0, 1, 0.5)


NO_LISTS: dict[str, Any] = {"regions": None, "subjects": None, "masks": None}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "row 1 has no prompt"),
    ({"references": ["nothing.png"], **NO_LISTS}, r"nothing\.png: there is no such picture"),
    ({"references": [{"region": [0, 0, 1, 1]}], **NO_LISTS}, "row 1: reference 1 names no image"),
    ({"regions": [[0, 0, 1, 1]]}, "row 1: 1 regions for 2 references"),
    ({"regions": [[0, 0, 2, 1], [0, 0, 1, 1]]}, "row 1: reference 1: the region"),
    ({"regions": ["left", [0, 0, 1, 1]]}, "row 1: reference 1: a region is left, top, right, bottom"),
    ({"masks": ["gone.png", None]}, "row 1: reference 1: there is no mask"),
    ({"seed": "many"}, "row 1: seed must be a whole number"),
    ({"seed": -1}, "row 1: seed must not be negative"),
    ({"height": None}, "row 1: height and width go together"),
    ({"id": "../up"}, "row 1: the id '../up' is no name"),
    ({"suite": "a b"}, "the suite 'a b' is no name"),
]


@pytest.mark.parametrize(("change", "line"), FAULTS)
def test_faults_name_the_row(copy: Path, change: dict[str, Any], line: str) -> None:
    write(copy / "cases.json", [ROWS[0] | change])
    benchmark = build(copy)
    with pytest.raises(InputError, match=line) as caught:
        benchmark.cases(benchmark.suites[0])
    assert "\n" not in str(caught.value)


def test_tables_that_cannot_be_read(copy: Path) -> None:
    with pytest.raises(InputError, match=r"name the table of cases with benchmark\.table; there is none"):
        _ = build(copy).suites
    (copy / "cases.json").write_text("{}")
    with pytest.raises(InputError, match="must hold a list of rows"):
        _ = build(copy).suites
    (copy / "cases.json").write_text("[")
    with pytest.raises(InputError, match=r"cases\.json is damaged"):
        _ = build(copy).suites
    (copy / "cases.json").write_text("[]")
    with pytest.raises(InputError, match="holds no cases"):
        _ = build(copy).suites
    write(copy / "cases.csv", ROWS)
    with pytest.raises(InputError, match=r"there is cases\.csv, cases\.json"):
        _ = build(copy).suites
    assert build(copy, table="cases.csv").suites == ("pairs", "all")


def test_columns_that_are_not_read_are_told(copy: Path) -> None:
    write(copy / "cases.json", [{"prompt": "a mug", "referenses": ["in/mug.png"]}])
    with pytest.warns(Note, match=r"columns referenses are not read. Did you mean references"):
        assert build(copy).cases("all")[0].references == ()


def test_a_folder_beside_the_config_file_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(copy / "in" / "cases.json", [{"prompt": "a mug", "references": ["mug.png"]}])
    (copy / "mine.yaml").write_text(
        "base: microworld/dynaip\nevaluation: {benchmark: {use: folder, folder: in}, metrics: [clip]}\n"
    )
    monkeypatch.chdir("/")
    evaluation = load_experiment(str(copy / "mine.yaml")).evaluation
    assert evaluation and len(registry().build(evaluation.benchmark).cases("all")) == 1
