"""A folder of pairs: what is read, and what is refused by line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import BadSample, InputError
from dynaip_plugins.sources.pairs.config import FolderPairsConfig
from dynaip_plugins.sources.pairs.model import FolderPairs


def picture(path: Path, size: tuple[int, int] = (60, 40), colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def folder(root: Path, *rows: Any) -> FolderPairsConfig:
    """A folder with two pictures and these lines of metadata (the usual one by default)."""
    picture(root / "a.png")
    picture(root / "sub" / "b.jpg", colour="blue")
    usual = {"reference": "a.png", "target": "sub/b.jpg", "prompt": "a mug"}
    lines = [row if isinstance(row, str) else json.dumps(usual | row) for row in rows or ({},)]
    (root / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return FolderPairsConfig(folder=root, height=32, width=48)


def test_a_pair_is_read(tmp_path: Path) -> None:
    source = FolderPairs(folder(tmp_path, {"subject": "my mug"}, {"prompt": "two\u2028lines"}))
    assert len(source) == 2
    pair = source[0]
    assert (pair.id, pair.prompt, pair.subject) == ("metadata.jsonl:1", "a mug", "my mug")
    assert pair.reference.size == (60, 40)
    assert pair.target.size == (48, 32)
    assert np.asarray(pair.reference)[0, 0].tolist() == [255, 0, 0]
    assert source[1].prompt == "two\u2028lines"


def test_targets_are_cut_not_stretched(tmp_path: Path) -> None:
    config = folder(tmp_path)
    wide = Image.new("RGB", (200, 32), "black")
    wide.paste("white", (76, 0, 124, 32))
    wide.save(tmp_path / "sub" / "b.jpg", quality=100, subsampling=0)
    assert np.asarray(FolderPairs(config)[0].target).min() > 200


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("not json", "line 2: no JSON"),
        ("[1]", "line 2: write an object"),
        ({"prompt": ""}, "line 2: prompt must be a text that is not empty"),
        ({"prompt": 3}, "line 2: prompt"),
        ({"target": None}, "line 2: target must be"),
        ({"subject": 5}, "line 2: subject must be a text"),
        ({"reference": "../a.png"}, "line 2: reference: .*leaves the folder"),
        ({"reference": "sub/../../a.png"}, "line 2: reference: .*leaves the folder"),
        ({"target": "/etc/passwd"}, "line 2: target: .*leaves the folder"),
        ({"target": "link.png"}, "line 2: target: .*leaves the folder"),
        ({"target": "a\u0000b"}, "line 2: target: .*is no path"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, message: str) -> None:
    outside = tmp_path / "outside.png"
    picture(outside)
    root = tmp_path / "pairs"
    root.mkdir()
    (root / "link.png").symlink_to(outside)
    with pytest.raises(InputError, match=message) as caught:
        FolderPairs(folder(root, {}, row))
    assert "\n" not in str(caught.value)


def test_an_absolute_path_into_the_folder_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves the folder"):
        FolderPairs(folder(tmp_path, {"target": str(tmp_path / "a.png")}))


def test_missing_and_empty_metadata(tmp_path: Path) -> None:
    config = folder(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no pair"):
        FolderPairs(config)
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="no UTF-8"):
        FolderPairs(config)
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(InputError, match="is missing; write one JSON line a pair"):
        FolderPairs(config)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    config = folder(tmp_path)
    file = tmp_path / "metadata.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(FolderPairs(config)) == 1


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def wrong_type(path: Path) -> None:
    path.write_text("<html>")


def bomb(path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(path, format="PNG")


@pytest.mark.parametrize("fault", [missing, truncated, wrong_type, bomb])
def test_a_picture_that_cannot_be_used_is_a_bad_sample(tmp_path: Path, fault: Any) -> None:
    config = folder(tmp_path, {}, {"reference": "c.png"})
    picture(tmp_path / "c.png")
    fault(tmp_path / "c.png")
    source = FolderPairs(config)
    assert source[0].prompt == "a mug"
    with pytest.raises(BadSample, match=r"line 2: .*c\.png"):
        source[1]
