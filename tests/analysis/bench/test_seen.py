"""What an encoder sees, against pictures cut and padded by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.registry import registry
from dynaip_analysis.bench.seen import mask_seen_by, seen_by


@pytest.fixture
def encoder(tiny_clip_folder: Path) -> Callable[[str], Any]:
    """Sees 32 x 32 pixels."""

    def make(fit: str) -> Any:
        raw = {"use": "clip", "model": str(tiny_clip_folder), "levels": {"high": 4}, "fit": fit}
        return registry().build(ComponentSpec.parse("encoder", raw))

    return make


def wide() -> Image.Image:
    """64 x 32: red, then a green and a blue half of the middle, then red."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 16:32] = (0, 120, 0)
    pixels[:, 32:48] = (0, 0, 120)
    return Image.fromarray(pixels)


def test_the_middle_in_its_own_colours(encoder: Callable[[str], Any]) -> None:
    seen = np.asarray(seen_by(encoder("crop"), wide()))
    np.testing.assert_array_equal(seen, np.asarray(wide())[:, 16:48])
    turned = np.asarray(seen_by(encoder("crop"), wide().transpose(Image.Transpose.ROTATE_90)))
    np.testing.assert_array_equal(turned, np.rot90(seen))


def test_all_of_it_with_white_beside_it(encoder: Callable[[str], Any]) -> None:
    seen = np.asarray(seen_by(encoder("pad"), wide()))
    assert (seen[:8] == 255).all()
    assert (seen[24:] == 255).all()
    np.testing.assert_array_equal(seen[8:24], np.asarray(wide().resize((32, 16), Image.Resampling.BICUBIC)))


def test_masks_lie_where_the_picture_does(encoder: Callable[[str], Any]) -> None:
    green = np.asarray(wide())[..., 1] > 0
    cut = mask_seen_by(encoder("crop"), green)
    np.testing.assert_allclose(cut, np.repeat([[1.0] * 16 + [0.0] * 16], 32, axis=0))
    padded = mask_seen_by(encoder("pad"), np.ones((32, 64)))
    np.testing.assert_allclose(padded[:, 0], [0] * 8 + [1] * 16 + [0] * 8)


def test_a_square_picture_of_the_right_size_is_itself(encoder: Callable[[str], Any]) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(seen_by(encoder("crop"), picture)), np.asarray(picture))
