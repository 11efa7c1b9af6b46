"""Reference attention per branch: where the reference enters the image, and which of its patches are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.adapter.words import places_of
from dynaip.report.style import LIGHT
from dynaip_analysis import figures
from dynaip_analysis.maps import on_patches
from dynaip_analysis.named import Named
from dynaip_analysis.recording import Recording

Floats = NDArray[np.floating[Any]]
POINTS = 3


def effective_tokens(entropy: Named) -> Named:
    """exp(entropy): how many reference tokens a query spreads over; M at most, 1 for a single one."""
    return Named(np.exp(entropy.values), entropy.axes)


def measures(recording: Recording) -> list[dict[str, Any]]:
    """Tidy rows, one a branch, block and step: share of the reference in the output, weight, entropy, effective tokens.

    ``effective_low`` and ``effective_high`` hold nine tenths of the heads and queries; ``tokens`` is an even spread. Of the
    text branch the prompts' own tokens count, where they are known: padding is looked at by nobody.
    """
    rows: list[dict[str, Any]] = []
    for branch, share in recording.share.items():
        words = recording.words if branch == "text" else ()
        shares = _of_words(share, words).mean("sample", "reference", "query")
        entropy = _of_words(recording.entropy[branch], words)
        spread, nats = effective_tokens(entropy), entropy.mean("sample", "reference", "head", "query")
        tokens = spread.mean("sample", "reference", "head", "query")
        for (i, j), value in np.ndenumerate(shares.values):
            cell = {"block": shares.axes["block"][i], "step": shares.axes["step"][j]}
            found = spread.sel(**cell).values
            low, high = np.nanpercentile(found, [5, 95]) if np.isfinite(found).any() else (np.nan, np.nan)
            rows.append(
                {"branch": branch, **cell, "share": float(value), "weight": float(recording.weight[branch].values[i, j]),
                 "entropy": float(nats.values[i, j]), "effective_tokens": float(tokens.values[i, j]),
                 "effective_low": float(low), "effective_high": float(high),
                 "tokens": len(recording.attention[branch].axes["key"])}
            )  # fmt: skip
    return rows


def _of_words(found: Named, words: Sequence[Sequence[str]]) -> Named:
    """The same with NaN at queries that are padding of their sample's prompt; axes ``sample`` and ``query``."""
    if not words:
        return found
    names, lengths = list(found.axes), np.array([len(tokens) for tokens in words])
    padding = np.arange(len(found.axes["query"])) >= lengths[:, None]
    shape = [len(found.axes[name]) if name in ("sample", "query") else 1 for name in names]
    return Named(np.where(padding.reshape(shape), np.nan, found.values), found.axes)


@dataclass(frozen=True)
class BranchMaps:
    """Maps of one sample and reference, as means over blocks and steps."""

    share: Mapping[str, Floats]
    """Branch -> ||reference term|| / ||attention output|| of every query."""
    looked_at: Mapping[str, Floats]
    """Branch -> attention over reference patches in multiples of an even spread, rows x columns: the mean over queries,
    weighed by the size of the term, since most places of an image are background."""
    by_query: Mapping[str, Floats]
    """Branch -> the same of every query: queries x rows x columns."""
    grid: tuple[int, int]
    """Rows and columns of the image tokens."""
    words: Mapping[str, WordMaps] = field(default_factory=dict[str, "WordMaps"])
    """Words of the prompt, those with the largest term first."""


@dataclass(frozen=True)
class WordMaps:
    """One word, in multiples of an even spread."""

    reference: Floats | None
    """What the word looks at in the reference, through the text branch: rows x columns of patches."""
    image: Floats | None
    """Which places of the image look at the word, in the joint attention: rows x columns of image tokens."""


def maps(
    recording: Recording, grid: tuple[int, int], *, sample: int = 0, reference: int = 0, words: int | None = None
) -> BranchMaps:
    """Average a recording; ``grid`` is the encoder's, ``words`` the number of text tokens that are no padding.

    Blocks and steps count by the share of the term, query by query.
    """
    if recording.grid is None or not recording.attention:
        raise ValueError("nothing was recorded: no branch looked at a reference")
    share: dict[str, Floats] = {}
    by_query: dict[str, Floats] = {}
    for branch, found in recording.attention.items():
        cut = slice(words if branch == "text" else None)
        shares = recording.share[branch].sel(sample=sample, reference=reference)
        placed = on_patches(weighed(found.sel(sample=sample, reference=reference), shares)[cut], grid)
        if placed is not None:
            by_query[branch] = placed * placed[0].size
        share[branch] = shares.mean("block", "step").values[cut]
    looked = {branch: _by_size(each, share[branch]) for branch, each in by_query.items()}
    told = _word_maps(recording, by_query.get("text"), share.get("text"), sample)
    return BranchMaps(share, looked, by_query, recording.grid, told)


def _by_size(maps: Floats, share: Floats) -> Floats:
    """The mean over queries, each weighed by the size of its term."""
    weights = np.nan_to_num(share).astype(np.float64)
    return np.tensordot(weights, np.nan_to_num(maps), axes=1) / max(float(weights.sum()), 1e-30)


def weighed(found: Named, share: Named) -> Floats:
    """The mean over blocks and steps (queries x keys), each query weighed by the share of the term in its output there.

    Maps of places where the term does nothing would otherwise count like any other.
    """
    total = np.zeros(found.values.shape[2:], np.float64)
    mass = np.zeros(found.values.shape[2], np.float64)
    for block, step in np.ndindex(*found.values.shape[:2]):
        weight = np.nan_to_num(share.values[block, step]).astype(np.float64)
        total += np.nan_to_num(found.values[block, step]) * weight[:, None]
        mass += weight
    return np.where(mass[:, None] > 0, total / np.maximum(mass, 1e-30)[:, None], np.nan)


def _word_maps(
    recording: Recording, by_query: Floats | None, share: Floats | None, sample: int
) -> dict[str, WordMaps]:  # fmt: skip
    """Words that were recorded as columns of the joint attention and that this sample's prompt has."""
    if "image" not in recording.columns or not len(recording.words) > sample:
        return {}
    columns, tokens = recording.columns["image"].sel(sample=sample), recording.words[sample]
    found: dict[str, tuple[float, WordMaps]] = {}
    for word in columns.axes["key"]:
        own = columns.sel(key=word)
        if not np.isfinite(own.values).any():
            continue
        places = [place for place in places_of(str(word), tokens) if by_query is None or place < len(by_query)]
        reference = None if by_query is None else np.nanmean(by_query[places], axis=0)
        size = 0.0 if share is None else float(np.nanmean(share[places]))
        image = own.spatial("query")
        found[str(word)] = (size, WordMaps(reference, image / image.mean()))
    return {word: each for word, (_, each) in sorted(found.items(), key=lambda item: -item[1][0])}


def query_points(share: Floats, count: int = POINTS) -> list[tuple[int, int]]:
    """Queries to look at (row, column): the largest share first, the others far from those chosen before.

    Queries whose share is NaN saw no reference and are never chosen.
    """
    rows, columns = share.shape
    where = np.argwhere(np.isfinite(share))
    if not len(where):
        return []
    value = share[np.isfinite(share)] / max(float(np.nanmax(share)), 1e-12)
    chosen: list[int] = [int(value.argmax())]
    for _ in range(min(count, len(where)) - 1):
        away = np.min([np.linalg.norm(where - where[k], axis=1) for k in chosen], axis=0) / np.hypot(rows, columns)
        chosen.append(int((away * (0.5 + value)).argmax()))
    return [(int(where[k, 0]), int(where[k, 1])) for k in chosen]


def rows_of(found: BranchMaps) -> list[dict[str, Any]]:
    """Tidy rows of the maps that are drawn: branch, map, row, column, value."""
    drawn = [("looked_at", branch, values) for branch, values in found.looked_at.items()]
    if "image" in found.share:
        drawn.append(("share", "image", found.share["image"].reshape(found.grid)))
    if "text" in found.share:
        drawn.append(("share", "text", found.share["text"][None]))
    for word, each in found.words.items():
        drawn += [(f"word {word}", "text", each.reference)] if each.reference is not None else []
        drawn += [(f"word {word}", "joint", each.image)] if each.image is not None else []
    return [
        {"branch": branch, "map": name, "row": i, "column": j, "value": float(v)}
        for name, branch, values in drawn
        for (i, j), v in np.ndenumerate(values)
    ]


def draw(
    path: Path, reference: Image.Image, generated: Image.Image, found: BranchMaps, words: Sequence[str] = (),
    name: str = "the reference",
) -> Path:  # fmt: skip
    """Draw one generation: the branches side by side, and how large the term is and where it looks word by word.

    ``reference`` is what the encoder sees of it (``dynaip_analysis.seen``), ``name`` which one it is.
    """
    with figures.drawing(path, rows_of(found)) as plt:
        figure = plt.figure(figsize=(9.6, 4.9), layout="constrained")
        figures.headline(figure, _title(found, name))
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1), hspace=0.04)
        _branches(top, reference, generated, found)
        _by_word(bottom, reference, generated, found, words)
    return path


def _title(found: BranchMaps, name: str) -> str:
    means = {branch: float(np.nanmean(share)) for branch, share in found.share.items()}
    parts = [f"{_percent(means[branch])} in the {branch} branch" for branch in ("image", "text") if branch in means]
    return f"How large the term of {name} is beside the attention output: " + ", ".join(parts)


def _percent(share: float) -> str:
    """A term of a few thousandths must not read as none."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}%"


def _branches(figure: Any, reference: Image.Image, generated: Image.Image, found: BranchMaps) -> None:
    axes = figure.subplots(1, 5)
    figures.show_image(axes[0], reference, "reference as encoded")
    figures.show_image(axes[1], generated, "generated image")
    if "image" in found.share:
        drawn = figures.overlay(axes[2], generated, found.share["image"].reshape(found.grid), "image branch: term size")
        figures.scale_bar(figure, drawn, axes[2], "‖term‖ / ‖output‖")
    high = max((float(values.max()) for values in found.looked_at.values()), default=1.0)
    for place, branch in ((axes[3], "image"), (axes[4], "text")):
        if branch not in found.looked_at:
            figures.no_map(place, f"{branch} branch", NO_PLACE if branch in found.share else "off")
            continue
        drawn = figures.overlay(place, reference, found.looked_at[branch], f"{branch} branch looks at", high=high)
        if branch == list(found.looked_at)[-1]:  # one scale for both
            figures.scale_bar(figure, drawn, place, "attention, × even spread")


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
                figures.no_map(place, title, NO_PLACE if "text" in found.share else "text branch: off")
            else:
                drawn = figures.overlay(place, picture, each, title, high=high)
    for unused in [axes[1 + k] for k in range(len(shown), 2)] + [axes[3 + k] for k in range(len(shown), 2)]:
        figures.bare(unused)
    if drawn is not None:
        figures.scale_bar(figure, drawn, axes[4], "attention, × even spread")


NO_PLACE = "tokens of this fusion\nhave no place"
BARS, LETTERS = 14, 10


def _words(axes: Any, found: BranchMaps, words: Sequence[str]) -> None:
    """The size at each word in the order of the prompt; of a long prompt those where it is largest."""
    if "text" not in found.share:
        figures.no_map(axes, "text branch", "off")
        return
    share = np.nan_to_num(found.share["text"])
    shown = np.sort(np.argsort(-share, kind="stable")[:BARS])
    labels = [_short(words[k]) if k < len(words) else str(k) for k in shown]
    axes.barh(range(len(shown)), share[shown], color=figures.BRANCH_COLOURS["text"], height=0.7)
    axes.set_yticks(range(len(shown)), labels, fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel("‖term‖ / ‖output‖", fontsize=8)
    told = "size by word" if len(shown) == len(share) else f"{len(shown)} of {len(share)} words"
    axes.set_title(f"text branch: {told}", fontsize=9)
    axes.spines["left"].set_visible(False)


def _short(word: str) -> str:
    return word if len(word) <= LETTERS else f"{word[: LETTERS - 1]}…"


def draw_spread(path: Path, recording: Recording) -> Path:
    """Draw over how many reference tokens a query spreads, block by block, beside an even spread and a single token."""
    rows = measures(recording)
    branches = [branch for branch in ("image", "text") if branch in recording.share]
    even = rows[0]["tokens"]
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(figsize=(6.8, 3.1), layout="constrained")
        means = {
            branch: np.nanmean([row["effective_tokens"] for row in rows if row["branch"] == branch])
            for branch in branches
        }
        parts = ", ".join(f"{value:.0f} in the {branch} branch" for branch, value in means.items())
        figures.headline(figure, f"A query spreads over how many of {even} reference tokens? {parts}")
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
        figures.note(figure, "points are means, bars nine tenths of all heads and queries")
    return path


def _spread_line(axes: Any, rows: Sequence[Mapping[str, Any]], branch: str, shift: float) -> None:
    blocks = sorted({row["block"] for row in rows})
    own = {block: [row for row in rows if row["block"] == block] for block in blocks}
    means, low, high = (
        [float(np.nanmean([row[name] for row in own[block]])) for block in blocks]
        for name in ("effective_tokens", "effective_low", "effective_high")
    )
    places, colour = np.array(blocks, float) + shift, figures.BRANCH_COLOURS[branch]
    axes.vlines(places, low, high, color=colour, linewidth=2, alpha=0.5)
    marker = "o" if branch == "image" else "s"
    axes.plot(places, means, color=colour, marker=marker, markersize=5, label=f"{branch} branch")
    axes.set_xticks(blocks)


def draw_blocks(path: Path, recording: Recording) -> Path:
    """Draw where in the model and when in the denoising the reference enters, branch by branch, on one scale."""
    rows = measures(recording)
    branches = [branch for branch in ("image", "text") if branch in recording.share]
    shares = {
        branch: _of_words(recording.share[branch], recording.words if branch == "text" else ()) for branch in branches
    }
    shares = {branch: share.mean("sample", "reference", "query") for branch, share in shares.items()}
    high = max(float(np.nanmax(share.values)) for share in shares.values())
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            1, len(branches), figsize=(4.1 * len(branches) + 0.8, 2.7), layout="constrained", squeeze=False
        )
        figures.headline(figure, _enters(rows))
        drawn = None
        for place, branch in zip(axes[0], branches, strict=True):
            drawn = _block_map(place, shares[branch], branch, high)
        figures.scale_bar(figure, drawn, axes, "‖term‖ / ‖output‖")
    return path


def _enters(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the term is largest, in words."""
    most = max((row for row in rows if np.isfinite(row["share"])), key=lambda row: row["share"])
    return (
        f"The reference enters most in block {most['block']} of the {most['branch']} branch, at progress "
        f"{float(most['step']):.2f}: its term is {_percent(most['share'])} of the attention output"
    )


def _block_map(axes: Any, share: Named, branch: str, high: float) -> Any:
    drawn = axes.imshow(share.values, aspect="auto", vmin=0, vmax=high, interpolation="nearest")
    blocks, steps = list(share.axes["block"]), list(share.axes["step"])
    axes.set_yticks(range(len(blocks)), [str(block) for block in blocks])
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    axes.set_xticks(chosen, [f"{float(str(steps[k])):.2f}" for k in chosen])
    axes.set(xlabel="denoising progress", ylabel="block")
    low, most = (_percent(each) for each in (np.nanmin(share.values), np.nanmax(share.values)))
    axes.set_title(f"{branch} branch: {low} to {most}", fontsize=9.5, color=LIGHT.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return drawn
