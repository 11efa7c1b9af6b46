"""Pictures as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip.report.pictures import LONGEST, figure, printed_width, thumbnail

pytestmark = pytest.mark.filterwarnings("ignore::dynaip.notes.Note")


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_stay_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    uri, _ = thumbnail(tmp_path / "a.png")
    assert uri is not None
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(np.asarray(decoded(uri)), pixels)


def test_large_pictures_become_small(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1000), "teal").save(tmp_path / "a.png")
    uri, _ = thumbnail(tmp_path / "a.png")
    assert uri is not None
    assert decoded(uri).size == (LONGEST, LONGEST // 2)
    assert len(uri) < 20_000


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<svg onload=alert(1)>")
    Image.effect_noise((40, 40), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    assert thumbnail(tmp_path / "a.png") == (None, "damaged")
    assert thumbnail(tmp_path / "cut.png") == (None, "damaged")
    assert thumbnail(tmp_path / "missing.png") == (None, "missing")
    assert thumbnail(None) == (None, "missing")
    (tmp_path / "a.html").write_text("<p>")
    for name, why in (("a.html", "neither PNG nor SVG"), ("missing.svg", "cannot be read"), ("cut.png", "is damaged")):
        with pytest.raises(InputError, match=why):
            figure(tmp_path / name)


def test_figures_are_shown_as_large_as_they_were_set(tmp_path: Path) -> None:
    """800 pixels at 160 dots an inch are 5 inches, 480 CSS pixels; without a resolution nothing is said."""
    Image.new("RGB", (800, 40)).save(tmp_path / "set.png", dpi=(160, 160))
    Image.new("RGB", (800, 40)).save(tmp_path / "bare.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert printed_width(tmp_path / "set.png") == 480
    assert all(printed_width(tmp_path / name) is None for name in ("bare.png", "broken.png", "missing.png", "a.svg"))
