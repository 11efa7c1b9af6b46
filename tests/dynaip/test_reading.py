"""What is damaged is one line, or left out; never a traceback, and never hours of memory."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from dynaip.atomic import write_table, write_tensors
from dynaip.errors import InputError
from dynaip.reading import check_picture, check_tensors, last_entry, mapping, read_mapping, read_rows, rows_of, table

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[1]", "nothing", "\x00", '{"a":', '{"a":' * 300 + "1" + "}" * 300, "{'a': 1"],
    ids=lambda text: text[:8],
)
@pytest.mark.parametrize("name", ["status.json", "plan.yaml"])
def test_damaged_mappings_are_one_line_or_empty(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        mapping(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert read_mapping(file) == {}


def test_aliases_of_aliases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(BOMB)
    with pytest.raises(InputError, match="aliases counted"):
        mapping(tmp_path / "plan.yaml")


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert mapping(tmp_path / "a.json") == {}
    assert table(tmp_path / "a.parquet") == []
    assert last_entry(tmp_path / "a.jsonl") == {}


def test_no_bit_of_a_table_can_turn_unnoticed(tmp_path: Path) -> None:
    """Every byte changed in turn: the table is refused, or reads as it was (bytes that hold no values)."""
    file = tmp_path / "scores.parquet"
    write_table(file, pd.DataFrame({"case": [f"case-{k}" for k in range(40)], "cp": [k / 7 for k in range(40)]}))
    whole, rows = file.read_bytes(), table(file)
    refused = 0
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert table(file) == rows or "metadata" in str(table(file))
        except InputError:
            refused += 1
            assert read_rows(file) == []
        except AssertionError:
            names = {key for row in table(file) for key in row}
            assert names != {"case", "cp"}, f"byte {place}: other values under the same names"
    assert refused > 50
    file.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"scores.parquet is damaged"):
        table(file)


def test_a_picture_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "0.png"
    Image.effect_noise((32, 32), 80).save(file)
    check_picture(file)
    whole = file.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"", b"garbage", whole[:200] + b"\0" + whole[201:]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"0.png is damaged"):
            check_picture(file)
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        check_picture(file)


def test_the_last_whole_entry_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(json.dumps({"step": 1}) + "\n" + json.dumps({"step": 2}) + '\n{"step": 3, "lo\n[1]\n')
    assert last_entry(log) == {"step": 2}
    log.write_bytes(b"\xff\xfe\x00")
    assert last_entry(log) == {}


def test_a_safetensors_file_that_was_cut_off_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "adapter.safetensors"
    write_tensors(file, {"w": torch.ones(100)})
    check_tensors(file)
    whole = file.read_bytes()
    for content in (whole[:-4], whole[:10], b"", b"garbage" * 9):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"adapter.safetensors is damaged"):
            check_tensors(file)


def test_tables_of_spreadsheets_are_read_and_rows_that_are_too_long_named(tmp_path: Path) -> None:
    words = {"a.csv": "case,cp\nx-1,3\n", "b.CSV": "case,cp\nx-1,3\n", "c.jsonl": '{"case": "x-1", "cp": "3"}\n'}
    for name, text in {**words, "d.json": '[{"case": "x-1", "cp": "3"}]'}.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert rows_of(tmp_path / name) == [{"case": "x-1", "cp": "3"}]
    assert table(tmp_path / "a.csv") == table(tmp_path / "b.CSV") == [{"case": "x-1", "cp": 3}]
    (tmp_path / "a.csv").write_text("case,cp\nx-1,3\nx,2,4\n")
    for read in (rows_of, table):
        with pytest.raises(InputError, match=r"a\.csv is damaged: row 2 has more values than there are columns"):
            read(tmp_path / "a.csv")
