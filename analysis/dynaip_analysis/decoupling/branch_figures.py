"""Figures of what each branch's term carries, how alike the branches are, and when they part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.report.style import LIGHT
from dynaip_analysis.bench.labels import AGNOSTIC, FAMILY_NAMES, OTHER, SPECIFIC
from dynaip_analysis.decoupling.branches import (
    Carried,
    Moment,
    Terms,
    carried_rows,
    family_means,
    features_of,
    index_of,
)
from dynaip_analysis.drawing import canvas
from dynaip_analysis.inference.resampling import Sampled
from dynaip_analysis.inference.similarity import cka_matrix, permuted_cka, unbiased_cka

OFFSETS: Mapping[str, float] = {"image": -0.16, "text": 0.16}
MARKERS: Mapping[str, str] = {"image": "o", "text": "s"}


def draw_carried(path: Path, found: Carried, families: Mapping[str, str]) -> Path:
    """Draw the selectivity of every factor by branch with its interval; zero is what shuffled labels reach."""
    rows = carried_rows(found, families)
    factors = sorted(
        dict.fromkeys(each.factor for probes in found.values() for each in probes),
        key=lambda name: (SPECIFIC, AGNOSTIC, OTHER).index(families.get(name, OTHER)),
    )
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(figsize=(7.2, 0.36 * (len(factors) + 3) + 1.4), layout="constrained")
        canvas.headline(figure, verdict(family_means(found, families)))
        labels = _factor_points(axes, found, factors, families)
        _family_points(axes, family_means(found, families), len(labels), labels)
        axes.set_yticks([place for place, _ in labels], [text for _, text in labels])
        axes.invert_yaxis()
        axes.axvline(0, color=LIGHT.ink, linewidth=1)
        axes.grid(axis="x")
        axes.set_xlabel(
            "selectivity of a linear probe, 95 % over identities\n(0: as with shuffled labels, 1: read without fault)"
        )
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return path


def verdict(means: Mapping[tuple[str, str], Sampled]) -> str:
    """What the index of decoupling says, in words; without one, what each branch's term carries."""
    index = index_of(means)
    if index is None:
        parts = [
            f"{branch} branch, {FAMILY_NAMES[family]}: {canvas.spoken('selectivity', it.row('it'), 'it')}"
            for (branch, family), it in means.items()
        ]
        return f"What its term carries: {'; '.join(parts)}" if parts else "What the term of each branch carries"
    told = canvas.spoken("index", index.row("index"), "index")
    if not index.decided:
        return f"The branches do not part beyond chance: {told}"
    if index.value > 0:
        return f"The image branch leans to what the subject is, the text branch to how it is seen: {told}"
    return f"The branches part the other way than the paper says: {told}"


def _factor_points(
    axes: Any, found: Carried, factors: Sequence[str], families: Mapping[str, str]
) -> list[tuple[float, str]]:
    labels: list[tuple[float, str]] = []
    before, place = None, -1.0
    for factor in factors:
        family = families.get(factor, OTHER)
        place += 1 if family == before else 1.5
        before = family
        labels.append((place, f"{factor}  ({FAMILY_NAMES[family][8:] or family})" if family != OTHER else factor))
        for branch, probes in found.items():
            for each in probes:
                if each.factor == factor:
                    _point(axes, place, branch, each.selectivity(), 4.5)
    return labels


def _family_points(
    axes: Any, means: Mapping[tuple[str, str], Sampled], count: int, labels: list[tuple[float, str]]
) -> None:
    place = labels[-1][0] + 1.5 if count else 0.0
    for family in (SPECIFIC, AGNOSTIC):
        own = {branch: it for (branch, each), it in means.items() if each == family}
        for branch, it in own.items():
            label = f"{branch} branch" if family == SPECIFIC else None
            _point(axes, place, branch, it, 8, label)
        if own:
            labels.append((place, f"mean {FAMILY_NAMES[family]}"))
            place += 1


def _point(axes: Any, place: float, branch: str, it: Sampled, size: float, label: str | None = None) -> None:
    colour, y = canvas.BRANCH_COLOURS[branch], place + OFFSETS[branch]
    axes.plot([it.low, it.high], [y, y], color=colour, linewidth=1.8 if size < 6 else 2.6, solid_capstyle="round")
    axes.plot(it.value, y, marker=MARKERS[branch], color=colour, markersize=size, linestyle="none", label=label)


def draw_similarity(path: Path, terms: Terms) -> Path:
    """Draw unbiased CKA between the terms of all blocks of both branches, and tell that of the branches as wholes."""
    named = {(branch, block): values for branch, blocks in terms.items() for block, values in blocks.items()}
    matrix = cka_matrix({f"{branch} {block}": values for (branch, block), values in named.items()})
    names = [f"{branch} {block}" for branch, block in named]
    rows: list[dict[str, Any]] = [
        {"one": a, "other": b, "cka": float(matrix[i, j])} for i, a in enumerate(names) for j, b in enumerate(names)
    ]
    told = "How alike the terms of blocks are (unbiased CKA)"
    if len(terms) > 1:
        image, text = features_of(terms["image"]), features_of(terms["text"])
        cka, chance = unbiased_cka(image, text), float(np.percentile(permuted_cka(image, text), 95))
        rows.append({"one": "image", "other": "text", "cka": cka, "chance": chance})
        told = f"Image and text branch are alike by {cka:.2f} (unbiased CKA; chance: below {chance:.2f})"
    with canvas.drawing(path, rows) as plt:
        edge = 0.42 * len(names) + 1.6
        figure, axes = plt.subplots(figsize=(edge + 1.2, edge), layout="constrained")
        canvas.headline(figure, told)
        canvas.note(figure, _blocks(matrix, [branch for branch, _ in named]))
        drawn = axes.imshow(matrix, vmin=0, vmax=1)
        for (i, j), value in np.ndenumerate(matrix):
            tone = "white" if value < 0.65 else "black"
            axes.text(j, i, f"{value:.2f}".replace("-", "−"), ha="center", va="center", fontsize=6.5, color=tone)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7.5)
        axes.set_yticks(range(len(names)), names, fontsize=7.5)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        edges = np.cumsum([len(blocks) for blocks in terms.values()])[:-1] - 0.5
        for edge_of_branch in edges:
            axes.axhline(edge_of_branch, color="white", linewidth=2)
            axes.axvline(edge_of_branch, color="white", linewidth=2)
        canvas.scale_bar(figure, drawn, axes, "CKA of terms (branch, block)")
    return path


def _blocks(matrix: NDArray[np.floating], branches: Sequence[str]) -> str:
    """Mean CKA over pairs of blocks, within each branch and between them, in words."""
    apart = ~np.eye(len(matrix), dtype=bool)
    own = {name: np.array([each == name for each in branches]) for name in dict.fromkeys(branches)}
    parts = {f"within the {name} branch": np.outer(at, at) & apart for name, at in own.items()}
    if len(own) > 1:
        parts["between the branches"] = np.not_equal.outer(own["image"], own["image"])
    told = [f"{matrix[pairs].mean():.2f} {name}" for name, pairs in parts.items() if pairs.any()]
    return f"Mean over pairs of blocks: {', '.join(told)}" if told else ""


def training_rows(moments: Sequence[Moment], without: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Tidy rows: step, branch, measure, value with its interval; ``without`` are scores without a reference, at no step."""
    rows = _score_rows(None, without)
    for moment in moments:
        for (branch, family), it in moment.means.items():
            rows.append({"step": moment.step, "branch": branch, "measure": family, **it.row("value")})
        if moment.index is not None:
            rows.append({"step": moment.step, "branch": "both", "measure": "index", **moment.index.row("value")})
        rows += _score_rows(moment.step, moment.scores)
    return rows


def _score_rows(step: int | None, scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = canvas.estimates(scores, "branch") if scores else {}
    shown = canvas.main_metrics(canvas.metric_names(scores))
    return [
        {
            "step": step,
            "branch": branch,
            "measure": metric,
            "value": it.value,
            "value_low": it.low,
            "value_high": it.high,
        }
        for branch, parts in found.items()
        for metric, it in parts.items()
        if metric in shown
    ]


MEASURES: Mapping[str, str] = {
    SPECIFIC: "Term carries what it is\n(selectivity)",
    AGNOSTIC: "Term carries how it is seen\n(selectivity)",
    "index": "Index of decoupling",
}


def draw_training(
    path: Path, moments: Sequence[Moment], colours: Mapping[str, str], without: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Draw what the branches carry and do over the steps of training.

    ``colours`` are those of generations by branch, ``without`` the scores of the same cases without a reference.
    """
    rows = training_rows(moments, without)
    titles = {**MEASURES, **canvas.TITLES}
    there = list(dict.fromkeys(row["measure"] for row in rows))
    measures = [name for name in titles if name in there] + [name for name in there if name not in titles]
    with canvas.drawing(path, rows) as plt:
        columns = 3
        shape = (-(-len(measures) // columns), min(columns, len(measures)))
        size = (3.1 * shape[1] + 0.3, 2.3 * shape[0] + 0.7)
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False, sharex=True)
        canvas.headline(figure, _when(moments))
        for place, measure in zip(axes.flat, measures, strict=False):
            own = [row for row in rows if row["measure"] == measure]
            for k, branch in enumerate(dict.fromkeys(row["branch"] for row in own if row["step"] is not None)):
                colour = canvas.BRANCH_COLOURS.get(branch, colours.get(branch, LIGHT.ink))
                _course(place, [row for row in own if row["branch"] == branch], colour, branch, k - 1)
            for row in [row for row in own if row["step"] is None]:
                place.axhline(row["value"], color=LIGHT.quiet, linewidth=1.2, linestyle="--", label="no reference")
            place.axhline(0, color=LIGHT.ink, linewidth=0.8, linestyle=":")
            place.set_title(titles.get(measure, measure), fontsize=9.5)
        for unused in axes.flat[len(measures) :]:
            unused.set_visible(False)
        for last in axes.flat[max(len(measures) - columns, 0) : len(measures)]:
            last.tick_params(labelbottom=True)
            last.set_xlabel("training step")
            last.locator_params(axis="x", nbins=6, integer=True)
        _legend(figure, axes)
    return path


def _legend(figure: Any, axes: Any) -> None:
    """One legend below all panels, one entry a name."""
    entries = {
        name: handle for place in axes.flat for handle, name in zip(*place.get_legend_handles_labels(), strict=True)
    }
    shown = figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=max(len(entries), 1), fontsize=8,
        title="vertical lines: 95 % intervals, of what terms carry over identities, of scores over cases",
    )  # fmt: skip
    shown.get_title().set(fontsize=7.5, color=LIGHT.quiet)


def _course(axes: Any, rows: Sequence[Mapping[str, Any]], colour: str, branch: str, place: int) -> None:
    """One line with intervals; lines stand ``place`` beside each other so that intervals do not hide one another."""
    steps = np.array([row["step"] for row in rows], np.float64)
    x = steps + place * 0.012 * max(np.ptp(steps), 1)
    low, high = [row["value_low"] for row in rows], [row["value_high"] for row in rows]
    axes.vlines(x, low, high, color=colour, alpha=0.55, linewidth=1.4)
    label = LABELS.get(branch, branch)
    marker, style = MARKERS.get(label.split()[0], "D"), "-." if label.startswith("text") else "-"
    axes.plot(
        x, [row["value"] for row in rows], color=colour, marker=marker, markersize=4.5, linestyle=style, label=label
    )


LABELS: Mapping[str, str] = {"image": "image branch", "text": "text branch", "both": "_index"}
"""Names in the legend; one that begins with an underscore has no entry."""


def _when(moments: Sequence[Moment]) -> str:
    """The first step from which the index stays on the side of zero where it ends."""
    sides = [0 if each.index is None or not each.index.decided else int(np.sign(each.index.value)) for each in moments]
    if all(each.index is None for each in moments):
        return "What the branches do over training"
    if not sides[-1]:
        return "The branches do not part beyond chance by the end of this training"
    since = next(k for k in range(len(sides)) if all(side == sides[-1] for side in sides[k:]))
    way = "as the paper says" if sides[-1] > 0 else "the other way than the paper says"
    first = ", the first that was kept" if since == 0 else ""
    return f"The branches part {way} from step {moments[since].step} on{first}"
