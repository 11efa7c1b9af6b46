"""The CP-PF plane: every arm as a point with its intervals, over curves of equal CP·PF."""

from __future__ import annotations

import importlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynaip.ablation.statistics import Estimate
from dynaip.plain import plain
from dynaip.report.style import DARK, LIGHT, Theme, figure_style

CURVES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
AROUND = ((1, 0.5), (1, -0.5), (1, 1), (1, -1), (-1, 0.5), (-1, -0.5), (-1, 1), (-1, -1), (0, 1), (0, -1))
OFFSETS: Sequence[tuple[float, float]] = [
    *((9, 6), (9, -6), (-9, 6), (-9, -6), (0, 12), (0, -12)),
    *((x * step, y * step) for step in (16, 26, 38, 52, 68, 86) for x, y in AROUND),
]
"""Where a name may stand beside its point, in typographic points; the first that covers nothing is taken."""

Limits = tuple[float, float, float, float]
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class PlanePoint:
    """One arm in the plane."""

    name: str
    cp: Estimate
    pf: Estimate
    colour: str
    marker: str
    baseline: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture of the plane: which points, which limits, and what to see."""

    title: str
    points: tuple[PlanePoint, ...]
    labelled: frozenset[str]


def panels(points: Sequence[PlanePoint]) -> list[Panel]:
    """Where the arms lie; then all, if something shown for comparison lies elsewhere."""
    arms = tuple(point for point in points if not point.baseline)
    names = frozenset(point.name for point in points)
    if len(arms) in (0, len(points)):
        return [Panel("", tuple(points), names)]
    left, right, bottom, top = limits(arms)
    near = tuple(
        point
        for point in points
        if not point.baseline or (left <= point.cp.value <= right and bottom <= point.pf.value <= top)
    )
    own = Panel("where the arms lie", near, frozenset(point.name for point in near))
    if len(near) == len(points):
        return [Panel("", own.points, own.labelled)]
    beside = names - own.labelled
    return [own, Panel("all", tuple(points), beside)]


def limits(points: Sequence[PlanePoint]) -> Limits:
    """Left, right, bottom, top that hold all points and intervals with a margin, within [0, 1.02]."""
    edges: list[float] = []
    for axis in ("cp", "pf"):
        values = [value for point in points for value in _edges(getattr(point, axis))]
        low, high = min(values), max(values)
        margin = max(0.12 * (high - low), 0.02)
        edges += [max(0.0, low - margin), min(1.02, high + margin)]
    return edges[0], edges[1], edges[2], edges[3]


def _edges(estimate: Estimate) -> list[float]:
    return [value for value in (estimate.value, estimate.low, estimate.high) if np.isfinite(value)]


def draw(panel: Panel, theme: Theme = LIGHT) -> bytes:
    """Draw one panel as SVG on a transparent ground."""
    with figure_style(theme) as plt:
        figure, axes = plt.subplots(figsize=(4.7, 4.0), layout="constrained")
        left, right, bottom, top = limits(panel.points)
        axes.set(
            xlim=(left, right), ylim=(bottom, top), xlabel="CP  concept preservation", ylabel="PF  prompt following"
        )
        _curves(axes, (left, right, bottom, top), theme)
        for point in panel.points:
            _point(axes, point, theme)
        figure.draw_without_rendering()
        place_labels(axes, panel.points, panel.labelled, theme)
        target = io.BytesIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return target.getvalue()


def at_night(picture: bytes) -> bytes:
    """The same picture in the dark theme's ink."""
    for light, dark in ((LIGHT.ink, DARK.ink), (LIGHT.quiet, DARK.quiet), (LIGHT.line, DARK.line)):
        picture = picture.replace(light.encode(), dark.encode())
    return picture


def _curves(axes: Any, edges: Limits, theme: Theme) -> None:
    left, right, bottom, top = edges
    across = np.linspace(max(left, 1e-3), right, 200)
    for product in CURVES:
        up = product / across
        inside = (up >= bottom) & (up <= top)
        if inside.sum() < 8:
            continue
        axes.plot(across[inside], up[inside], color=theme.line, linewidth=1, zorder=1)
        end = int(np.flatnonzero(inside)[-1])
        axes.annotate(
            f"{product:g}", (across[end], up[end]), color=theme.quiet, fontsize=7.5, ha="right", va="bottom", zorder=1
        )


def _point(axes: Any, point: PlanePoint, theme: Theme) -> None:
    axes.errorbar(
        point.cp.value,
        point.pf.value,
        xerr=_bars(point.cp),
        yerr=_bars(point.pf),
        color=point.colour,
        marker=point.marker,
        markersize=6.5,
        markeredgecolor=point.colour,
        markerfacecolor="none" if point.baseline else point.colour,
        elinewidth=1.1,
        alpha=0.9,
        zorder=3,
    )


def _bars(estimate: Estimate) -> list[list[float]] | None:
    if np.isnan(estimate.low):
        return None
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


def place_labels(axes: Any, points: Sequence[PlanePoint], named: Collection[str], theme: Theme) -> list[Any]:
    """Name every point where its name covers no other name and no point; a thin line leads to names set further off."""
    labels: list[Any] = []
    for point in sorted((point for point in points if point.name in named), key=lambda point: -point.pf.value):
        labels.append(_placed(axes, point, points, labels, theme))
    return labels


def _placed(axes: Any, point: PlanePoint, points: Sequence[PlanePoint], others: Sequence[Any], theme: Theme) -> Any:
    taken = [text_box(other) for other in others]
    marks, bars = _obstacles(axes, points)
    label = _label(axes, point, (0, 0), theme)
    size = text_box(label)
    width, height = size[2] - size[0], size[3] - size[1]
    label.remove()
    spot: tuple[float, float] = tuple(axes.transData.transform((point.cp.value, point.pf.value)).tolist())
    scale = float(axes.figure.dpi) / 72
    frame = _rectangle(axes.bbox)

    def cost(offset: tuple[float, float]) -> float:
        x, y = spot[0] + offset[0] * scale, spot[1] + offset[1] * scale
        left = x if offset[0] > 0 else x - width if offset[0] < 0 else x - width / 2
        box = (left, y - height / 2, left + width, y + height / 2)
        # a label further away only wins if it clears something
        return _cost(box, taken, marks, bars, frame) + 0.01 * (abs(offset[0]) + abs(offset[1]))

    return _label(axes, point, min(OFFSETS, key=cost), theme)


def text_box(label: Any) -> Rectangle:
    """Left, bottom, right, top of a name in pixels, without the line that leads to it."""
    text: Any = importlib.import_module("matplotlib.text").Text
    renderer = label.figure.canvas.get_renderer()
    label.update_positions(renderer)
    return _rectangle(text.get_window_extent(label, renderer))


def _rectangle(box: Any) -> Rectangle:
    return float(box.x0), float(box.y0), float(box.x1), float(box.y1)


def _obstacles(axes: Any, points: Sequence[PlanePoint]) -> tuple[list[Rectangle], list[Rectangle]]:
    marks: list[Rectangle] = []
    bars: list[Rectangle] = []
    for point in points:
        cp, pf = _edges(point.cp), _edges(point.pf)
        (x, y), (left, low), (right, high) = axes.transData.transform(
            [(point.cp.value, point.pf.value), (min(cp), min(pf)), (max(cp), max(pf))]
        ).tolist()
        marks.append((x - 5, y - 5, x + 5, y + 5))
        bars += [(left, y - 1, right, y + 1), (x - 1, low, x + 1, high)]
    return marks, bars


def _label(axes: Any, point: PlanePoint, offset: tuple[float, float], theme: Theme) -> Any:
    across, up = offset
    far = abs(across) + abs(up) > 24
    return axes.annotate(
        plain(point.name),
        (point.cp.value, point.pf.value),
        parse_math=False,  # a name with dollars is no formula
        xytext=offset,
        textcoords="offset points",
        ha="left" if across > 0 else "right" if across < 0 else "center",
        va="center",
        fontsize=8,
        color=theme.ink,
        zorder=4,
        arrowprops={"arrowstyle": "-", "color": theme.quiet, "linewidth": 0.6, "shrinkB": 4} if far else None,
    )


def _cost(
    box: Rectangle,
    taken: Sequence[Rectangle],
    marks: Sequence[Rectangle],
    bars: Sequence[Rectangle],
    frame: Rectangle,
) -> float:
    outside = max(0.0, frame[0] - box[0], box[2] - frame[2], frame[1] - box[1], box[3] - frame[3])
    return (
        sum(1000.0 for other in taken if _meet(box, other))
        + sum(300.0 for mark in marks if _meet(box, mark))
        + sum(4.0 for bar in bars if _meet(box, bar))
        + (500.0 + outside if outside else 0.0)
    )


def _meet(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
