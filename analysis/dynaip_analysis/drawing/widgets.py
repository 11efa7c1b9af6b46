"""Sliders for a drawing in a notebook; where no widgets are installed the drawing stands still."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from dynaip.errors import InputError
from dynaip.report.style import LIGHT
from dynaip.suggest import one_line
from dynaip_analysis.drawing.canvas import png_of

STATIC = "DYNAIP_STATIC"
"""Environment variable: anything but empty keeps drawings still even where widgets are installed."""

Draw = Callable[..., Any]
LETTERS = 12
"""Height of captions in pixels."""


def explore(draw: Draw, start: Mapping[str, Any] | None = None, **choices: Sequence[Any]) -> dict[str, Any]:
    """Show ``draw(**values)`` with one slider an option, and draw again whenever one is moved.

    ``choices`` are the values that each option may take, ``start`` those to begin with (otherwise the first of each).
    The picture is an ordinary output of the cell, so that a page without widgets keeps it. ``draw`` gives a picture or a
    matplotlib figure; what it raises after a move stands in the picture's place, as one line. Gives the sliders by option;
    none where there are no widgets. Raises ``InputError`` for an option without values, or a start that is none of them.
    """
    display: Any = importlib.import_module("IPython.display")
    values = _start(start or {}, choices)
    widgets = widgets_here()
    if widgets is None:
        display.display(as_picture(draw(**values)))
        return {}
    sliders = {name: slider(widgets, name, options, values[name]) for name, options in choices.items()}
    # Sliders wrap where the page is narrow; a page that cannot show widgets has a sentence instead.
    box = widgets.HBox(list(sliders.values()), layout=widgets.Layout(flex_flow="row wrap"))
    told = f"(Move {', '.join(sliders)} in a running notebook; here stands the first picture.)"
    display.display({**box._repr_mimebundle_(), "text/plain": told}, raw=True)
    shown = display.display(as_picture(draw(**values)), display_id=True)

    def again(change: Any) -> None:
        try:
            picture = as_picture(draw(**{name: each.value for name, each in sliders.items()}))
        except Exception as error:  # a callback's traceback is shown nowhere
            picture = display.HTML(f"<pre>{escape(one_line(error))}</pre>")
        shown.update(picture)

    for each in sliders.values():
        each.observe(again, names="value")
    return sliders


def _start(start: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The value that each option begins with."""
    for name, options in choices.items():
        if not len(options):
            raise InputError(f"explore: {name} has no values to choose from")
    for name, value in start.items():
        if name not in choices:
            raise InputError(f"explore: start names {name!r}, but the options are {', '.join(choices) or 'none'}")
        if value not in choices[name]:
            raise InputError(f"explore: {name} cannot start at {value!r}; it is one of {list(choices[name])}")
    return {name: start.get(name, options[0]) for name, options in choices.items()}


def widgets_here() -> Any:
    """ipywidgets, or None where they are not installed or not wanted."""
    if os.environ.get(STATIC):
        return None
    try:
        return importlib.import_module("ipywidgets")
    except ImportError:
        return None


def slider(widgets: Any, name: str, options: Sequence[Any], value: Any) -> Any:
    """A slider over values for numbers, a menu for words; labels are never cut."""
    whole: dict[str, Any] = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if any(isinstance(each, str) for each in options):
        return widgets.Dropdown(options=list(options), value=value, **whole)
    return widgets.SelectionSlider(options=list(options), value=value, continuous_update=False, **whole)


def as_picture(drawn: Any) -> Any:
    """A matplotlib figure as a picture (PNG); anything else as it is."""
    if not hasattr(drawn, "savefig"):
        return drawn
    return Image.open(io.BytesIO(png_of(drawn)))


def row(*images: Image.Image, titles: Sequence[str] = (), edge: int = 128, gap: int = 4) -> Image.Image:
    """Pictures beside each other, each ``edge`` pixels high and wide, pixel for pixel, with a title above each if given."""
    _check(images, titles)
    lines = max((_folded(title, edge).count("\n") + 1 for title in titles), default=0)
    top = lines * (LETTERS + 4) + (3 if lines else 0)
    sheet = Image.new("RGB", ((edge + gap) * len(images) - gap, top + edge), "white")
    for place, image in enumerate(images):
        sheet.paste(image.resize((edge, edge), Image.Resampling.NEAREST), (place * (edge + gap), top))
    for place, title in enumerate(titles):
        _write(sheet, _folded(title, edge), place * (edge + gap), 0)
    return sheet


def sheet(*rows: Image.Image, titles: Sequence[str] = (), gap: int = 4) -> Image.Image:
    """Rows below each other, with a title on the left of each if given."""
    _check(rows, titles)
    left = max((_width(title) for title in titles), default=0) + (3 * gap if titles else 0)
    size = left + max(each.width for each in rows), sum(each.height + gap for each in rows) - gap
    whole = Image.new("RGB", size, "white")
    top = 0
    for place, each in enumerate(rows):
        whole.paste(each, (left, top))
        if titles:
            _write(whole, titles[place], 0, top + each.height // 2 - LETTERS // 2)
        top += each.height + gap
    return whole


def _check(pictures: Sequence[Any], titles: Sequence[str]) -> None:
    if not pictures:
        raise InputError("no pictures to show: give at least one")
    wrong = next((each for each in pictures if not isinstance(each, Image.Image)), None)
    if wrong is not None:
        raise InputError(f"row and sheet show pictures (PIL), not {type(wrong).__name__}; a list is unpacked with *")
    if titles and len(titles) != len(pictures):
        raise InputError(f"{len(titles)} titles do not fit {len(pictures)} pictures: give one for each")


@cache
def _font() -> Any:
    """Matplotlib's own font: figures have it, too, and it knows signs that Pillow's lacks."""
    matplotlib: Any = importlib.import_module("matplotlib")
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", LETTERS)


def _width(text: str) -> int:
    return int(_font().getlength(text)) + 1


def _folded(text: str, width: int) -> str:
    """Words in lines that are at most ``width`` pixels wide, where a word alone is not wider."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _write(sheet: Image.Image, text: str, x: int, y: int) -> None:
    ImageDraw.Draw(sheet).text((x, y), text, fill=LIGHT.ink, font=_font())
