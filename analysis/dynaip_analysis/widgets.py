"""Sliders for a drawing in a notebook; where no widgets are installed the drawing stands still."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

STATIC = "DYNAIP_STATIC"
"""Environment variable: anything but empty keeps drawings still even where widgets are installed."""

Draw = Callable[..., Any]


def explore(draw: Draw, start: Mapping[str, Any] | None = None, **choices: Sequence[Any]) -> dict[str, Any]:
    """Show ``draw(**values)`` with one slider an option, and draw again whenever one is moved.

    ``choices`` are the values that each option may take, ``start`` those to begin with (otherwise the first of each).
    The picture is an ordinary output of the cell, so that a page without widgets keeps it. ``draw`` gives a picture or a
    matplotlib figure. Gives the sliders by option; none where there are no widgets.
    """
    display: Any = importlib.import_module("IPython.display")
    values = {name: (start or {}).get(name, options[0]) for name, options in choices.items()}
    widgets = widgets_here()
    if widgets is None:
        display.display(as_picture(draw(**values)))
        return {}
    sliders = {name: slider(widgets, name, options, values[name]) for name, options in choices.items()}
    display.display(widgets.HBox(list(sliders.values())))
    shown = display.display(as_picture(draw(**values)), display_id=True)

    def again(change: Any) -> None:
        shown.update(as_picture(draw(**{name: each.value for name, each in sliders.items()})))

    for each in sliders.values():
        each.observe(again, names="value")
    return sliders


def widgets_here() -> Any:
    """ipywidgets, or None where they are not installed or not wanted."""
    if os.environ.get(STATIC):
        return None
    try:
        return importlib.import_module("ipywidgets")
    except ImportError:
        return None


def slider(widgets: Any, name: str, options: Sequence[Any], value: Any) -> Any:
    """A slider over values for numbers, a menu for words."""
    if any(isinstance(each, str) for each in options):
        return widgets.Dropdown(options=list(options), value=value, description=name)
    return widgets.SelectionSlider(options=list(options), value=value, description=name, continuous_update=False)


def as_picture(drawn: Any) -> Any:
    """A matplotlib figure as a picture (PNG); anything else as it is."""
    if not hasattr(drawn, "savefig"):
        return drawn
    target = io.BytesIO()
    drawn.savefig(target, format="png", dpi=110)
    target.seek(0)
    return Image.open(target)


def row(*images: Image.Image, edge: int = 128, gap: int = 4) -> Image.Image:
    """Pictures beside each other, each ``edge`` pixels high and wide, pixel for pixel."""
    sheet = Image.new("RGB", ((edge + gap) * len(images) - gap, edge), "white")
    for place, image in enumerate(images):
        sheet.paste(image.resize((edge, edge), Image.Resampling.NEAREST), (place * (edge + gap), 0))
    return sheet


def sheet(*rows: Image.Image, gap: int = 4) -> Image.Image:
    """Rows below each other."""
    whole = Image.new("RGB", (max(each.width for each in rows), sum(each.height + gap for each in rows) - gap), "white")
    top = 0
    for each in rows:
        whole.paste(each, (0, top))
        top += each.height + gap
    return whole
