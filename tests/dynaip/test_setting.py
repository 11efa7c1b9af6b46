"""A setting written as a command or as Python paints the same picture, and a picture's record comes back from its file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import dynaip
from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.load import Loaded
from dynaip.setting import KEPT, PictureRecord, PictureSetting, ReferenceSetting


@pytest.fixture(scope="module")
def world() -> Loaded:
    return dynaip.load("microworld")


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PictureSetting:
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 40), 90).convert("RGB").save("a b.png")
    Image.effect_noise((40, 40), 20).convert("RGB").save("c.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save("mask.png")
    return PictureSetting(
        prompt="it's a \"star\"; $(rm -rf /) `x`",
        references=(
            ReferenceSetting(image="a b.png", region=(0.0, 0.0, 1 / 3, 1.0), scale=0.75),
            ReferenceSetting(image="c.png", region="mask.png"),
        ),
        seed=7, steps=2, guidance=1.5, negative_prompt="grey", granularity={"low": 1.25}, decoupling="coupled", fit="pad",
    )  # fmt: skip


def test_the_command_and_the_python_paint_the_same(setting: PictureSetting, world: Loaded) -> None:
    image = np.asarray(setting.paint(world)[0])
    words = shlex.split(setting.command("by command.png"))
    assert words[0] == "dynaip"
    assert main(words[1:]) == 0
    exec(compile(setting.python(), "copied", "exec"), {})
    assert np.array_equal(image, np.asarray(Image.open("by command.png")))
    assert np.array_equal(image, np.asarray(Image.open("out.png")))
    other = setting.model_copy(update={"references": ()}).paint(world)[0]
    assert not np.array_equal(image, np.asarray(other))


def test_a_prompt_that_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = PictureSetting(prompt="--debug", steps=1).command("a.png")
    assert main(shlex.split(command)[1:]) == 0
    assert PictureRecord.read(Path("a.png")).setting.prompt == "--debug"


def test_a_record_comes_back_from_the_picture(setting: PictureSetting, world: Loaded) -> None:
    record = PictureRecord.of(setting, world, [7, 8])
    assert record.write(Path("a.png"), Image.new("RGB", (4, 4)))
    found = PictureRecord.read(Path("a.png"))
    assert found == record
    assert found.setting.references[1].mask_sha256 and len(found.adapter) == 64
    assert {name: getattr(found.setting, name) for name in ("prompt", "seed", "negative_prompt")} == {
        "prompt": setting.prompt, "seed": 7, "negative_prompt": "grey"}  # fmt: skip
    assert found.versions["torch"]
    assert record.at(8).setting.seed == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not say how it was painted"),
        ("{", "is damaged"),
        ("[" * 5000, "is damaged"),
        ('{"format": 2}', "another version"),
        ('{"setting": {"prompt": "a"}, "seeds": [0], "adapter": "", "run": 1}', "is damaged"),
        ('{"setting": {"prompt": "a", "granularity": {"low": NaN}}, "seeds": [0], "adapter": ""}', "is damaged"),
    ],
)
def test_what_others_wrote_is_read_strictly(tmp_path: Path, text: str, words: str) -> None:
    kept = PngInfo()
    kept.add_text(KEPT, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=kept)
    with pytest.raises(InputError, match=words):
        PictureRecord.read(tmp_path / "a.png")


def test_records_are_plain_json(setting: PictureSetting, world: Loaded) -> None:
    PictureRecord.of(setting, world, [7]).write(Path("a.png"), Image.new("RGB", (4, 4)))
    with Image.open("a.png") as found:
        stored = json.loads(found.info[KEPT])
    assert stored["setting"]["references"][0]["image"] == "a b.png"
