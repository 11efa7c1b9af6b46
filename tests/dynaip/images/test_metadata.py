"""What is kept inside a PNG, read back by Pillow alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip.images.metadata import LONGEST, read_text, write_with_text

TEXT = 'a "dog" <b>\n\u202e é 犬'


def test_text_is_kept_in_a_png_beside_the_same_pixels(tmp_path: Path) -> None:
    image = Image.effect_noise((8, 8), 60).convert("RGB")
    assert write_with_text(tmp_path / "a.png", image, TEXT, "mine")
    with Image.open(tmp_path / "a.png") as found:
        assert found.info["mine"] == TEXT
        assert found.tobytes() == image.tobytes()
    assert read_text(tmp_path / "a.png", "mine") == TEXT
    assert read_text(tmp_path / "a.png", "other") == ""


def test_other_formats_have_no_room(tmp_path: Path) -> None:
    assert not write_with_text(tmp_path / "a.jpg", Image.new("RGB", (8, 8)), TEXT, "mine")
    assert read_text(tmp_path / "a.jpg", "mine") == ""


def test_odd_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no picture"):
        read_text(tmp_path / "a.png", "mine")
    write_with_text(tmp_path / "b.png", Image.new("RGB", (8, 8)), "x" * (LONGEST + 1), "mine")
    with pytest.raises(InputError):
        read_text(tmp_path / "b.png", "mine")
