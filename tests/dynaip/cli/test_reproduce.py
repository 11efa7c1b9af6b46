"""`dynaip reproduce`: the same picture from its own file, on other paths too, and never something else in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.cli.app import main
from dynaip.setting import PictureRecord


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Two pictures of a reference, painted together."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 40), 90).convert("RGB").save("ref.png")
    options = ["--ref", "ref.png*0.5", "--steps", "2", "--seed", "3", "-n", "2", "--granularity", "low=2"]
    assert main(["generate", "microworld", "a star", *options, "-o", "a.png"]) == 0
    assert "wrote a-sheet.png" in capsys.readouterr().out
    return tmp_path / "a-4.png"


def test_the_same_to_the_pixel(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "a-4.png"]) == 0
    assert capsys.readouterr().out == "wrote a-4-again.png\nthe same as a-4.png, pixel for pixel\n"
    assert Image.open("a-4-again.png").tobytes() == Image.open("a-4.png").tobytes()
    assert Image.open("a-3.png").tobytes() != Image.open("a-4.png").tobytes()


def test_what_the_picture_says(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "a-4.png", "--show"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["setting"]["seed"] == 4 and shown["seeds"] == [3, 4]
    assert shown["setting"]["references"][0]["scale"] == 0.5


def test_references_that_moved_or_changed(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("ref.png").rename("moved.png")
    assert main(["reproduce", "a-4.png"]) == 2
    assert re.search(
        r"ref.png, of which a-4.png was painted, is not here: name the file with --ref", capsys.readouterr().err
    )
    Image.new("RGB", (40, 40), "red").save("ref.png")
    assert main(["reproduce", "a-4.png"]) == 2
    assert "is not what it was" in capsys.readouterr().err
    assert main(["reproduce", "a-4.png", "--ref", "moved.png"]) == 0
    assert "pixel for pixel" in capsys.readouterr().out


def test_another_adapter_is_not_taken_in_silence(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = PictureRecord.read(painted)
    record.model_copy(update={"adapter": "0" * 64}).write(painted, Image.open(painted))
    assert main(["reproduce", "a-4.png"]) == 2
    assert "is not the adapter that painted a-4.png" in capsys.readouterr().err
    assert main(["reproduce", "a-4.png", "--run", "microworld"]) == 0
    assert "holds another adapter" in capsys.readouterr().err


def test_nothing_is_fetched_that_a_stranger_names(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = PictureRecord.read(painted)
    setting = record.setting.model_copy(update={"run": "stranger/adapter"})
    record.model_copy(update={"setting": setting}).write(painted, Image.open(painted))
    assert main(["reproduce", "a-4.png"]) == 2
    assert "stranger/adapter, which is not on this machine: say where with --run" in capsys.readouterr().err


def test_a_picture_that_was_changed_is_not_called_the_same(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, image = PictureRecord.read(painted), np.asarray(Image.open(painted)).copy()
    image[0, 0, 0] ^= 64
    record.write(painted, Image.fromarray(image))
    assert main(["reproduce", "a-4.png"]) == 0
    assert "not the same as a-4.png to the pixel: 64 of 255 apart at most" in capsys.readouterr().out


def test_without_metadata_nothing_is_kept(painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "microworld", "a star", "--steps", "1", "--no-metadata", "-o", "b.png"]) == 0
    assert "the base model paints alone" in capsys.readouterr().err
    assert not Image.open("b.png").info
    assert main(["reproduce", "b.png"]) == 2
    assert "does not say how it was painted" in capsys.readouterr().err
