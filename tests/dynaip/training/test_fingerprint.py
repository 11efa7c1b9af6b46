"""A resumed run hears of other pairs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, MismatchError
from dynaip.training.fingerprint import changes, fingerprint


class Plain(PairSource):
    """A source that does not say what it holds."""

    def __init__(self, size: int, colour: str = "red", prompt: str = "p", bad: int = -1) -> None:
        self.size, self.colour, self.prompt, self.bad = size, colour, prompt, bad
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Pair:
        self.read.append(index)
        if index == self.bad:
            raise BadSample("broken")
        picture = Image.new("RGB", (4, 4), self.colour)
        return Pair(str(index), picture, Image.new("RGB", (4, 4)), self.prompt)


def test_a_source_that_cannot_tell_is_probed() -> None:
    source = Plain(1000)
    first = fingerprint(source)
    assert 8 <= len(set(source.read)) <= 32
    assert fingerprint(Plain(1000)) == first
    assert list(fingerprint(Plain(3))) == ["pair 0 of 3", "pair 1 of 3", "pair 2 of 3"]
    assert fingerprint(Plain(3, bad=1))["pair 1 of 3"] == {"state": "cannot be used"}
    said = changes(first, fingerprint(Plain(1000, colour="blue")))
    assert said is not None
    assert said.startswith("pair 0 of 1000: another reference; ")
    assert "more" in said


def test_what_changed_is_said() -> None:
    before = {"a": {"prompt": "1", "target": "2"}, "b": {"prompt": "3"}}
    assert changes(before, dict(before)) is None
    assert changes(before, {"b": before["b"], "a": before["a"]}) == "their order is another one"
    assert changes(before, {"a": {"prompt": "9", "target": "8"}, "b": before["b"]}) == "a: another prompt and target"
    assert changes(before, {"a": before["a"]}) == "there were 2 and are now 1; b is gone"
    assert changes(before, before | {"c": {}}) == "there were 2 and are now 3"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows: list[dict[str, str]] = []
    for number in range(4):
        for part, colour in (("r", 40 * number), ("t", 255 - 40 * number)):
            Image.new("RGB", (64, 64), (colour, 90, 0)).save(folder / f"{part}{number}.png")
        rows.append({"reference": f"r{number}.png", "target": f"t{number}.png", "prompt": f"mug {number}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def caption(folder: Path) -> None:
    file = folder / "metadata.jsonl"
    file.write_text(file.read_text().replace("mug 2", "cup 2"))


def picture(folder: Path) -> None:
    Image.new("RGB", (64, 64), "blue").save(folder / "t2.png")


def order(folder: Path) -> None:
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    (folder / "metadata.jsonl").write_text("\n".join(lines[::-1]))


def one_less(folder: Path) -> None:
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    (folder / "metadata.jsonl").write_text("\n".join(lines[:3]))


def gone(folder: Path) -> None:
    (folder / "r1.png").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (caption, r"metadata\.jsonl:3: another prompt\)"),
        (picture, r"metadata\.jsonl:3: another target\)"),
        (order, r"metadata\.jsonl:1: another prompt and reference and target; .*and 1 more"),
        (one_less, r"there were 4 and are now 3; metadata\.jsonl:4 is gone"),
        (gone, r"metadata\.jsonl:2: another reference"),
    ],
)
def test_a_resumed_run_refuses_other_pairs_unless_they_are_allowed(
    train: Callable[..., Path], pairs: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    sections = {"source": {"use": "pairs", "folder": str(pairs)}}
    run = tmp_path / "run"

    def stop(report: Any) -> None:
        if getattr(report, "step", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, on_progress=stop, **sections)
    shutil.copytree(run, tmp_path / "same")
    change(pairs)
    with pytest.raises(MismatchError, match=f"{said}.*--allow-changed-data") as caught:
        train(run, resume=True, **sections)
    assert "\n" not in str(caught.value)
    told: list[str] = []
    train(run, resume=True, allow_changed_data=True, warn=told.append, **sections)
    assert "the pairs are others" in told[0]
    told.clear()
    train(run, resume=True, warn=told.append, training={"steps": 7}, **sections)
    assert not any("others" in line for line in told), "now these are the run's pairs"


def test_before_the_first_checkpoint_nothing_was_trained_on_them(
    train: Callable[..., Path], pairs: Path, tmp_path: Path
) -> None:
    sections = {"source": {"use": "pairs", "folder": str(pairs)}}

    def stop(report: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", on_progress=stop, **sections)
    caption(pairs)
    train(tmp_path / "run", resume=True, **sections)
