"""Reference attention per branch: where the reference enters the image, and which of its patches are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynaip.report.style import LIGHT
from dynaip_analysis import figures
from dynaip_analysis.maps import on_patches
from dynaip_analysis.named import Named
from dynaip_analysis.recorder import Recording

Floats = NDArray[np.floating[Any]]
POINTS = 3


def effective_tokens(entropy: Named) -> Named:
    """exp(entropy): how many reference tokens a query spreads over; M at most, 1 for a single one."""
    return Named(np.exp(entropy.values), entropy.axes)


def measures(recording: Recording) -> list[dict[str, Any]]:
    """Tidy rows, one a branch, block and step: share of the reference in the output, weight, effective tokens."""
    rows: list[dict[str, Any]] = []
    for branch, share in recording.share.items():
        shares = share.mean("sample", "reference", "query")
        tokens = effective_tokens(recording.entropy[branch]).mean("sample", "reference", "head", "query")
        for (i, j), value in np.ndenumerate(shares.values):
            rows.append(
                {
                    "branch": branch,
                    "block": shares.axes["block"][i],
                    "step": shares.axes["step"][j],
                    "share": float(value),
                    "weight": float(recording.weight[branch].values[i, j]),
                    "effective_tokens": float(tokens.values[i, j]),
                }
            )
    return rows


@dataclass(frozen=True)
class BranchMaps:
    """Maps of one sample and reference, as means over blocks and steps."""

    share: Mapping[str, Floats]
    """Branch -> ||reference term|| / ||attention output|| of every query."""
    looked_at: Mapping[str, Floats]
    """Branch -> attention over reference patches, mean over queries, in multiples of an even spread: rows x columns."""
    by_query: Mapping[str, Floats]
    """Branch -> the same of every query: queries x rows x columns."""
    grid: tuple[int, int]
    """Rows and columns of the image tokens."""


def maps(
    recording: Recording, grid: tuple[int, int], *, sample: int = 0, reference: int = 0, words: int | None = None
) -> BranchMaps:
    """Average a recording; ``grid`` is the encoder's, ``words`` the number of text tokens that are no padding."""
    share: dict[str, Floats] = {}
    by_query: dict[str, Floats] = {}
    for branch, found in recording.attention.items():
        cut = slice(words if branch == "text" else None)
        means = found.sel(sample=sample, reference=reference).mean("block", "step").values[cut]
        placed = on_patches(means, grid)
        if placed is not None:
            by_query[branch] = placed * means.shape[-1]
        share[branch] = (
            recording.share[branch].sel(sample=sample, reference=reference).mean("block", "step").values[cut]
        )
    looked = {branch: np.nanmean(each, axis=0) for branch, each in by_query.items()}
    if recording.grid is None:
        raise ValueError("nothing was recorded: no branch looked at a reference")
    return BranchMaps(share, looked, by_query, recording.grid)


def query_points(share: Floats, count: int = POINTS) -> list[tuple[int, int]]:
    """Queries to look at (row, column): the largest share first, the others far from those chosen before."""
    rows, columns = share.shape
    where = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    value = np.nan_to_num(share).ravel() / max(float(np.nanmax(share)), 1e-12)
    chosen: list[int] = [int(value.argmax())]
    for _ in range(min(count, len(where)) - 1):
        away = np.min([np.linalg.norm(where - where[k], axis=1) for k in chosen], axis=0) / np.hypot(rows, columns)
        chosen.append(int((away * (0.5 + value)).argmax()))
    return [(int(where[k, 0]), int(where[k, 1])) for k in chosen]


def rows_of(found: BranchMaps) -> list[dict[str, Any]]:
    """Tidy rows of the maps that are drawn: branch, map, row, column, value."""
    rows: list[dict[str, Any]] = []
    drawn = [("looked_at", branch, values) for branch, values in found.looked_at.items()]
    if "image" in found.share:
        drawn.append(("share", "image", found.share["image"].reshape(found.grid)))
    if "text" in found.share:
        drawn.append(("share", "text", found.share["text"][None]))
    for name, branch, values in drawn:
        rows += [
            {"branch": branch, "map": name, "row": i, "column": j, "value": float(v)}
            for (i, j), v in np.ndenumerate(values)
        ]
    return rows


def draw(
    path: Path, reference: Image.Image, generated: Image.Image, found: BranchMaps, words: Sequence[str] = ()
) -> Path:
    """Draw one generation: the branches side by side, and what chosen places of the image look at."""
    with figures.drawing(path, rows_of(found)) as plt:
        figure = plt.figure(figsize=(9.6, 5.3), layout="constrained")
        figures.headline(figure, _title(found))
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1), hspace=0.04)
        _branches(top, reference, generated, found)
        _points(bottom, reference, generated, found, words)
    return path


def _title(found: BranchMaps) -> str:
    means = {branch: float(np.nanmean(share)) for branch, share in found.share.items()}
    parts = [f"{means[branch]:.0%} in the {branch} branch" for branch in ("image", "text") if branch in means]
    return "How large the reference term is beside the attention output: " + ", ".join(parts)


def _branches(figure: Any, reference: Image.Image, generated: Image.Image, found: BranchMaps) -> None:
    axes = figure.subplots(1, 5)
    figures.show_image(axes[0], reference, "reference")
    figures.show_image(axes[1], generated, "generated image")
    if "image" in found.share:
        drawn = figures.overlay(
            axes[2], generated, found.share["image"].reshape(found.grid), "image branch: size of the term"
        )
        figures.scale_bar(figure, drawn, axes[2], "‖term‖ / ‖output‖")
    high = max((float(values.max()) for values in found.looked_at.values()), default=1.0)
    for place, branch in ((axes[3], "image"), (axes[4], "text")):
        if branch not in found.looked_at:
            figures.bare(place, f"{branch} branch: off")
            continue
        drawn = figures.overlay(place, reference, found.looked_at[branch], f"{branch} branch looks at", high=high)
        if branch == list(found.looked_at)[-1]:  # one scale for both
            figures.scale_bar(figure, drawn, place, "attention, × even spread")


def _points(
    figure: Any, reference: Image.Image, generated: Image.Image, found: BranchMaps, words: Sequence[str]
) -> None:
    axes = figure.subplots(1, 5, width_ratios=(1, 1, 1, 1, 1.25))
    figures.show_image(axes[0], generated, "three places")
    points = query_points(found.share["image"].reshape(found.grid)) if "image" in found.share else []
    wide, tall = generated.width / found.grid[1], generated.height / found.grid[0]
    high = (
        max((float(found.by_query["image"][_flat(p, found)].max()) for p in points), default=1.0)
        if "image" in found.by_query
        else 1.0
    )
    for k, (i, j) in enumerate(points):
        _dot(axes[0], (j + 0.5) * wide, (i + 0.5) * tall, k + 1)
        if "image" in found.by_query:
            figures.overlay(
                axes[k + 1],
                reference,
                found.by_query["image"][_flat((i, j), found)],
                f"place {k + 1} looks at",
                high=high,
            )
    for unused in axes[1 + len(points) : 4]:
        figures.bare(unused)
    _words(axes[4], found, words)


def _flat(point: tuple[int, int], found: BranchMaps) -> int:
    return point[0] * found.grid[1] + point[1]


def _dot(axes: Any, x: float, y: float, number: int) -> None:
    axes.plot(
        x, y, marker="o", markersize=11, color=figures.MARK, markeredgecolor="white", markeredgewidth=1.2, clip_on=False
    )
    axes.text(x, y, str(number), color="white", fontsize=7.5, ha="center", va="center_baseline", fontweight="bold")


def _words(axes: Any, found: BranchMaps, words: Sequence[str]) -> None:
    if "text" not in found.share:
        figures.bare(axes, "text branch: off")
        return
    share = found.share["text"]
    labels = [words[k] if k < len(words) else str(k) for k in range(len(share))]
    axes.barh(range(len(share)), share, color=figures.BRANCH_COLOURS["text"], height=0.7)
    axes.set_yticks(range(len(share)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_title("text branch: size by word", fontsize=9)
    axes.spines["left"].set_visible(False)


def draw_blocks(path: Path, recording: Recording) -> Path:
    """Draw where in the model and when in the denoising the reference enters, branch by branch, on one scale."""
    rows = measures(recording)
    branches = [branch for branch in ("image", "text") if branch in recording.share]
    shares = {branch: recording.share[branch].mean("sample", "reference", "query") for branch in branches}
    high = max(float(np.nanmax(share.values)) for share in shares.values())
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            1, len(branches), figsize=(4.1 * len(branches) + 0.8, 2.7), layout="constrained", squeeze=False
        )
        figures.headline(figure, "Where the reference enters: size of its term, ‖term‖ / ‖output‖")
        drawn = None
        for place, branch in zip(axes[0], branches, strict=True):
            drawn = _block_map(place, shares[branch], branch, high)
        figures.scale_bar(figure, drawn, axes, "‖term‖ / ‖output‖")
    return path


def _block_map(axes: Any, share: Named, branch: str, high: float) -> Any:
    drawn = axes.imshow(share.values, aspect="auto", vmin=0, vmax=high, interpolation="nearest")
    blocks, steps = list(share.axes["block"]), list(share.axes["step"])
    axes.set_yticks(range(len(blocks)), [str(block) for block in blocks])
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    axes.set_xticks(chosen, [f"{float(str(steps[k])):.2f}" for k in chosen])
    axes.set(xlabel="denoising progress", ylabel="block")
    axes.set_title(f"{branch} branch", fontsize=9.5, color=LIGHT.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return drawn
