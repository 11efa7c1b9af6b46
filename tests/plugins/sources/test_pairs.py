"""A folder of pairs: what is read, and what is refused by line and field."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import BadSample, InputError
from dynaip.notes import caught
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
        ({"target": "~/b.png"}, "line 2: target: .*leaves the folder"),
        ({"target": "   "}, "line 2: target must be"),
        ({"target": "a\u0000b"}, "line 2: target: .*is no path"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, message: str) -> None:
    root = tmp_path / "pairs"
    root.mkdir()
    with pytest.raises(InputError, match=message) as caught:
        FolderPairs(folder(root, {}, row))
    assert "\n" not in str(caught.value)


def test_absolute_paths_into_the_folder_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, link = tmp_path / "disk" / "pairs", tmp_path / "pairs"
    root.mkdir(parents=True)
    link.symlink_to(root)
    monkeypatch.setenv("HOME", str(root))
    rows = [{"target": name} for name in (str(root / "a.png"), str(link / "a.png"), "~/a.png", "sub/../a.png")]
    folder(root, *rows)
    source = FolderPairs(FolderPairsConfig(folder=link, height=32, width=48))
    assert [np.asarray(source[index].target)[0, 0].tolist() for index in range(4)] == [[255, 0, 0]] * 4


def test_links_are_followed_as_the_hub_lays_them(tmp_path: Path) -> None:
    """``snapshots/<commit>/a.png`` is a link to ``../../blobs/<hash>``, metadata too."""
    config = folder(tmp_path / "snapshots" / "main")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, name in enumerate(("a.png", "sub/b.jpg", "metadata.jsonl")):
        file = config.folder / name
        file.rename(blobs / str(number))
        file.symlink_to(Path(*[".."] * (2 + name.count("/"))) / "blobs" / str(number))
    pair = FolderPairs(config)[0]
    assert np.asarray(pair.reference)[0, 0].tolist() == [255, 0, 0]


def test_a_dead_link_is_called_one(tmp_path: Path) -> None:
    config = folder(tmp_path, {"reference": "link.png"})
    (tmp_path / "link.png").symlink_to("nowhere.png")
    with pytest.raises(BadSample, match=r"line 1: .*link to nowhere\.png, which is not there"):
        FolderPairs(config)[0]


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_in_another_unicode_form_is_the_same_name(tmp_path: Path, on_disk: str, written: str) -> None:
    there, said = (unicodedata.normalize(form, "café/müsli.png") for form in (on_disk, written))
    picture(tmp_path / there, colour="lime")
    pair = FolderPairs(folder(tmp_path, {"reference": said}))[0]
    assert np.asarray(pair.reference)[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("A.PNG", "a.png"),
        ("sub\\b.jpg", "sub/b.jpg"),
        ("a.png ", "a.png"),
        ("a.jpg", "a.png"),
        ("sub/c.jpg", "sub/b.jpg"),
    ],
)
def test_a_missing_name_comes_with_the_nearest_there_is(tmp_path: Path, written: str, hint: str) -> None:
    source = FolderPairs(folder(tmp_path, {"reference": written}))
    with pytest.raises(BadSample, match=f"line 1: .*Did you mean .*{re.escape(hint)}"):
        source[0]


def test_a_missing_folder_comes_with_the_nearest_there_is(tmp_path: Path) -> None:
    folder(tmp_path / "mugs")
    with pytest.raises(InputError, match=r"mugz/metadata.jsonl is missing.*Did you mean .*mugs"):
        FolderPairs(FolderPairsConfig(folder=tmp_path / "mugz", height=8, width=8))


def told(config: FolderPairsConfig) -> list[tuple[str, str]]:
    with caught() as notes:
        FolderPairs(config)[0]
    return notes


@pytest.mark.parametrize(
    ("size", "fit", "kinds"),
    [
        ((48, 32), "crop", []),
        ((71, 32), "crop", []),  # 48 x 32, up to 1.5 times as wide
        ((73, 32), "crop", ["target cropped"]),
        ((60, 61), "crop", ["target cropped"]),
        ((600, 61), "pad", []),
        ((16, 11), "crop", ["target enlarged"]),
        ((17, 12), "crop", []),
        ((8, 11), "crop", ["target cropped", "target enlarged"]),
        ((8, 11), "pad", []),  # 32 / 11 < 3
    ],
)
def test_what_a_target_loses_or_lacks_is_told(
    tmp_path: Path, size: tuple[int, int], fit: str, kinds: list[str]
) -> None:
    config = folder(tmp_path, {"target": "t.png"}).model_copy(update={"fit": fit})
    picture(tmp_path / "t.png", size)
    notes = told(config)
    assert [kind for kind, _ in notes] == kinds
    for kind, line in notes:
        assert f"{size[0]} x {size[1]} pixels" in line
        assert ("source.fit" if kind == "target cropped" else "source.height") in line


def test_pad_keeps_the_whole_target(tmp_path: Path) -> None:
    config = folder(tmp_path, {"target": "t.png"}).model_copy(update={"fit": "pad"})
    picture(tmp_path / "t.png", (96, 32), "black")
    pixels = np.asarray(FolderPairs(config)[0].target)
    assert pixels.shape == (32, 48, 3)
    assert (pixels[8:24] < 10).all(), "a third of the height, all of the width"
    assert (pixels[:7] > 245).all()


def test_one_edge_stands_for_both_and_none_has_to_be_settled(tmp_path: Path) -> None:
    config = folder(tmp_path)
    for height, width, size in ((8, None, (8, 8)), (None, 8, (8, 8)), (8, 16, (8, 16)), (None, None, None)):
        given = FolderPairsConfig(folder=tmp_path, height=height, width=width)
        assert given.target_size() == size
        assert given.sized(64, 32).target_size() == (size or (64, 32))
    with pytest.raises(InputError, match=r"give source\.height and source\.width"):
        FolderPairs(FolderPairsConfig(folder=config.folder))


def test_the_fingerprint_tells_every_change_and_nothing_else(tmp_path: Path) -> None:
    rows = [{"prompt": "a mug"}, {"prompt": "a cup", "reference": "c.bmp"}]
    config = folder(tmp_path, *rows)
    picture(tmp_path / "c.bmp", colour="green")
    before = FolderPairs(config).fingerprint()
    assert list(before) == ["metadata.jsonl:1", "metadata.jsonl:2"]
    os.utime(tmp_path / "a.png", (1, 1))
    assert FolderPairs(config).fingerprint() == before, "the time of a file is no content"

    def parts() -> set[str]:
        now = FolderPairs(config).fingerprint()
        return {
            f"{name[-1]} {part}" for name in before for part in before[name] if before[name][part] != now[name][part]
        }

    size = (tmp_path / "c.bmp").stat().st_size
    picture(tmp_path / "c.bmp", colour="blue")
    assert (tmp_path / "c.bmp").stat().st_size == size, "other colours of the same size"
    assert parts() == {"2 reference"}
    (tmp_path / "c.bmp").unlink()
    assert parts() == {"2 reference"}
    picture(tmp_path / "c.bmp", colour="green")
    assert parts() == set()
    folder(tmp_path, rows[0], rows[1] | {"prompt": "a glass", "subject": "glass"})
    assert parts() == {"2 prompt", "2 subject"}
    folder(tmp_path, *rows[::-1])
    assert parts() == {"1 prompt", "2 prompt", "1 reference", "2 reference"}


def test_the_digest_of_a_large_file_sees_its_beginning_its_middle_and_its_end(tmp_path: Path) -> None:
    config = folder(tmp_path)
    data = bytearray(os.urandom(5_000_000))
    seen: set[str] = set()
    for place in (None, 0, 2_500_000, len(data) - 20_000):
        if place is not None:
            data[place : place + 20_000] = bytes(len(data[place : place + 20_000]))
        (tmp_path / "a.png").write_bytes(data)
        seen.add(FolderPairs(config).fingerprint()["metadata.jsonl:1"]["reference"])
    assert len(seen) == 4


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
