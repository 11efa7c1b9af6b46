"""Figures of reference attention: maps over pictures, the size of the term by block, and how far it spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dynaip.report.style import LIGHT
from dynaip_analysis.attention.measure import BranchMaps, rows_of
from dynaip_analysis.drawing import canvas

BARS, LETTERS = 14, 10


def draw(
    path: Path, reference: Image.Image, generated: Image.Image, found: BranchMaps, words: Sequence[str] = (),
    name: str = "the reference",
) -> Path:  # fmt: skip
    """Draw one generation: the branches side by side, and how large the term is and where it looks word by word.

    ``reference`` is what the encoder sees of it (``dynaip_analysis.seen_by``), ``name`` which one it is.
    """
    with canvas.drawing(path, rows_of(found)) as plt:
        figure = plt.figure(figsize=(9.6, 4.9), layout="constrained")
        means = {branch: float(np.nanmean(share)) for branch, share in found.share.items()}
        told = ", ".join(f"{_percent(means[each])} in the {each} branch" for each in ("image", "text") if each in means)
        canvas.headline(figure, f"How large the term of {name} is beside the attention output: {told}")
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1), hspace=0.04)
        _branches(top, reference, generated, found)
        _by_word(bottom, reference, generated, found, words)
    return path


def _percent(share: float) -> str:
    """A term of a few thousandths must not read as none."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


def _branches(figure: Any, reference: Image.Image, generated: Image.Image, found: BranchMaps) -> None:
    axes = figure.subplots(1, 5)
    canvas.show_image(axes[0], reference, "reference as encoded")
    canvas.show_image(axes[1], generated, "generated image")
    if "image" in found.share:
        drawn = canvas.overlay(axes[2], generated, found.share["image"].reshape(found.grid), "image branch: term size")
        canvas.scale_bar(figure, drawn, axes[2], "‖term‖ / ‖output‖")
    high = max((float(values.max()) for values in found.looked_at.values()), default=1.0)
    for place, branch in ((axes[3], "image"), (axes[4], "text")):
        if branch not in found.looked_at:
            canvas.no_map(place, f"{branch} branch", NO_PLACE if branch in found.share else "off")
            continue
        drawn = canvas.overlay(place, reference, found.looked_at[branch], f"{branch} branch looks at", high=high)
        if branch == list(found.looked_at)[-1]:  # one scale for both
            canvas.scale_bar(figure, drawn, place, "attention, × even spread")


def _by_word(
    figure: Any, reference: Image.Image, generated: Image.Image, found: BranchMaps, words: Sequence[str]
) -> None:
    axes = figure.subplots(1, 5, width_ratios=(1.25, 1, 1, 1, 1))
    _words(axes[0], found, words)
    shown = list(found.words.items())[:2]
    values = [each for _, views in shown for each in (views.reference, views.image) if each is not None]
    high = max((float(np.nanmax(each)) for each in values), default=1.0)
    drawn = None
    for k, (word, views) in enumerate(shown):
        places = ((axes[1 + k], reference, views.reference, f"“{word}” looks at"),
                  (axes[3 + k], generated, views.image, f"looks at “{word}”"))  # fmt: skip
        for place, picture, each, title in places:
            if each is None:
                canvas.no_map(place, title, NO_PLACE if "text" in found.share else "text branch: off")
            else:
                drawn = canvas.overlay(place, picture, each, title, high=high)
    for unused in [axes[1 + k] for k in range(len(shown), 2)] + [axes[3 + k] for k in range(len(shown), 2)]:
        canvas.bare(unused)
    if drawn is not None:
        canvas.scale_bar(figure, drawn, axes[4], "attention, × even spread")


NO_PLACE = "tokens of this fusion\nhave no place"


def _words(axes: Any, found: BranchMaps, words: Sequence[str]) -> None:
    """The size at each word in the order of the prompt; of a long prompt those where it is largest."""
    if "text" not in found.share:
        canvas.no_map(axes, "text branch", "off")
        return
    share = np.nan_to_num(found.share["text"])
    shown = np.sort(np.argsort(-share, kind="stable")[:BARS])
    labels = [str(words[k]) if k < len(words) else str(k) for k in map(int, shown)]
    labels = [word if len(word) <= LETTERS else f"{word[: LETTERS - 1]}…" for word in labels]
    axes.barh(range(len(shown)), share[shown], color=canvas.BRANCH_COLOURS["text"], height=0.7)
    axes.set_yticks(range(len(shown)), labels, fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel("‖term‖ / ‖output‖", fontsize=8)
    told = "size by word" if len(shown) == len(share) else f"{len(shown)} of {len(share)} words"
    axes.set_title(f"text branch: {told}", fontsize=9)
    axes.spines["left"].set_visible(False)


def draw_spread(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw over how many reference tokens a query spreads, block by block, beside an even spread and a single token.

    ``rows`` are those of ``measures``.
    """
    branches = _branches_of(rows)
    even = rows[0]["tokens"]
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(figsize=(6.8, 3.1), layout="constrained")
        means = {
            branch: np.nanmean([row["effective_tokens"] for row in rows if row["branch"] == branch])
            for branch in branches
        }
        parts = ", ".join(f"{value:.0f} in the {branch} branch" for branch, value in means.items())
        canvas.headline(figure, f"A query spreads over how many of {even} reference tokens? {parts}")
        for shift, branch in enumerate(branches):
            _spread_line(axes, [row for row in rows if row["branch"] == branch], branch, 0.1 * (shift - 0.5))
        for value, text in ((even, "even spread"), (1, "a single token")):
            axes.axhline(value, color=LIGHT.quiet, linewidth=1, linestyle=(0, (3, 2)))
            axes.annotate(text, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
                          fontsize=7.5, color=LIGHT.quiet, ha="right")  # fmt: skip
        axes.set(xlabel="block", ylabel="exp(entropy), log scale", yscale="log", ylim=(0.8, 1.6 * even))
        ticks = [2**k for k in range(0, int(np.log2(even)) + 1, 1 if even < 64 else 2)]
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.margins(x=0.08)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
        canvas.note(figure, "points are means, bars nine tenths of all heads and queries")
    return path


def _spread_line(axes: Any, rows: Sequence[Mapping[str, Any]], branch: str, shift: float) -> None:
    blocks = sorted({row["block"] for row in rows})
    own = {block: [row for row in rows if row["block"] == block] for block in blocks}
    means, low, high = (
        [float(np.nanmean([row[name] for row in own[block]])) for block in blocks]
        for name in ("effective_tokens", "effective_low", "effective_high")
    )
    places, colour = np.array(blocks, float) + shift, canvas.BRANCH_COLOURS[branch]
    axes.vlines(places, low, high, color=colour, linewidth=2, alpha=0.5)
    marker = "o" if branch == "image" else "s"
    axes.plot(places, means, color=colour, marker=marker, markersize=5, label=f"{branch} branch")
    axes.set_xticks(blocks)


def _branches_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [branch for branch in ("image", "text") if any(row["branch"] == branch for row in rows)]


def draw_blocks(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw where in the model and when in the denoising the reference enters, branch by branch, on one scale.

    ``rows`` are those of ``measures``.
    """
    branches = _branches_of(rows)
    high = max(row["share"] for row in rows if np.isfinite(row["share"]))
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            1, len(branches), figsize=(4.1 * len(branches) + 0.8, 2.7), layout="constrained", squeeze=False
        )
        most = max((row for row in rows if np.isfinite(row["share"])), key=lambda row: row["share"])
        canvas.headline(
            figure,
            f"The reference enters most in block {most['block']} of the {most['branch']} branch, at progress "
            f"{float(most['step']):.2f}: its term is {_percent(most['share'])} of the attention output",
        )
        drawn = None
        for place, branch in zip(axes[0], branches, strict=True):
            drawn = _block_map(place, [row for row in rows if row["branch"] == branch], branch, high)
        canvas.scale_bar(figure, drawn, axes, "‖term‖ / ‖output‖")
    return path


def _block_map(axes: Any, rows: Sequence[Mapping[str, Any]], branch: str, high: float) -> Any:
    blocks, steps = (sorted({row[name] for row in rows}) for name in ("block", "step"))
    shares = np.full((len(blocks), len(steps)), np.nan)
    for row in rows:
        shares[blocks.index(row["block"]), steps.index(row["step"])] = row["share"]
    drawn = axes.imshow(shares, aspect="auto", vmin=0, vmax=high, interpolation="nearest")
    axes.set_yticks(range(len(blocks)), [str(block) for block in blocks])
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    axes.set_xticks(chosen, [f"{steps[k]:.2f}" for k in chosen])
    axes.set(xlabel="denoising progress", ylabel="block")
    low, most = (_percent(each) for each in (np.nanmin(shares), np.nanmax(shares)))
    axes.set_title(f"{branch} branch: {low} to {most}", fontsize=9.5, color=LIGHT.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return drawn
