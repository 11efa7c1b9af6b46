"""The CP-PF plane: limits, panels, and names that cover nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from dynaip.ablation.statistics import Estimate
from dynaip.report import plane
from dynaip.report.style import LIGHT, arm_colour, arm_marker, figure_style


def point(name: str, cp: float, pf: float, *, baseline: bool = False) -> plane.PlanePoint:
    both = (Estimate(value, value - 0.02, value + 0.02, 100) for value in (cp, pf))
    return plane.PlanePoint(name, *both, arm_colour(0), arm_marker(0), baseline)


def crowd(count: int = 8) -> list[plane.PlanePoint]:
    rng = np.random.default_rng(0)
    spots = rng.normal((0.4, 0.9), (0.03, 0.02), size=(count, 2))
    return [point(f"fusion_{k}-policy_{k}", *map(float, spot)) for k, spot in enumerate(spots)]


@pytest.mark.parametrize("count", [2, 5, 8])
def test_names_cover_neither_each_other_nor_a_point(count: int) -> None:
    points = crowd(count)
    with figure_style() as plt:
        figure, axes = plt.subplots(figsize=(4.7, 4.0), layout="constrained")
        left, right, bottom, top = plane.limits(points)
        axes.set(xlim=(left, right), ylim=(bottom, top))
        figure.canvas.draw()
        labels = plane.place_labels(axes, points, [each.name for each in points], LIGHT)
        boxes = [Bbox.from_extents(plane.text_box(label)) for label in labels]
        spots = axes.transData.transform([(each.cp.value, each.pf.value) for each in points])
        assert len(labels) == count
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert not any(box.contains(*spot) for box in boxes for spot in spots)


def test_limits_hold_every_interval() -> None:
    left, right, bottom, top = plane.limits([point("a", 0.2, 0.5), point("b", 0.99, 0.99)])
    assert left <= 0.18
    assert right >= 1.01
    assert bottom <= 0.48
    assert top <= 1.02


def test_arms_that_lie_close_get_a_panel_of_their_own() -> None:
    far = point("microworld", 0.9, 0.5, baseline=True)
    close, whole = plane.panels([*crowd(4), far])
    assert whole.labelled == {"microworld"}
    assert "microworld" not in {each.name for each in close.points}
    assert len(plane.panels(crowd(4))) == 1


def test_a_drawing_is_the_same_every_time_and_has_a_night_version() -> None:
    panel = plane.panels(crowd(3))[0]
    drawn = plane.draw(panel)
    assert drawn == plane.draw(panel)
    assert LIGHT.ink.encode() in drawn
    assert LIGHT.ink.encode() not in plane.at_night(drawn)


def test_arms_differ_in_colour_or_marker() -> None:
    looks = {(arm_colour(k), arm_marker(k)) for k in range(40)}
    assert len(looks) == 40
