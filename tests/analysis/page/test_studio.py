"""What the page does, without a page: settings, comparisons, grids, looks; every picture is painted again from its own file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.setting import PictureRecord
from dynaip_analysis.page.looks import look
from dynaip_analysis.page.studio import GivenReference, Studio, changed


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio.open("microworld", tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def given() -> list[GivenReference]:
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 255
    noise = [Image.effect_noise((60, 60), sigma).convert("RGB") for sigma in (30, 90)]
    return [GivenReference(noise[0], (0.0, 0.0, 0.5, 1.0), 0.8), GivenReference(noise[1], Image.fromarray(mask))]


def test_a_picture_is_painted_again_from_its_file_and_by_its_command(
    studio: Studio, given: list[GivenReference], tmp_path: Path
) -> None:
    level, other = studio.levels[0], studio.policies[1]
    setting = studio.setting(
        "a star", given, seed=5, steps=2, granularity={level: 2, studio.levels[1]: 1}, decoupling=other
    )
    assert setting.granularity == {level: 2.0} and setting.decoupling == other
    one = studio.paint(setting)
    kept = PictureRecord.read(one.path).setting
    assert kept.references[0].region == (0.0, 0.0, 0.5, 1.0)
    assert kept.paint(studio.world)[0].tobytes() == one.image.tobytes()
    assert main(shlex.split(setting.command(str(tmp_path / "command.png")))[1:]) == 0
    assert Image.open(tmp_path / "command.png").tobytes() == Image.open(one.path).tobytes()


def test_two_settings_side_by_side_are_on_one_seed(studio: Studio, given: list[GivenReference]) -> None:
    before, now = (studio.setting("a star", given[:1], seed=seed, steps=1) for seed in (1, 2))
    one, other = studio.side_by_side(before, now)
    assert one.setting.seed == other.setting.seed == 2
    assert one.image.tobytes() == other.image.tobytes()


def test_a_grid_has_a_picture_for_every_two_values(studio: Studio, given: list[GivenReference]) -> None:
    setting = studio.setting("a star", given[:1], steps=1)
    path, cells = studio.grid(setting, "seed", "0, 1", "scale", "0, 2")
    assert [(each.setting.seed, each.setting.references[0].scale) for each in cells] == [
        (seed, scale) for scale in (0, 2) for seed in (0, 1)]  # fmt: skip
    width, height = cells[0].image.size
    sheet = Image.open(path)
    assert 2 * width < sheet.width < 3 * width and sheet.height > 2 * height
    alone = studio.paint(changed(changed(setting, "seed", 1), "scale", 2.0))
    assert alone.image.tobytes() == cells[-1].image.tobytes()


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (("seed", "0, x", "scale", "1"), "seed: 'x' is no whole number"),
        (("seed", "", "scale", "1"), "seed: write values"),
        (("seed", "0", "seed", "1"), "are the same"),
        (("prompt", "0", "seed", "1"), "cannot vary 'prompt'"),
        (("decoupling", "dynamik", "seed", "1"), "there is no 'dynamik'"),
        (("seed", ",".join("1" * 7), "scale", ",".join("1" * 7)), "7 x 7 pictures are too many"),
        (("seed", "-1", "scale", "1"), "seed"),
        (("steps", "1e9", "scale", "1"), "no whole number"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(studio: Studio, asked: Any, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        studio.grid(studio.setting("a star", steps=1), *asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "options", "line"),
    [
        (" ", {}, "the prompt is empty"),
        ("x" * 5000, {}, "shorten it"),
        ("a", {"steps": 0}, "steps"),
        ("a", {"steps": 10**9}, "steps"),
        ("a", {"seed": -1}, "seed"),
        ("a", {"guidance": -1.0}, "guidance"),
        ("a", {"decoupling": "../x"}, "no decoupling policy"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(studio: Studio, prompt: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        studio.setting(prompt, **options)


def test_wrong_files_are_refused_and_nothing_of_them_is_kept(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.new("1", (6000, 6000)).save(tmp_path / "large.png")
    before = sorted(studio.folder.rglob("*"))
    for name, line in (
        ("a.png", "no picture"),
        ("large.png", "scale it below 24 megapixels"),
        ("none.png", "no such picture"),
    ):
        with pytest.raises(InputError, match=line):
            studio.setting("a star", [GivenReference(tmp_path / name)])
    assert sorted(studio.folder.rglob("*")) == before


def test_what_is_not_as_asked_is_told(studio: Studio) -> None:
    assert any("zzyzx" in line for line in studio.paint(studio.setting("a zzyzx", steps=1)).notes)


def test_looking_inside_shows_words_references_and_routing(studio: Studio, given: list[GivenReference]) -> None:
    seen = look(studio, studio.setting("a star", given, steps=1), ["star"])
    said = [words for _, words in seen]
    assert said[0] == "which places of the picture look at “star”"
    assert "what its region looks at in reference 1" in said
    assert [words for words in said if words.startswith("reference 2: what the router takes")] == [
        f"reference 2: what the router takes from level {level}" for level in studio.levels
    ]
    with pytest.raises(InputError, match="nothing to look at"):
        look(studio, studio.setting("a star", steps=1))
    with pytest.raises(InputError, match="dog"):
        look(studio, studio.setting("a star", given[:1], steps=1), ["dog"])
