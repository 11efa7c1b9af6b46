"""A folder of pairs: what is read, and what is refused with line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.errors import BadSample, InputError
from dynaip.registry import registry


def folder(path: Path, *rows: Any) -> Any:
    Image.new("RGB", (40, 20), "red").save(path / "a.png")
    Image.new("RGB", (64, 32), "blue").save(path / "b.png")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / "metadata.jsonl").write_text("\n".join(lines))
    spec = {"use": "pairs", "folder": str(path), "height": 16, "width": 16}
    return registry().build(ComponentSpec.parse("source", spec))


GOOD = {"reference": "a.png", "target": "b.png", "prompt": "a dog", "subject": "dog"}


def test_reads_pairs(tmp_path: Path) -> None:
    source = folder(tmp_path, GOOD, "", {**GOOD, "prompt": "two dogs"})
    assert len(source) == 2
    pair = source[1]
    assert (pair.prompt, pair.subject, pair.id) == ("two dogs", "dog", "metadata.jsonl:3")
    assert pair.target.size == (16, 16)
    assert pair.reference.size == (40, 20)
    assert pair.target.getpixel((5, 5)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("{", "line 1: no JSON"),
        ("[]", "line 1: write an object"),
        ({**GOOD, "prompt": ""}, "line 1: prompt must be"),
        ({"reference": "a.png"}, "line 1: target must be"),
        ({**GOOD, "target": "../b.png"}, "leaves the folder"),
        ({**GOOD, "target": "/etc/hostname"}, "leaves the folder"),
    ],
)
def test_bad_metadata(tmp_path: Path, row: Any, line: str) -> None:
    with pytest.raises(InputError, match=line):
        folder(tmp_path, row)


def test_missing_metadata_and_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pair"):
        folder(tmp_path, "")
    source = folder(tmp_path, {**GOOD, "reference": "c.png"})
    with pytest.raises(BadSample, match=r"line 1: .*c.png: there is no such picture"):
        source[0]
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(InputError, match=r"metadata.jsonl is missing"):
        registry().build(ComponentSpec.parse("source", {"use": "pairs", "folder": str(tmp_path)}))
