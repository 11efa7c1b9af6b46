"""One picture in every form that people give: each is read as the file is, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.errors import InputError
from dynaip.images import read_picture
from dynaip.notes import Note

TRUTH = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = TRUTH[:, :, 0]
TENSOR = torch.from_numpy(TRUTH).permute(2, 0, 1)


def colour(values: Any) -> dict[str, Any]:
    """Forms of one RGB picture."""
    unit = values.astype(np.float32) / 255
    return {
        "uint8": values,
        "turned in memory": np.ascontiguousarray(values[::-1])[::-1],
        "uint16": values.astype(np.uint16) * 257,
        "big-endian uint16": (values.astype(np.uint16) * 257).astype(">u2"),
        "int64": values.astype(np.int64),
        "float32": unit,
        "float64": unit.astype(np.float64),
        "float16": unit.astype(np.float16),
        "rounding": unit * np.float32(1 + 1e-6),
        "batch of one": values[None],
        "channels first": values.transpose(2, 0, 1),
        "tensor": torch.from_numpy(values).permute(2, 0, 1),
        "tensor, batch of one": torch.from_numpy(unit).permute(2, 0, 1)[None],
        "tensor, channels last": torch.from_numpy(values),
        "tensor with gradient": torch.from_numpy(unit).permute(2, 0, 1).requires_grad_(),
        "RGBA array": np.dstack([values, np.full(values.shape[:2], 255, np.uint8)]),
        "PIL": Image.fromarray(values),
        "PIL RGBA": Image.fromarray(values).convert("RGBA"),
    }


@pytest.mark.parametrize("form", colour(TRUTH))
def test_every_form_of_a_picture_is_the_picture(form: str) -> None:
    read = np.asarray(read_picture(colour(TRUTH)[form]), dtype=int)
    assert read.shape == TRUTH.shape
    assert np.abs(read - TRUTH).max() <= 1


def test_bfloat16() -> None:
    read = np.asarray(read_picture((TENSOR.float() / 255).bfloat16()), dtype=int)
    assert np.abs(read - TRUTH).max() <= 2
    eight = torch.tensor([[0.0, 0.5], [0.25, 1.0]]).to(torch.float8_e4m3fn)
    assert np.asarray(read_picture(eight))[:, :, 0].tolist() == [[0, 128], [64, 255]]


GREYS: dict[str, Any] = {
    "height x width": GREY,
    "height x width x 1": GREY[:, :, None],
    "tensor 1 x height x width": torch.from_numpy(GREY)[None],
    "PIL L": Image.fromarray(GREY),
    "PIL I;16": Image.fromarray(GREY.astype(np.uint16) * 257),
    "PIL I": Image.fromarray(GREY.astype(np.int32)),
    "PIL F": Image.fromarray(GREY.astype(np.float32) / 255),
    "PIL LA": Image.fromarray(GREY).convert("LA"),
    "grey with alpha": np.dstack([GREY, np.full_like(GREY, 255)]),
}


@pytest.mark.parametrize("form", GREYS)
def test_grey_pictures(form: str) -> None:
    read = np.asarray(read_picture(GREYS[form]), dtype=int)
    assert np.abs(read - GREY[:, :, None]).max() <= 1


def test_bool_is_black_and_white() -> None:
    wanted = np.where(GREY > 127, 255, 0)
    for form in (GREY > 127, torch.from_numpy(GREY > 127), Image.fromarray(GREY > 127)):
        assert np.array_equal(np.asarray(read_picture(form))[:, :, 0], wanted)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    start = {"LA": "L", "PA": "P", "RGBa": "RGBA", "La": "LA"}.get(mode, "RGB")
    read = np.asarray(read_picture(Image.new(start, (3, 2), "white").convert(mode)))
    assert read.shape == (2, 3, 3)
    assert read.min() >= 254


def test_a_picture_that_is_turned_by_exif_is_upright_as_an_object() -> None:
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(TRUTH, 1)))
    turned.getexif()[0x0112] = 6
    assert np.array_equal(np.asarray(read_picture(turned)), TRUTH)


def test_transparent_parts_are_white_and_told() -> None:
    layer = np.dstack([TRUTH, np.full_like(GREY, 255)])
    layer[0, :, 3] = 0
    for form in (layer, Image.fromarray(layer), torch.from_numpy(layer).permute(2, 0, 1)):
        with pytest.warns(Note, match="transparent parts"):
            read = np.asarray(read_picture(form))
        assert (read[0] == 255).all()
        assert np.array_equal(read[1:], TRUTH[1:])
    layer[:, :, 3] = 0
    with pytest.raises(InputError, match="wholly transparent"):
        read_picture(layer)


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (np.full((4, 4, 3), np.nan), "not finite"),
    "infinite": (torch.full((3, 4, 4), float("inf")), "not finite"),
    "0 to 255 as floats": (TRUTH.astype(np.float32), "floats must lie within 0 and 1; these go from"),
    "-1 to 1": (TENSOR / 127.5 - 1, "these go from -1"),
    "0 and 1 as integers": (np.ones((4, 4, 3), np.uint8), "all 0 or 1"),
    "8 bits in 16": (TRUTH.astype(np.uint16), "unknown range"),
    "12 bits in 32": (TRUTH.astype(np.int32) * 16, "unknown range"),
    "negative": (TRUTH.astype(np.int16) - 128, "must not be negative"),
    "mode F, 0 to 255": (Image.fromarray(GREY).convert("F"), "of mode F: floats must lie within 0 and 1"),
    "mode I, 0 to 65535": (Image.fromarray(GREY.astype(np.int32) * 257), "of mode I: int32 up to"),
    "several pictures": (np.zeros((2, 4, 4, 3)), "2 pictures at once"),
    "a video": (torch.zeros(2, 3, 4, 4, 4), "has the shape"),
    "five channels": (np.zeros((8, 8, 5)), "has the shape"),
    "a row": (np.zeros(12), "has the shape"),
    "nothing": (np.zeros((0, 4, 3)), "has the shape"),
    "no pixels": (Image.new("RGB", (0, 4)), "0 x 4 pixels"),
    "words": (np.array([["a"]]), "cannot be read"),
    "objects": (np.array([[None]]), "cannot be read"),
    "complex": (np.ones((4, 4, 3), complex), "cannot be read"),
    "meta": (torch.zeros(3, 4, 4, device="meta"), "cannot be read"),
    "sparse": (torch.zeros(3, 4, 4).to_sparse(), "cannot be read"),
    "a list": ([[0, 0], [0, 0]], "a path, a PIL image, an array or a tensor"),
    "huge": (np.broadcast_to(np.zeros(1, np.uint8), (9000, 9000, 3)), "below 64 megapixels"),
    "huge PIL": (Image.new("1", (9000, 9000)), "below 64 megapixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trusted_is_one_line(name: str) -> None:
    given, line = REFUSED[name]
    with pytest.raises(InputError, match=line) as caught:
        read_picture(given, "reference 1")
    message = str(caught.value)
    assert message.startswith("reference 1")
    assert "\n" not in message


def test_a_pil_image_that_ends_early(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    with pytest.raises(InputError, match="reference 1 is damaged or truncated"):
        read_picture(Image.open(tmp_path / "a.png"), "reference 1")
