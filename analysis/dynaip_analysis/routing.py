"""What the router does: weights of the levels over patches and images, and how much they depend on the patch."""

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
from dynaip_analysis.dependence import dead, entropy
from dynaip_analysis.resampling import DRAWS, TAIL

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoutingSummary:
    """How a router spreads its weights. Entropies in nats; all weights count alike."""

    mean: Floats
    """Mean weight of each level, L."""
    spread: Floats
    """Standard deviation over tokens, L."""
    load: Floats
    """Share of the tokens for which the level has the largest weight, L; a tie counts for all that share it."""
    entropy_of_mean: float
    """H(mean w): how many levels are used at all; log L at most."""
    mean_entropy: float
    """Mean over tokens of H(w): how many levels a single token uses."""
    between_images: float
    """The part of the mutual information that the image explains."""
    within_images: float
    """The part that the place in an image explains."""
    low: Floats
    """Lower ends of the 95 % intervals of ``mean`` (groups of images drawn again), L."""
    high: Floats
    information_low: float
    """The same of the mutual information."""
    information_high: float

    @property
    def mutual_information(self) -> float:
        """I(level; token) = H(mean w) - mean H(w), in nats: 0 if all tokens are routed alike."""
        return max(self.entropy_of_mean - self.mean_entropy, 0.0)


def summarise(weights: Floats, groups: NDArray[Any] | None = None) -> RoutingSummary:
    """Summarise router weights, B x N x L (or B x L for a router per image); each row sums to one.

    ``groups`` names the images that are not independent (of one identity, or one picture that several cases show); they are
    drawn again together for the intervals, which are NaN where there is one group alone.
    """
    tokens = weights[:, None, :] if weights.ndim == 2 else weights
    mean = tokens.mean(axis=(0, 1))
    whole, alone = float(entropy(mean)), float(entropy(tokens).mean())
    per_image = float(entropy(tokens.mean(axis=1)).mean())
    means, informations = _drawn(tokens, np.arange(len(tokens)) if groups is None else groups)
    (low, high), (least, most) = (np.percentile(each, (TAIL, 100 - TAIL), axis=0) for each in (means, informations))
    return RoutingSummary(
        mean, tokens.std(axis=(0, 1)), _load(tokens), whole, alone, whole - per_image, per_image - alone, low, high,
        float(least), float(most),
    )  # fmt: skip


def _load(tokens: Floats) -> Floats:
    first = tokens >= tokens.max(axis=-1, keepdims=True) - 1e-9
    return (first / first.sum(axis=-1, keepdims=True)).mean(axis=(0, 1))


def _drawn(tokens: Floats, groups: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean weights (draws x L) and mutual information (draws) of groups of images that are drawn again."""
    members = np.unique(groups, return_inverse=True)[1]
    count = int(members.max()) + 1
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, members]
    shares = times / times.sum(axis=1, keepdims=True)
    if count == 1:
        return np.full((DRAWS, tokens.shape[-1]), np.nan), np.full(DRAWS, np.nan)
    means = shares @ tokens.mean(axis=1)
    return means, entropy(means) - shares @ entropy(tokens).mean(axis=1)


def patches(weights: Floats, grid: tuple[int, int]) -> Floats:
    """B x N x L weights of the patches alone: a class token in front is dropped."""
    return weights[:, weights.shape[1] - grid[0] * grid[1] :]


def rows(weights: Floats, levels: Sequence[str], grid: tuple[int, int]) -> list[dict[str, Any]]:
    """Tidy rows of patch weights: image, row, column, level, weight."""
    shaped = weights.reshape(len(weights), *grid, len(levels))
    return [
        {"image": b, "row": i, "column": j, "level": levels[k], "weight": float(value)}
        for (b, i, j, k), value in np.ndenumerate(shaped)
    ]


def draw(
    path: Path,
    images: Sequence[Image.Image],
    weights: Floats,
    levels: Sequence[str],
    grid: tuple[int, int],
    summary: RoutingSummary | None = None,
) -> Path:
    """Draw router weights over the patches of some references (B x N x L); the titles tell the means of ``summary``."""
    shaped = weights.reshape(len(images), *grid, len(levels))
    high = float(max(shaped.max(), 1 / len(levels)))
    summary = summary or summarise(weights)
    leader = levels[int(summary.mean.argmax())]
    means = {level: float(mean) for level, mean in zip(levels, summary.mean, strict=True)}
    table = [{**row, "mean_of_all": means[row["level"]]} for row in rows(weights, levels, grid)]
    with figures.drawing(path, table) as plt:
        shape = (len(images), len(levels) + 1)
        figure, axes = plt.subplots(
            *shape, figsize=(1.55 * shape[1] + 1.0, 1.5 * shape[0] + 0.9), layout="constrained", squeeze=False
        )
        figures.headline(
            figure, f"Which level a patch uses: {leader} leads with {summary.mean.max():.2f}, mean of all references"
        )
        drawn = None
        for b, image in enumerate(images):
            figures.show_image(axes[b, 0], image, "reference" if b == 0 else "")
            for k, level in enumerate(levels):
                title = f"{level}  (mean {summary.mean[k]:.2f})" if b == 0 else ""
                drawn = figures.show_map(axes[b, k + 1], shaped[b, :, :, k], title, high=high)
        figures.scale_bar(figure, drawn, axes, "weight")
    return path


Summaries = Mapping[str, RoutingSummary]
"""Adapter -> its summary."""
Levels = Mapping[str, Sequence[str]]
"""Adapter -> names of its levels, which need not be those of the others."""


def summary_rows(summaries: Summaries, levels: Levels) -> list[dict[str, Any]]:
    """Tidy rows: one an adapter and level, with the adapter's entropies and information."""
    return [
        {"adapter": name, "level": level,
         "mean": float(it.mean[k]), "mean_low": float(it.low[k]), "mean_high": float(it.high[k]),
         "spread": float(it.spread[k]), "load": float(it.load[k]),
         "dead": bool(dead(it.mean, it.load)[k]),
         "entropy_of_mean": it.entropy_of_mean, "mean_entropy": it.mean_entropy,
         "mutual_information": it.mutual_information, "information_low": it.information_low,
         "information_high": it.information_high,
         "between_images": it.between_images, "within_images": it.within_images}
        for name, it in summaries.items() for k, level in enumerate(levels[name])
    ]  # fmt: skip


def draw_summary(path: Path, summaries: Summaries, levels: Levels) -> Path:
    """Draw mean weights and the mutual information of one or more adapters, with 95 % intervals."""
    most = max(len(names) for names in levels.values())
    with figures.drawing(path, summary_rows(summaries, levels)) as plt:
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.2, 0.31 * len(summaries) * most + 2.4), layout="constrained"
        )
        figures.headline(figure, "; ".join(_told(name, it, levels[name]) for name, it in summaries.items()))
        _bars(left, summaries, levels)
        _information(right, summaries, most)
    return path


def _told(name: str, summary: RoutingSummary, levels: Sequence[str]) -> str:
    if len(levels) == 1:
        return f"{name}: {levels[0]} is the only level"
    leader, thing = int(summary.mean.argmax()), "patch" if summary.within_images > 1e-9 else "image"
    return (
        f"{name}: {levels[leader]} leads with {summary.mean[leader]:.2f}; "
        f"the {thing} tells {summary.mutual_information:.2f} of {np.log(len(levels)):.2f} nats"
    )


def _interval(low: float, high: float) -> str:
    return f"\n[{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""


def _bars(axes: Any, summaries: Summaries, levels: Levels) -> None:
    names = list(dict.fromkeys(name for own in sorted(levels.values(), key=len, reverse=True) for name in own))
    for row, (adapter, summary) in enumerate(reversed(summaries.items())):
        start = 0.0
        for level, mean, low, high in zip(levels[adapter], summary.mean, summary.low, summary.high, strict=True):
            axes.barh(row, mean, left=start, color=figures.colour_of_level(names.index(level)), height=0.55)
            interval = _interval(low, high) if mean > 0.18 else ""
            if mean > 0.07:
                axes.text(start + mean / 2, row, f"{mean:.2f}{interval}", ha="center", va="center", color="white",
                          fontsize=7.5)  # fmt: skip
            start += mean
    for k, name in enumerate(names):
        axes.bar(0, 0, color=figures.colour_of_level(k), label=name)
    axes.set_yticks(range(len(summaries)), list(reversed(summaries)))
    axes.set(xlim=(0, 1), ylim=(-0.6, len(summaries) - 0.4), xlabel="mean weight")
    axes.set_title("Mean weight of each level", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(names), fontsize=8, handlelength=1, borderpad=0)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _information(axes: Any, summaries: Summaries, levels: int) -> None:
    most = np.log(max(levels, 2))
    for row, summary in enumerate(reversed(summaries.values())):
        within, between = summary.within_images, summary.between_images
        axes.barh(row, within, color=LIGHT.ink, height=0.55, label="patch within its image" if row == 0 else None)
        axes.barh(row, between, left=within, color=LIGHT.quiet, height=0.55, label="image" if row == 0 else None)
        axes.plot([summary.information_low, summary.information_high], [row, row], color=figures.MARK, linewidth=2)
        text = f"{summary.mutual_information:.2f}{_interval(summary.information_low, summary.information_high)}"
        end = np.fmax(summary.mutual_information, summary.information_high) + 0.01 * most
        axes.text(end, row, text, va="center", fontsize=8, color=LIGHT.quiet)
    ends = [np.fmax(each.mutual_information, each.information_high) for each in summaries.values()]
    high = max(0.12 * most, 1.4 * max(ends))
    axes.set_yticks([])
    axes.set(
        xlim=(0, high),
        ylim=(-0.6, len(summaries) - 0.4),
        xlabel=f"nats, of log {levels} = {np.log(levels):.2f} at most",
    )
    axes.set_title("How much the level depends on the patch", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=8, handlelength=1, borderpad=0)
    axes.spines["left"].set_visible(False)
