"""Drawings with sliders, and still ones where there are no widgets."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip_analysis.drawing import widgets
from dynaip_analysis.drawing.canvas import own_figure

CHOICES = {"low": [0.0, 1.0, 4.0], "branch": ["image", "text"]}
VIEW = "application/vnd.jupyter.widget-view+json"


class Screen:
    """Stands for the notebook: keeps what is displayed, and what it is updated to."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def display(self, what: Any, display_id: bool = False, raw: bool = False) -> Any:
        self.shown.append(what)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(pytest.importorskip("IPython.display"), "display", made.display)
    return made


def paint(low: float, branch: str) -> Image.Image:
    return Image.new("RGB", (4, 4), (int(10 * low), 0, 200 if branch == "text" else 0))


def test_without_widgets_one_still_picture(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert widgets.explore(paint, {"low": 4.0}, **CHOICES) == {}
    (picture,) = screen.shown
    assert picture.getpixel((0, 0)) == (40, 0, 0)


def test_asked_to_stand_still(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAIP_STATIC", "1")
    assert widgets.explore(paint, **CHOICES) == {}
    assert screen.shown[0].getpixel((0, 0)) == (0, 0, 0)


def test_sliders_draw_again(screen: Screen) -> None:
    pytest.importorskip("ipywidgets", reason="pip install 'dynaip[notebooks]'")
    sliders = widgets.explore(paint, {"low": 1.0}, **CHOICES)
    assert [type(each).__name__ for each in sliders.values()] == ["SelectionSlider", "Dropdown"]
    assert screen.shown[0][VIEW]["model_id"]
    assert screen.shown[0]["text/plain"] == "(Move low, branch in a running notebook; here stands the first picture.)"
    assert screen.shown[1].getpixel((0, 0)) == (10, 0, 0)
    sliders["branch"].value = "text"
    assert screen.shown[-1].getpixel((0, 0)) == (10, 0, 200)


def test_what_fails_after_a_move_is_told_where_the_picture_was(screen: Screen) -> None:
    pytest.importorskip("ipywidgets", reason="pip install 'dynaip[notebooks]'")

    def refuse(low: float) -> Image.Image:
        if low > 1:
            raise InputError("too <much>")
        return Image.new("RGB", (4, 4), "red")

    sliders = widgets.explore(refuse, low=[0.0, 4.0])
    sliders["low"].value = 4.0
    assert screen.shown[-1].data == "<pre>InputError: too &lt;much&gt;</pre>"
    sliders["low"].value = 0.0
    assert screen.shown[-1].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("start", "choices", "told"),
    [
        ({}, {"low": []}, "low has no values"),
        ({"lo": 1.0}, CHOICES, "start names 'lo', but the options are low, branch"),
        ({"low": 9.0}, CHOICES, "low cannot start at 9.0"),
    ],
)
def test_values_that_do_not_fit(start: dict[str, Any], choices: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        widgets.explore(paint, start, **choices)


def test_figures_become_pictures() -> None:
    with own_figure((2, 1)) as figure:
        figure.add_subplot().plot([0, 1])
        picture = widgets.as_picture(figure)
    assert picture.size == (220, 110)
    assert picture.format == "PNG"


RED, BLUE = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (4, 4), "blue")


def test_rows_and_sheets() -> None:
    made = widgets.row(RED, BLUE, edge=8, gap=2)
    assert made.size == (18, 8)
    assert made.getpixel((0, 0)) == (255, 0, 0)
    assert made.getpixel((8, 0)) == (255, 255, 255)
    assert made.getpixel((17, 7)) == (0, 0, 255)
    assert widgets.sheet(made, made, gap=3).size == (18, 19)


def inked(picture: Image.Image) -> np.ndarray:
    """Where a picture is dark."""
    return np.asarray(picture.convert("L")) < 128


def test_titles_stand_above_rows_and_left_of_sheets() -> None:
    plain = widgets.row(RED, BLUE, edge=64)
    made = widgets.row(RED, BLUE, titles=["red", "a title of several words"], edge=64)
    top = made.height - 64
    np.testing.assert_array_equal(np.asarray(made)[top:], np.asarray(plain))
    words = inked(made.crop((0, 0, made.width, top)))
    assert words[:, :64].any()
    assert words[:, 68:].any()
    assert words[top // 2 :, 68:].any()  # folded into several lines
    whole = widgets.sheet(plain, plain, titles=["one", "another"])
    left = whole.width - plain.width
    np.testing.assert_array_equal(np.asarray(whole)[:64, left:], np.asarray(plain))
    assert inked(whole.crop((0, 0, left, 64))).any()


def test_what_is_no_picture_is_one_line() -> None:
    with pytest.raises(InputError, match=r"not list; a list is unpacked with \*"):
        widgets.row([RED])  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="give at least one"):
        widgets.sheet()
    with pytest.raises(InputError, match="1 titles do not fit 2 pictures"):
        widgets.row(RED, BLUE, titles=["red"])
