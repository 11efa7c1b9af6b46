"""A contact sheet: pictures of one size side by side, each with words below it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 8
"""Pixels between pictures, and around them."""
INK, PAPER = "#1d2129", "#ffffff"
WIDEST = 6000
"""Pixels of a sheet's longer edge at most; pictures are made smaller for it."""


def contact_sheet(pictures: Sequence[Image.Image], words: Sequence[str], columns: int | None = None) -> Image.Image:
    """Lay out pictures in rows, nearly as many rows as columns unless ``columns`` are given; the first sets the size.

    Each picture has its words below it, a line for each of theirs; what is wider than the picture is cut.
    """
    across = columns or math.ceil(math.sqrt(len(pictures)))
    down = math.ceil(len(pictures) / across)
    width, height = _size(pictures[0].size, across, down)
    letters = max(11, min(28, height // 12))
    font = ImageFont.load_default(size=letters)
    line = math.ceil(letters * 1.5) * max((len(word.splitlines()) for word in words), default=0)
    sheet = Image.new("RGB", (GAP + across * (width + GAP), GAP + down * (height + line + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (picture, word) in enumerate(zip(pictures, words, strict=True)):
        left, top = GAP + place % across * (width + GAP), GAP + place // across * (height + line + GAP)
        same = picture.size == (width, height)
        sheet.paste(picture if same else picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        told = "\n".join(_cut(each, font, width) for each in word.splitlines())
        draw.multiline_text((left, top + height + 1), told, fill=INK, font=font)
    return sheet


def _size(size: tuple[int, int], across: int, down: int) -> tuple[int, int]:
    ratio = min(1.0, WIDEST / (across * size[0]), WIDEST / (down * size[1]))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _cut(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while len(word) > 1 and font.getlength(word) > width:
        word = word.removesuffix("…")[:-1] + "…"
    return word
