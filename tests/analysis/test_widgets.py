"""Drawings with sliders, and still ones where there are no widgets."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from dynaip_analysis import widgets
from dynaip_analysis.figures import own_figure

CHOICES = {"low": [0.0, 1.0, 4.0], "branch": ["image", "text"]}


class Screen:
    """Stands for the notebook: keeps what is displayed, and what it is updated to."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def display(self, what: Any, display_id: bool = False) -> Any:
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
    assert screen.shown[1].getpixel((0, 0)) == (10, 0, 0)
    sliders["branch"].value = "text"
    assert screen.shown[-1].getpixel((0, 0)) == (10, 0, 200)


def test_figures_become_pictures() -> None:
    with own_figure((2, 1)) as figure:
        figure.add_subplot().plot([0, 1])
        picture = widgets.as_picture(figure)
    assert picture.size == (220, 110)
    assert picture.format == "PNG"


def test_rows_and_sheets() -> None:
    red, blue = Image.new("RGB", (2, 2), "red"), Image.new("RGB", (4, 4), "blue")
    made = widgets.row(red, blue, edge=8, gap=2)
    assert made.size == (18, 8)
    assert made.getpixel((0, 0)) == (255, 0, 0)
    assert made.getpixel((8, 0)) == (255, 255, 255)
    assert made.getpixel((17, 7)) == (0, 0, 255)
    assert widgets.sheet(made, made, gap=3).size == (18, 19)
