"""How references and sizes are written on the command line; every mistake is one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.cli.app import main
from dynaip.cli.generate import check_output, parse_size, split_reference, write_image
from dynaip.errors import InputError


def test_references(tmp_path: Path) -> None:
    plain = tmp_path / "dog.png"
    odd = tmp_path / "dog@0,0,1,1*2.png"
    for path in (plain, odd):
        Image.new("RGB", (4, 4)).save(path)
    assert split_reference(str(plain)) == (str(plain), None, 1.0)
    assert split_reference(f"{plain}@0,0,0.5,1") == (str(plain), (0, 0, 0.5, 1), 1.0)
    assert split_reference(f"{plain}@0,0,0.5,1*0.8") == (str(plain), (0, 0, 0.5, 1), 0.8)
    assert split_reference(f"{plain}*0.8") == (str(plain), None, 0.8)
    assert split_reference(str(odd)) == (str(odd), None, 1.0)
    assert split_reference(f"{odd}@0,0,1,1") == (str(odd), (0, 0, 1, 1), 1.0)
    assert split_reference(f"{plain}@{plain}*0.5") == (str(plain), str(plain), 0.5)
    assert split_reference(f"{plain}@mask.png") == (str(plain), "mask.png", 1.0)


def test_sizes() -> None:
    assert parse_size("512x768") == (512, 768)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["microworld", " "], "the prompt is empty"),
        (["microworld", "a star", "--ref", "nothing.png"], "there is no such picture"),
        (["microworld", "a star", "--ref", "PICTURE@0,0,2,1"], "lies outside the image"),
        (["microworld", "a star", "--ref", "PICTURE@0,0,1"], "left,top,right,bottom"),
        (["microworld", "a star", "--ref", "PICTURE*much"], "'much' is no number"),
        (["microworld", "a star", "--ref", "PICTURE*-1"], "scale -1.0 must be"),
        (["microworld", "a star", "--granularity", "low"], "write LEVEL=VALUE"),
        (["microworld", "a star", "--ref", "PICTURE@0.5"], "left,top,right,bottom"),
        (["microworld", "a star", "--ref", "PICTURE@mask.png"], "mask.png: there is no such picture"),
        (["microworld", "a star", "--ref", "PICTURe"], "Did you mean"),
        (["microworld", "a star", "--ref", "PICTURE", "--fit", "padd"], "Did you mean pad"),
        (["microworld", "a star", "--size", "64"], "height x width"),
        (["microworld", "a star", "--size", "60x64"], "--size: 60 x 64 cannot be painted"),
        (["microworld", "a star", "--decoupling", "dynamik"], "Did you mean dynamic"),
        (["./microwrold/run", "a star"], "no such folder"),
        (["microwrld", "a star"], "Did you mean microworld"),
        (["microworld", "a star", "--sede", "1"], "--seed"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    given = [argument.replace("PICTURE", str(tmp_path / "a.png")) for argument in arguments]
    given = [argument.replace("PICTURe", str(tmp_path / "A.PNG")) for argument in given]
    assert main(["generate", *given, "-o", str(tmp_path / "out.png")]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_broken_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert main(["generate", "microworld", "a star", "--ref", str(tmp_path / "broken.png")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_as_the_folder_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, and a folder has to be there"):
        check_output(tmp_path / "file" / "out.png")
    with pytest.raises(InputError, match="is a file"):
        write_image(Image.new("RGB", (4, 4)), tmp_path / "file" / "out.png")


def test_fit_is_that_of_the_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tall = Image.new("RGB", (30, 90), "white")
    tall.paste("red", (0, 30, 30, 60))
    tall.save(tmp_path / "tall.png")
    common = ["generate", "microworld", "a star", "--steps", "1", "--ref", str(tmp_path / "tall.png")]
    read: dict[str, np.ndarray] = {}
    for fit in ("none", "crop", "pad"):
        chosen = [] if fit == "none" else ["--fit", fit]
        assert main([*common, *chosen, "-o", str(tmp_path / f"{fit}.png")]) == 0
        assert ("its middle 30 x 30 alone is seen" in capsys.readouterr().err) == (fit == "none")
        read[fit] = np.asarray(Image.open(tmp_path / f"{fit}.png"), dtype=float)
    same, other = (np.abs(read["none"] - read[fit]).mean() for fit in ("crop", "pad"))
    assert 5 * same < other


def test_what_needs_a_reference_is_told_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idle = ["--granularity", "low=1.5", "--fit", "pad", "--negative", "a heart", "--guidance", "1"]
    assert main(["generate", "microworld", "a star", "--steps", "1", *idle, "-o", str(tmp_path / "a.png")]) == 0
    told = capsys.readouterr().err
    assert "the adapter adds nothing; nothing comes of --granularity and --fit" in told
    assert "nothing comes of --negative without --guidance above 1" in told


def test_what_is_not_finite_is_not_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["generate", "microworld", "a star", "--steps", "1", "--guidance", "1e38", "-o", str(tmp_path / "a.png")])
        == 2
    )
    assert "lower true_cfg_scale = 1e+38" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
