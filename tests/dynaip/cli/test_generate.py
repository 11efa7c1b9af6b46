"""How references and sizes are written on the command line; every mistake is one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dynaip.cli.app import main
from dynaip.cli.generate import parse_size, split_reference, write_image
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
        (["microworld", "a star", "--size", "64"], "height x width"),
        (["microwrld", "a star"], "Did you mean microworld"),
        (["microworld", "a star", "--sede", "1"], "--seed"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    given = [argument.replace("PICTURE", str(tmp_path / "a.png")) for argument in arguments]
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
    with pytest.raises(InputError, match="cannot be written"):
        write_image(Image.new("RGB", (4, 4)), tmp_path / "file" / "out.png")
