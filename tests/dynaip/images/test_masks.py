"""One mask in every form that people give: each is read as its grey values say, or as its alpha channel, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.errors import InputError
from dynaip.images import read_mask

HARD = np.zeros((6, 9), dtype=np.uint8)
HARD[:4, 2:7] = 255
SOFT = HARD.copy()
SOFT[2, :] = 102
NONE = np.zeros_like(SOFT)


def palette(
    values: Any, *, transparent: int | None = None, colours: tuple[int, ...] = (0, 0, 0, 255, 255, 255)
) -> Image.Image:
    image = Image.fromarray((values > 0).astype(np.uint8), "P")
    image.putpalette(colours)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def layered(grey: Any, alpha: Any) -> Image.Image:
    return Image.fromarray(np.dstack([grey, grey, grey, alpha]).astype(np.uint8))


def turned(image: Image.Image) -> Image.Image:
    image = image.transpose(Image.Transpose.ROTATE_90)
    image.getexif()[0x0112] = 6
    return image


FORMS: dict[str, Any] = {
    "uint8": SOFT,
    "float": SOFT / 255,
    "float32 x 1": (SOFT / np.float32(255))[:, :, None],
    "uint16": SOFT.astype(np.uint16) * 257,
    "uint16, 0 to 255": SOFT.astype(np.uint16),
    "int64": SOFT.astype(np.int64),
    "int32, 0 to 65535": SOFT.astype(np.int32) * 257,
    "RGB": np.dstack([SOFT] * 3),
    "channels first": np.stack([SOFT] * 3),
    "batch of one": SOFT[None, None],
    "tensor": torch.from_numpy(SOFT),
    "tensor 1 x": torch.from_numpy(SOFT / 255)[None],
    "tensor 1 x 1 x": torch.from_numpy(SOFT / 255)[None, None].bfloat16(),
    "tensor x 1": torch.from_numpy(SOFT)[:, :, None],
    "L": Image.fromarray(SOFT),
    "RGB image": Image.fromarray(SOFT).convert("RGB"),
    "CMYK": Image.fromarray(SOFT).convert("RGB").convert("CMYK"),
    "I;16": Image.fromarray(SOFT.astype(np.uint16) * 257),
    "I": Image.fromarray(SOFT.astype(np.int32)),
    "F": Image.fromarray((SOFT / 255).astype(np.float32)),
    "alpha, black": layered(NONE, SOFT),
    "alpha, white": layered(NONE + 255, SOFT),
    "alpha of LA": Image.fromarray(np.dstack([NONE, SOFT]), "LA"),
    "alpha of RGBa": layered(NONE, SOFT).convert("RGBa"),
    "alpha as array": np.dstack([NONE, NONE, NONE, SOFT]),
    "alpha as tensor": torch.from_numpy(np.stack([NONE, NONE, NONE, SOFT])),
    "alpha as floats": np.dstack([NONE, SOFT]) / 255,
    "a white shape on black nothing": layered(np.where(SOFT, 255, 0), SOFT),
    "grey and alpha say the same": layered(SOFT, SOFT),
    "opaque RGBA": layered(SOFT, NONE + 255),
    "alpha of one value": layered(SOFT, NONE + 128),
    "a cut-out": Image.fromarray(
        np.dstack([np.random.default_rng(0).integers(0, 255, (6, 9, 3)), SOFT]).astype(np.uint8)
    ),
    "turned by EXIF": turned(Image.fromarray(SOFT)),
    "alpha turned by EXIF": turned(layered(NONE, SOFT)),
}
BINARY: dict[str, Any] = {
    "bool": HARD > 0,
    "bool tensor": torch.from_numpy(HARD > 0)[None],
    "0 and 1": (HARD > 0).astype(np.uint8),
    "0 and 1, int64": (HARD > 0).astype(np.int64),
    "0 and 1, uint16": (HARD > 0).astype(np.uint16),
    "L of 0 and 1": Image.fromarray((HARD > 0).astype(np.uint8)),
    "mode 1": Image.fromarray(HARD > 0),
    "palette": palette(HARD),
    "palette, white first": palette(255 - HARD, colours=(255, 255, 255, 0, 0, 0)),
    "palette with transparency": palette(HARD, transparent=0, colours=(0, 0, 0, 0, 0, 0)),
    "PA": layered(NONE, HARD).convert("PA"),
    "a colour on black": palette(HARD, colours=(0, 0, 0, 128, 0, 0)),
    "red on black": np.dstack([HARD, NONE, NONE]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_is_the_mask(form: str) -> None:
    read = read_mask(FORMS[form], "reference 1")
    assert read.dtype == np.float32
    assert read.shape == SOFT.shape
    assert np.abs(read - SOFT / 255).max() <= 3e-3


@pytest.mark.parametrize("form", BINARY)
def test_masks_of_two_values(form: str) -> None:
    assert np.array_equal(read_mask(BINARY[form], "reference 1"), HARD / 255)


@pytest.mark.parametrize("form", [name for name, value in (FORMS | BINARY).items() if isinstance(value, Image.Image)])
def test_files_are_read_as_objects_are(form: str, tmp_path: Path) -> None:
    image = (FORMS | BINARY)[form]
    suffix = "tif" if image.mode in ("CMYK", "F", "I", "PA") else "png"
    image = image.convert("RGBA") if image.mode in ("PA", "RGBa") else image
    image.save(tmp_path / f"mask.{suffix}", exif=image.getexif())
    read = read_mask(str(tmp_path / f"mask.{suffix}"), "reference 1")
    assert np.abs(read - read_mask(image, "reference 1")).max() <= 1e-6


def test_jpeg_masks_are_grey_enough(tmp_path: Path) -> None:
    Image.fromarray(np.kron(HARD, np.ones((8, 8), np.uint8))).convert("RGB").save(tmp_path / "mask.jpg", quality=60)
    read = read_mask(tmp_path / "mask.jpg", "reference 1")
    assert np.abs(read[4::8, 4::8] - HARD / 255).max() <= 0.05


REFUSED: dict[str, tuple[Any, str]] = {
    "empty": (NONE, "the mask is empty"),
    "empty alpha": (layered(NONE, NONE), "the mask is empty"),
    "empty alpha of a white picture": (layered(NONE + 255, NONE), "the mask is empty"),
    "NaN": (np.full((4, 4), np.nan), "not finite"),
    "floats to 255": (SOFT.astype(np.float32), "within 0 and 1; these go from 0 to 255"),
    "F to 255": (Image.fromarray(SOFT).convert("F"), "within 0 and 1"),
    "numbers of classes": (HARD.astype(np.int32) * 4, "these integers go up to 1020"),
    "negative": (SOFT.astype(np.int16) - 255, "must not be negative"),
    "colours": (np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8), "is coloured"),
    "two answers": (layered(SOFT, SOFT[::-1]), "has grey values and an alpha channel that both vary"),
    "several": (np.ones((2, 4, 4, 1)), "2 pictures at once"),
    "five channels": (np.ones((8, 8, 5)), "height x width"),
    "words": (np.array([["a"]]), "cannot be read"),
    "a number": (3, "a box or a mask, not int"),
    "huge": (np.broadcast_to(np.ones(1, np.uint8), (9000, 9000)), "below 64 megapixels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mask_is_one_line(name: str) -> None:
    given, line = REFUSED[name]
    with pytest.raises(InputError, match=line) as caught:
        read_mask(given, "reference 1")
    message = str(caught.value)
    assert message.startswith("reference 1")
    assert "\n" not in message
