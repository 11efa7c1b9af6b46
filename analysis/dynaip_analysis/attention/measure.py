"""Reference attention per branch: where the reference enters the image, and which of its patches are looked at."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.adapter.words import places_of
from dynaip.errors import InputError
from dynaip_analysis.recording.maps import on_patches
from dynaip_analysis.recording.named import Named
from dynaip_analysis.recording.recording import Recording

Floats = NDArray[np.floating[Any]]


POINTS = 3


def measures(*recordings: Recording) -> list[dict[str, Any]]:
    """Tidy rows, one a branch, block and step: share of the reference in the output, weight, entropy, effective tokens.

    Means are over the samples of all recordings. ``effective_low`` and ``effective_high`` hold nine tenths of the heads and
    queries; ``tokens`` is an even spread. Of the text branch the prompts' own tokens count, where they are known: padding is
    looked at by nobody.
    """
    rows: list[dict[str, Any]] = []
    for branch in dict.fromkeys(branch for each in recordings for branch in each.share):
        own = [each for each in recordings if branch in each.share]
        shares, entropies = (
            [
                of_words(part[branch], each.words if branch == "text" else ())
                for each, part in zip(own, parts, strict=True)
            ]
            for parts in ([each.share for each in own], [each.entropy for each in own])
        )
        cells = dict.fromkeys(cell for each in shares for cell in product(each.axes["block"], each.axes["step"]))
        for block, step in cells:
            share, entropy = _at(shares, block, step), _at(entropies, block, step)
            spread = np.exp(entropy)
            low, high = np.percentile(spread, [5, 95]) if spread.size else (np.nan, np.nan)
            weight = _at([each.weight[branch] for each in own], block, step)
            rows.append(
                {"branch": branch, "block": block, "step": step, "share": _mean(share), "weight": _mean(weight),
                 "entropy": _mean(entropy), "effective_tokens": _mean(spread), "effective_low": float(low),
                 "effective_high": float(high), "tokens": len(own[0].attention[branch].axes["key"])}
            )  # fmt: skip
    return rows


def _at(found: Sequence[Named], block: Hashable, step: Hashable) -> Floats:
    """All values of a block and step that were seen."""
    there = [each for each in found if block in each.axes["block"] and step in each.axes["step"]]
    values = np.concatenate([each.sel(block=block, step=step).values.ravel() for each in there])
    return values[np.isfinite(values)].astype(np.float64)


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def of_words(found: Named, words: Sequence[Sequence[str]]) -> Named:
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
        raise InputError("no attention to a reference was recorded: no branch looked at one")
    share: dict[str, Floats] = {}
    by_query: dict[str, Floats] = {}
    for branch, found in recording.attention.items():
        cut = slice(words if branch == "text" else None)
        shares = recording.share[branch].sel(sample=sample, reference=reference)
        placed = on_patches(weighed_mean(found.sel(sample=sample, reference=reference), shares)[cut], grid)
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


def weighed_mean(found: Named, share: Named) -> Floats:
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
