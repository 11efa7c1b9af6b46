"""Figures of what every layer of the encoder holds, with the layers that serve as levels marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.report.style import LIGHT, OKABE_ITO
from dynaip_analysis.bench.labels import AGNOSTIC, FAMILY_NAMES, OTHER, SPECIFIC, Labelled
from dynaip_analysis.drawing import canvas
from dynaip_analysis.granularity.layers import LayerReading
from dynaip_analysis.inference.probes import Probe, probe
from dynaip_analysis.inference.resampling import Sampled, weighted_mean
from dynaip_analysis.inference.similarity import cka_matrix, nearest, nearest_by_chance, nearest_shares, permuted_cka

FAMILY_COLOURS: Mapping[str, str] = {SPECIFIC: OKABE_ITO[0], AGNOSTIC: OKABE_ITO[1], OTHER: OKABE_ITO[2]}


THUMBNAIL = 256
"""Pixels of the longer side of a picture that is drawn."""


@dataclass(frozen=True)
class Layers:
    """Readings of every layer of one encoder, in order, and the layers that the adapter takes as levels."""

    readings: Mapping[str, LayerReading]
    labelled: Labelled
    levels: Mapping[str, str]
    """Layer -> name of the level that it serves as."""

    def probes(self) -> dict[str, list[Probe]]:
        """Probes of every layer for every factor."""
        return {
            layer: probe(each.probed(), self.labelled.factors, self.labelled.groups)
            for layer, each in self.readings.items()
        }

    def label(self, layer: str) -> str:
        """A layer's number, with the level that it serves as."""
        return f"{layer}\n{self.levels[layer]}" if layer in self.levels else layer


def draw_probes(path: Path, layers: Layers, found: Mapping[str, Sequence[Probe]]) -> Path:
    """Draw balanced accuracy by layer, one panel a factor, with its interval, the shuffled labels and guessing."""
    families = layers.labelled.families
    rows = [
        {"layer": layer, "level": layers.levels.get(layer), "family": families.get(each.factor, OTHER), **each.row()}
        for layer, parts in found.items() for each in parts
    ]  # fmt: skip
    order = (SPECIFIC, AGNOSTIC, OTHER)
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    factors.sort(key=lambda name: order.index(families.get(name, OTHER)))
    columns = min(4, len(factors))
    shape = (-(-len(factors) // columns), columns)
    with canvas.drawing(path, rows) as plt:
        size = (2.3 * shape[1] + 0.4, 1.95 * shape[0] + 0.9)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, _most_readable(rows))
        for place, factor in zip(axes.flat, factors, strict=False):
            _probe_panel(place, [row for row in rows if row["factor"] == factor], layers)
        for unused in axes.flat[len(factors) :]:
            unused.set_visible(False)
        for place in axes[-1]:
            place.set_xlabel("layer")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return path


def _most_readable(rows: Sequence[Mapping[str, Any]]) -> str:
    """Per family, the layer with the highest mean selectivity."""
    parts: list[str] = []
    for family in FAMILY_NAMES:
        own = [row for row in rows if row["family"] == family]
        layers = list(dict.fromkeys(row["layer"] for row in own))
        means = {layer: np.mean([row["selectivity"] for row in own if row["layer"] == layer]) for layer in layers}
        if means:
            best = max(means, key=lambda layer: means[layer])
            factors = list(dict.fromkeys(row["factor"] for row in own))
            name = factors[0] if len(factors) == 1 else f"{FAMILY_NAMES[family]} factors"
            parts.append(f"{name} at layer {best} ({means[best]:.2f})")
    return "A linear probe reads best (selectivity): " + ", ".join(parts)


def _probe_panel(axes: Any, rows: Sequence[Mapping[str, Any]], layers: Layers) -> None:
    x = range(len(rows))
    colour = FAMILY_COLOURS[rows[0]["family"]]
    _band(axes, rows, "accuracy", colour)
    axes.plot(x, [row["accuracy"] for row in rows], color=colour, marker="o", markersize=3.5, label="read")
    axes.plot(x, [row["shuffled"] for row in rows], color=LIGHT.quiet, linewidth=1.2, linestyle="--", label="shuffled",
              marker="_" if len(rows) == 1 else None)  # fmt: skip
    axes.axhline(rows[0]["chance"], color=LIGHT.ink, linewidth=0.8, linestyle=":", label="guessing")
    for k, row in enumerate(rows):
        if row["level"]:
            axes.axvline(k, color=LIGHT.line, linewidth=4, zorder=0)
    axes.set_xticks(x, [layers.label(str(row["layer"])) for row in rows], fontsize=7)
    axes.set_ylim(0, 1.02)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_title(str(rows[0]["factor"]), fontsize=9, color=colour, pad=4)


def draw_layers(path: Path, layers: Layers) -> Path:
    """Draw CKA between layers, neighbours by instance and category, and the pixels that a ridge gives back."""
    names = list(layers.readings)
    matrix = cka_matrix({name: each.features for name, each in layers.readings.items()})
    neighbours, psnr = _neighbours(layers), _psnr(layers)
    rows = [
        {"measure": "cka", "layer": a, "other": b, "value": float(matrix[i, j])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    first, *_, last = (each.features for each in (*layers.readings.values(), *layers.readings.values()))
    limit = float(np.percentile(permuted_cka(first, last), 95))
    rows.append({"measure": "cka, 95 % of pictures dealt anew", "layer": names[0], "other": names[-1], "value": limit})
    rows += [row for parts in (*neighbours.values(), psnr) for row in parts]
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.5), layout="constrained", width_ratios=(1.05, 1, 1))
        canvas.headline(figure, _layers_title(neighbours, psnr))
        _cka_panel(figure, axes[0], layers, matrix, limit)
        for k, (name, parts) in enumerate(neighbours.items()):
            _line(axes[1], parts, OKABE_ITO[k], name)
        axes[1].set_title("Nearest other picture is of the same…", fontsize=9.5)
        if not neighbours:
            axes[1].text(
                0.5, 0.5, "no two pictures share a label", ha="center", transform=axes[1].transAxes, fontsize=8
            )
        axes[1].set_ylim(bottom=0)
        _line(axes[2], psnr, OKABE_ITO[2], "ridge")
        axes[2].set_title("Pictures given back (PSNR, dB)", fontsize=9.5)
        for place in axes[1:]:
            place.set_xticks(range(len(names)), [layers.label(name) for name in names], fontsize=7)
            place.set_xlabel("layer")
            place.legend(fontsize=7.5, handlelength=1.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.27))
    return path


def _layers_title(neighbours: Mapping[str, Sequence[Mapping[str, Any]]], psnr: Sequence[Mapping[str, Any]]) -> str:
    first, last = (f"{psnr[k]['value']:.0f}" for k in (0, -1))
    lost = f"Pixels go from {first} to {last} dB with depth" if len(psnr) > 1 else f"Pixels come back with {last} dB"
    parts: list[str] = []
    for name, rows in neighbours.items():
        best = max(rows, key=lambda row: row["value"])
        parts.append(f"by {name} at layer {best['layer']} ({best['value']:.2f})")
    return f"{lost}; neighbours are found best {', '.join(parts)}" if parts else lost


def _neighbours(layers: Layers) -> dict[str, list[dict[str, Any]]]:
    """By instance; and by category among pictures of other instances, which would else be found by their own."""
    groups, categories = layers.labelled.groups, layers.labelled.categories
    found: dict[str, list[dict[str, Any]]] = {}
    for name, labels, apart in (("instance", groups, None), ("category", categories, groups)):
        chance = float("nan") if labels is None else nearest_by_chance(labels, apart)
        if labels is None or not np.isfinite(chance):
            continue
        for layer, each in layers.readings.items():
            share = _mean_of(nearest_shares(each.means(), labels, apart), groups)
            row = {"measure": f"nearest by {name}", "layer": layer, "chance": chance, **share.row("value")}
            found.setdefault(name, []).append(row)
    return found


def _psnr(layers: Layers) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for layer, each in layers.readings.items():
        own = _mean_of(each.psnr, layers.labelled.groups[each.held_out])
        rows.append({"measure": "psnr", "layer": layer, "chance": float(each.psnr_of_mean.mean()), **own.row("value")})
    return rows


def _mean_of(values: Any, groups: Any) -> Sampled:
    known = np.isfinite(values)
    return weighted_mean(np.where(known, values, 0.0), known.astype(float), groups)


def _line(axes: Any, rows: Sequence[Mapping[str, Any]], colour: str, name: str) -> None:
    x = range(len(rows))
    _band(axes, rows, "value", colour)
    axes.plot(x, [row["value"] for row in rows], color=colour, marker="o", markersize=4, label=name)
    word = "mean patch alone" if rows[0]["measure"] == "psnr" else f"{name}, by chance"
    axes.axhline(rows[0]["chance"], color=colour, linewidth=1, linestyle=":", label=word)


def _band(axes: Any, rows: Sequence[Mapping[str, Any]], name: str, colour: str) -> None:
    """Intervals over layers; a bar where there is one layer alone."""
    x = range(len(rows))
    low, high = ([row[f"{name}_{end}"] for row in rows] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if len(rows) == 1:
        axes.vlines(x, low, high, color=colour, alpha=0.4, linewidth=2)


def _cka_panel(figure: Any, axes: Any, layers: Layers, matrix: Any, limit: float) -> None:
    names = list(layers.readings)
    drawn = axes.imshow(matrix, vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), [layers.label(name) for name in names], fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("How alike layers are (unbiased CKA)", fontsize=9.5)
    axes.set_xlabel(f"layer; pictures dealt anew: below {limit:.3f}")
    canvas.scale_bar(figure, drawn, axes, "CKA")


def draw_neighbours(path: Path, layers: Layers, shown: int) -> Path:
    """Draw the nearest picture of another instance in every layer: what a layer takes to be alike."""
    groups, images = layers.labelled.groups, layers.labelled.images
    pairs = {layer: nearest(each.means(), groups)[:shown] for layer, each in layers.readings.items()}
    categories = layers.labelled.categories
    rows = [
        {"layer": layer, "image": k, "nearest": int(other),
         "same_category": None if categories is None else bool(categories[k] == categories[other])}
        for layer, found in pairs.items() for k, other in enumerate(found)
    ]  # fmt: skip
    shape = (min(shown, len(images)), len(pairs) + 1)
    with canvas.drawing(path, rows) as plt:
        size = (1.15 * shape[1] + 0.2, 1.15 * shape[0] + 0.75)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, "The nearest picture of another instance, by layer: what a layer takes to be alike")
        for k in range(shape[0]):
            canvas.show_image(axes[k, 0], _thumbnail(images[k]), "picture" if k == 0 else "")
            for column, (layer, found) in enumerate(pairs.items(), 1):
                title = f"layer {layers.label(layer)}" if k == 0 else ""
                if found[k] >= 0:
                    canvas.show_image(axes[k, column], _thumbnail(images[found[k]]), title)
                else:
                    canvas.bare(axes[k, column], title)
    return path


def draw_colours(path: Path, images: Sequence[Image.Image], layers: Layers) -> Path:
    """Draw patches of some pictures as colours: three principal axes, fitted to all pictures of a layer together."""
    shape = (len(images), len(layers.readings) + 1)
    rows = [
        {"layer": layer, "image": b, "row": i, "column": j, "axis": c, "value": float(value)}
        for layer, each in layers.readings.items()
        for (b, i, j, c), value in np.ndenumerate(each.colours[: len(images)])
    ]
    with canvas.drawing(path, rows) as plt:
        size = (1.15 * shape[1] + 0.2, 1.15 * shape[0] + 0.75)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
        canvas.headline(figure, "Patches of each layer as colours: like colours, like features")
        for b, image in enumerate(images):
            canvas.show_image(axes[b, 0], _thumbnail(image), "picture" if b == 0 else "")
            for k, (layer, each) in enumerate(layers.readings.items()):
                canvas.show_image(axes[b, k + 1], each.colours[b], f"layer {layers.label(layer)}" if b == 0 else "")
    return path


def _thumbnail(image: Image.Image) -> Image.Image:
    """A square, so that pictures of any shape stand in line: a large one made smaller, white beside what is not square."""
    image = image.convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    square = Image.new("RGB", (max(image.size), max(image.size)), "white")
    square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
    return square
