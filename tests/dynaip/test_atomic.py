"""Files and folders that are complete or absent, whatever breaks while they are written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dynaip.atomic import (
    make_folder,
    replacing,
    replacing_folder,
    write_image,
    write_json,
    write_table,
    write_tensors,
    write_text,
)
from dynaip.errors import InputError
from dynaip.reading import mapping, table


def test_every_writer_makes_its_folder_and_leaves_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_text(folder / "text.txt", "é")
    write_json(folder / "plain.json", {"a": [1]})
    write_table(folder / "table.parquet", pd.DataFrame({"x": [1.5, 2.5]}))
    write_tensors(folder / "some.safetensors", {"w": torch.arange(6.0).reshape(2, 3).T})
    write_image(folder / "picture.png", Image.fromarray(np.full((2, 3, 3), 7, np.uint8)))
    assert (folder / "text.txt").read_bytes() == "é".encode()
    assert mapping(folder / "plain.json") == {"a": [1]}
    assert table(folder / "table.parquet") == [{"x": 1.5}, {"x": 2.5}]
    assert torch.equal(load_file(folder / "some.safetensors")["w"], torch.arange(6.0).reshape(2, 3).T)
    assert np.asarray(Image.open(folder / "picture.png")).tolist() == np.full((2, 3, 3), 7).tolist()
    assert len(list(folder.iterdir())) == 5


def test_a_writer_that_breaks_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_text(file, "first")
    with pytest.raises(ZeroDivisionError), replacing(file) as part:  # noqa: PT012
        part.write_text("half")
        _ = 1 / 0
    assert file.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_of_two_writers_at_once_the_last_ones_file_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    with replacing(file) as slow:
        slow.write_text("half, ")
        with replacing(file) as quick:
            quick.write_text("quick")
        assert file.read_text() == "quick"
        with slow.open("a") as more:
            more.write("then whole")
    assert file.read_text() == "half, then whole"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_breaks_leaves_the_one_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "step-000001"
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle))
    )
    with replacing_folder(folder) as part:
        (part / "a").write_text("first")
    assert {Path(path).name for path in synced} == {"a", ".step-000001.part", tmp_path.name}
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as part:  # noqa: PT012
        (part / "a").write_text("second")
        _ = 1 / 0
    assert (folder / "a").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000001"]


def test_what_lies_in_the_way_is_named_and_never_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(InputError, match=r"file is a file, and a folder has to be there"),
        replacing_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(InputError, match=r"file is a file, and a folder has to be there"):
        make_folder(tmp_path / "file" / "deeper" / "still")
    with pytest.raises(InputError, match=r"folder is a folder, and a file has to be there"):
        write_text(tmp_path / "folder", "x")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="rights of a file as POSIX has them")
@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_weights_can_be_read_by_whoever_may_read_what_else_is_written(
    tmp_path: Path, umask: int, expected: int
) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "one" / "weights.safetensors", {"a": torch.ones(2)})
        with replacing_folder(tmp_path / "two") as part:
            save_file({"a": torch.ones(2)}, part / "weights.safetensors")
            (part / "config.json").write_text("{}")
    finally:
        os.umask(before)
    found = [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [expected] * 3
