"""Tables in the layouts of public sets, with the faults that such sets have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaip.errors import BadSample, InputError
from dynaip_plugins.sources.table import places
from tests.plugins.sources.conftest import number

Built = Callable[..., Any]
Png = Callable[..., bytes]


def uno(folder: Path, png: Png, scores: list[Any]) -> Path:
    """UNO-1M: a JSON list of two pictures with a caption each, and a nested score."""
    (folder / "images").mkdir()
    rows = []
    for row, score in enumerate(scores):
        for side in (0, 1):
            (folder / "images" / f"{row}_{side}.png").write_bytes(png(10 * row + side))
        names = [f"images/{row}_{side}.png" for side in (0, 1)]
        rows.append({
            "img_path1": names[0], "img_path2": names[1],
            "caption": {"img_path1": f"left {row}", "img_path2": f"right {row} é", "subject": ["mug"], "judgment": "same"},
            "vlm_filter_cot": {"score_part": {}, "score_final": score},
        })  # fmt: skip
    file = folder / "split1.json"
    file.write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    return file


UNO = {
    "target": "img_path2",
    "references": "img_path1",
    "prompt": "caption.img_path2",
    "height": 8,
    "where": "3.5 <= vlm_filter_cot.score_final <= 4",
}


def test_uno_in_both_directions_without_corrupt_scores(tmp_path: Path, png: Png, built: Built) -> None:
    file = uno(tmp_path, png, [4.0, 3.0, 3.5, 400000, None, "n/a", "3.7", float("nan")])
    source = built("table", files=str(file), reverse_prompt="caption.img_path1", **UNO)
    found = [source[index] for index in range(len(source))]
    assert [(pair.prompt, number(pair.reference), number(pair.target)) for pair in found] == [
        ("right 0 é", 0, 1), ("left 0", 1, 0), ("right 2 é", 20, 21), ("left 2", 21, 20),
        ("right 6 é", 60, 61), ("left 6", 61, 60),
    ]  # fmt: skip
    assert [pair.id for pair in found][:2] == ["split1.json, entry 1", "split1.json, entry 1:reverse"]
    assert len({pair.id for pair in found}) == 6
    again = built("table", files=str(file), reverse_prompt="caption.img_path1", **UNO)[3]
    assert (again.id, again.target.tobytes()) == (found[3].id, found[3].target.tobytes())


def test_what_cannot_be_read_is_known_by_its_name(tmp_path: Path, png: Png, built: Built) -> None:
    file = uno(tmp_path, png, [4.0, 4.0, 4.0])
    (tmp_path / "images" / "0_1.png").unlink()
    (tmp_path / "images" / "1_0.png").write_bytes(png(3)[:45])
    source = built("table", files=str(file), **UNO)
    with pytest.raises(BadSample, match=r"split1.json, entry 1: .*0_1.png: there is no such picture"):
        source[0]
    with pytest.raises(BadSample, match=r"split1.json, entry 2: .*1_0.png is (damaged|no picture)"):
        source[1]
    assert source.name(1) == "split1.json, entry 2"
    assert source[2].prompt == "right 2 é"


def test_side_by_side_pictures_of_a_parquet_file(tmp_path: Path, png: Png, built: Built) -> None:
    """Subjects200K: one picture holds both, the scores are nullable, the texts lie in a struct."""
    rows = []
    for row in range(10):
        both = Image.new("RGB", (36, 20), "white")
        both.paste(Image.open(BytesIO(png(2 * row, (16, 16)))), (1, 2))
        both.paste(Image.open(BytesIO(png(2 * row + 1, (16, 16)))), (19, 2))
        buffer = BytesIO()
        both.save(buffer, "PNG")
        score = {
            "compositeStructure": 5,
            "objectConsistency": None if row == 3 else 5,
            "imageQuality": 4 if row == 4 else 5,
        }
        texts = {"item": "mug", "description_0": f"left {row}", "description_1": f"right {row}", "category": "thing"}
        data = buffer.getvalue() if row != 7 else b"no picture"
        rows.append({
            "image": {"bytes": data, "path": None}, "collection": "collection_2" if row else "collection_1",
            "quality_assessment": score, "description": texts,
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-0.parquet", row_group_size=3)
    scores = " and ".join(f"quality_assessment.{name} >= 5" for name in ("objectConsistency", "imageQuality"))
    source = built(
        "table", files=str(tmp_path / "*.parquet"), height=16, subject="description.item",
        target={"column": "image", "crop": [19, 2, 35, 18]}, references={"column": "image", "crop": [1, 2, 17, 18]},
        prompt="description.description_1", reverse_prompt="description.description_0",
        where=f"{scores} and collection == 'collection_2'",
    )  # fmt: skip
    kept = [1, 2, 5, 6, 7, 8, 9]
    assert len(source) == 2 * len(kept)
    assert source.blocks() == [4, 2, 6, 2]
    for place, row in enumerate(kept):
        if row == 7:
            with pytest.raises(BadSample, match=r"train-0.parquet, row 7: .*no picture"):
                source[2 * place]
            continue
        forth, back = source[2 * place], source[2 * place + 1]
        assert (forth.prompt, number(forth.reference), number(forth.target)) == (f"right {row}", 2 * row, 2 * row + 1)
        assert (back.prompt, number(back.reference), number(back.target)) == (f"left {row}", 2 * row + 1, 2 * row)
        assert forth.target.size == (16, 16)
        assert forth.subject == "mug"


def test_lists_of_references_in_jsonl_with_lines_that_are_none(tmp_path: Path, png: Png, built: Built) -> None:
    """X2I2: an instruction, one or more input pictures, one output."""
    for one in range(6):
        (tmp_path / f"{one}.png").write_bytes(png(one))
    lines = [
        {"task_type": "subject", "instruction": "a", "input_images": ["0.png", "1.png"], "output_image": "2.png"},
        "{broken",
        "",
        {"task_type": "edit", "instruction": "b", "input_images": ["3.png"], "output_image": "4.png"},
        {"task_type": "subject", "instruction": "c", "input_images": [], "output_image": "4.png"},
        {"task_type": "subject", "instruction": "d", "input_images": ["../x.png"], "output_image": "4.png"},
        [1],
        {"task_type": "subject", "instruction": "e", "input_images": ["5.png"], "output_image": "0.png"},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
    options = {"files": str(tmp_path / "x.jsonl"), "target": "output_image", "references": "input_images", "height": 8}
    source = built("table", prompt="instruction", where='task_type in ("subject",)', **options)
    assert [number(each.image) for each in source[0].references] == [0, 1]
    faults = {
        1: "line 2: no JSON",
        2: "line 5: it has no reference",
        3: r"line 6: .*leaves the folder",
        4: "line 7: is no object",
    }
    for index, fault in faults.items():
        with pytest.raises(BadSample, match=fault):
            source[index]
    assert (source[5].prompt, source[5].id) == ("e", "x.jsonl, line 8")
    assert len(source) == 6


def test_csv_with_quotes_and_ids_that_come_twice(tmp_path: Path, png: Png, built: Built) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [["id", "reference", "target", "prompt", "score"], ["x", "a.png", "a.png", 'two\nlines, "quoted"', "3"]]
    rows += [
        ["y", "a.png", "a.png", "p", "20"],
        ["x", "a.png", "a.png", "q", "9"],
        ["z", "a.png"],
        ["w", "a.png", "a.png", "r", "bad"],
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.warns(UserWarning, match="2 rows have the id of another row"):
        source = built("table", files=str(tmp_path / "t.csv"), height=8, id="id", where="score > 2.5")
    assert [source[index].id for index in range(3)] == ["x#0", "y", "x#2"]
    assert source[0].prompt == 'two\nlines, "quoted"'
    with pytest.raises(BadSample, match="line 6: has 2 fields, and the header names 5"):
        source[3]
    assert len(source) == 4


def test_masks_and_regions_follow_the_crop_of_the_target(tmp_path: Path, png: Png, built: Built) -> None:
    (tmp_path / "wide.png").write_bytes(png(1, (16, 8)))
    (tmp_path / "a.png").write_bytes(png(2))
    (tmp_path / "mask.png").write_bytes(png(255))
    row = {
        "target": "wide.png",
        "reference": ["a.png", "a.png"],
        "prompt": "p",
        "box": [[0.25, 0, 0.5, 1], [0.5, 0.5, 1, 1]],
        "mask": "mask.png",
    }
    (tmp_path / "t.jsonl").write_text(
        json.dumps(row | {"mask": ["mask.png", "mask.png"]}) + "\n" + json.dumps(row | {"box": [[2, 0, 3, 1]] * 2})
    )
    options = {"references": {"column": "reference", "region": "box", "mask": "mask"}, "height": 8}
    source = built("table", files=str(tmp_path / "t.jsonl"), **options)
    pair = source[0]
    assert [each.region for each in pair.references] == [(0.0, 0.0, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)]
    assert pair.references[0].mask is not None
    with pytest.raises(BadSample, match="mask has 1 entries for 2 references"):
        source[1]
    padded = built("table", files=str(tmp_path / "t.jsonl"), fit="pad", **options)
    assert padded[0].references[0].region == pytest.approx((0.25, 0.25, 0.5, 0.75))


def test_buckets_hold_every_target_in_the_size_that_was_told(tmp_path: Path, png: Png, built: Built) -> None:
    shapes = [(64, 64), (64, 32), (20, 60), (200, 100)]
    rows = []
    for place, shape in enumerate(shapes):
        (tmp_path / f"{place}.png").write_bytes(png(place, shape))
        rows.append(
            {"target": f"{place}.png", "reference": f"{place}.png", "prompt": "p", "h": shape[1], "w": shape[0]}
        )
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    options = {"files": str(tmp_path / "t.jsonl"), "buckets": {"area": [32, 64], "multiple": 8}}
    for more in ({}, {"size_columns": ["h", "w"]}):
        source = built("table", **options, **more)
        assert source.sizes() == [(64, 64), (24, 40), (40, 24), (48, 80)]
        assert [(source[index].target.height, source[index].target.width) for index in range(4)] == source.sizes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "promt"}, "no column promt. Did you mean prompt"),
        ({"where": "scor > 3"}, "no column scor. Did you mean score"),
        ({"where": "score > 99"}, "none of 1 rows fulfils score > 99"),
        ({"where": "__import__('os').system('x')"}, "is neither a column nor a value"),
        ({"where": "score >"}, "no filter can be read"),
        ({"hub": "a/b"}, "give either files, or hub"),
        ({"files": "gone.jsonl"}, "there is no such file"),
        ({"buckets": {"area": 32}}, "give either source.height"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, png: Png, built: Built, options: dict[str, Any], words: str) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    row = {"target": "a.png", "reference": "a.png", "prompt": "p", "score": 3}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=words) as error:
        built("table", **{"files": str(tmp_path / "t.jsonl"), "height": 8} | options)
    assert "\n" not in str(error.value)


def test_a_list_that_is_cut_off_says_where(tmp_path: Path, built: Built) -> None:
    (tmp_path / "t.json").write_text('[{"prompt": "p"}, {"prompt"')
    with pytest.raises(InputError, match="cut off or broken after entry 1"):
        built("table", files=str(tmp_path / "t.json"), height=8)


def test_entries_of_a_long_list_are_found_over_the_edges_of_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynaip_plugins.sources.table import rows, scans

    monkeypatch.setattr(scans, "CHUNK", 7)
    wanted = [{"n": place, "text": 'é,]}"[\\' * place, "\\": {"a": [place, '\\"']}} for place in range(40)]
    for name, text in (
        ("a.json", json.dumps(wanted, ensure_ascii=False, indent=2)),
        ("b.json", "\ufeff" + json.dumps(wanted)),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "c.jsonl").write_text("\n\n" + "\r\n\n".join(map(json.dumps, wanted)))
    made = rows.TextRows([tmp_path / name for name in ("a.json", "b.json", "c.jsonl")])
    assert [made[place] for place in range(len(made))] == wanted * 3
    assert list(made.scan([])) == wanted * 3
    assert made.name(82) == "c.jsonl, line 7"


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_many_rows_are_read_as_one_by_one(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are none, wherever they stand, are none, and take no others with them."""
    from dynaip_plugins.sources.table import rows, scans

    monkeypatch.setattr(scans, "CHUNK", 300)
    monkeypatch.setattr(rows, "FEW", 2)
    texts = [json.dumps({"n": place, "s": "x, {" * (place % 3)}) for place in range(60)]
    for place, text in ((3, "null"), (4, "[1]"), (17, '{"n": '), (18, '{"n": 1}}'), (40, "123"), (59, "nothing")):
        if suffix == "jsonl" or text in ("null", "[1]", "123", "nothing"):  # a list's entries have to end
            texts[place] = text
    if suffix == "jsonl":
        texts[30] = '{"n": 1}, {"n": 2}'
    file = tmp_path / f"t.{suffix}"
    file.write_text("\n".join(texts) if suffix == "jsonl" else f"[{','.join(texts)}]")

    def alone(text: str) -> Any:
        try:
            found = json.loads(text)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    assert list(rows.TextRows([file]).scan(["n"])) == [alone(text) for text in texts]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_rows_of_each_piece_are_read_at_once(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynaip_plugins.sources.table import rows, scans

    monkeypatch.setattr(scans, "CHUNK", 300)
    monkeypatch.setattr(rows.TextRows, "_parsed", lambda *given: pytest.fail("one by one"))
    wanted = [{"n": place, "s": "x, {"} for place in range(60)]
    texts, file = [json.dumps(row) for row in wanted], tmp_path / f"t.{suffix}"
    file.write_text("\n".join(texts) if suffix == "jsonl" else f"[{', '.join(texts)}]")
    assert list(rows.TextRows([file]).scan(["n"])) == wanted


def test_csv_columns_of_many_rows(tmp_path: Path) -> None:
    from dynaip_plugins.sources.table.rows import TextRows

    file = tmp_path / "t.csv"
    file.write_text('a,b,a\n1,"x\ny",2\n\n3,z\n4,"q""",5\n')
    made = TextRows([file])
    assert list(made.scan(["a", "none"])) == [{"a": "2"}, None, {"a": "5"}]
    assert list(made.scan([])) == [{"a": "2", "b": "x\ny"}, None, {"a": "5", "b": 'q"'}]


@pytest.mark.parametrize(
    ("text", "count"), [("[]", 0), (" [ ] x", 0), ('[{"a": 1},\n]', 1), ("[1,2]", 2), ('["\\"]", {}]', 2)]
)
def test_what_ends_a_list(tmp_path: Path, text: str, count: int) -> None:
    from dynaip_plugins.sources.table.rows import TextRows

    (tmp_path / "t.json").write_text(text)
    assert len(TextRows([tmp_path / "t.json"])) == count


def test_row_groups_of_the_hub_are_read_over_the_network_when_asked_for(
    tmp_path: Path, png: Png, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's file system is stood in for by one in memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    table = pa.Table.from_pylist([
        {"target": {"bytes": png(row), "path": "x"}, "reference": {"bytes": png(row), "path": "x"}, "prompt": f"{row}"}
        for row in range(6)
    ])  # fmt: skip
    for part in (0, 1):
        with system.open(f"/datasets/a/b/data/train-0000{part}.parquet", "wb") as file:
            pq.write_table(table.slice(3 * part, 3), file, row_group_size=2)
    with system.open("/datasets/a/b/data/test-00000.parquet", "wb") as file:
        pq.write_table(table, file)
    monkeypatch.setattr("huggingface_hub.HfFileSystem", lambda: system)
    monkeypatch.setattr(
        system,
        "glob",
        lambda pattern: [f"/datasets/a/b/data/{name}.parquet" for name in ("test-00000", "train-00000", "train-00001")],
    )
    source = built("table", hub="a/b", streaming=True, height=8)
    assert [source[index].prompt for index in range(6)] == list("012345")
    assert source.blocks() == [2, 1, 2, 1]
    assert places._of_split("x/train/0.parquet", "train")
    with pytest.raises(InputError, match="no parquet file of the split dev"):
        built("table", hub="a/b", streaming=True, split="dev", height=8)


def test_the_order_of_sizes_is_that_of_pairs(tmp_path: Path, png: Png, built: Built) -> None:
    """In both directions, targets and references change places in the sizes, too."""
    (tmp_path / "wide.png").write_bytes(png(1, (64, 32)))
    (tmp_path / "tall.png").write_bytes(png(2, (32, 64)))
    row = {"target": "wide.png", "reference": "tall.png", "prompt": "p", "back": "q"}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    source = built("table", files=str(tmp_path / "t.jsonl"), reverse_prompt="back", buckets={"area": 32, "multiple": 8})
    assert np.diff(source.sizes(), axis=1).flatten().tolist() == [
        source[index].target.width - source[index].target.height for index in (0, 1)
    ]
    assert source.sizes()[0] != source.sizes()[1]
