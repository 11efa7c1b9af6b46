"""What the router does: weights of the levels over patches and images, and how much they depend on the patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.statistics.intervals import interval
from dynaip_analysis.inference.resampling import DRAWS
from dynaip_analysis.routing.dependence import dead, entropy

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
    groups = np.arange(len(tokens)) if groups is None else groups
    means, informations = _drawn(tokens, groups)
    count = len(np.unique(groups))
    low, high = np.array([interval(own, count) for own in means.T]).T
    least, most = interval(informations, count)
    first = tokens >= tokens.max(axis=-1, keepdims=True) - 1e-9
    load = (first / first.sum(axis=-1, keepdims=True)).mean(axis=(0, 1))
    return RoutingSummary(
        mean, tokens.std(axis=(0, 1)), load, whole, alone, whole - per_image, per_image - alone, low, high,
        least, most,
    )  # fmt: skip


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
