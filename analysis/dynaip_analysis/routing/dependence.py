"""What the router's choice depends on: mutual information with place, class and prompt, against a permutation null (ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip_analysis.inference.resampling import Sampled, weighted_mean

Floats = NDArray[np.float64]

SHUFFLES = 999
DEAD = 0.1
"""A level or expert is dead if no token prefers it and its mean weight is below this share of an even one."""


def entropy(weights: Floats) -> Floats:
    """Entropy over the last axis, in nats."""
    safe = np.where(weights > 0, weights, 1.0)
    return np.maximum(-(weights * np.log(safe)).sum(axis=-1), 0.0)


@dataclass(frozen=True)
class Dependence:
    """Mutual information of the choice with something, and what chance gives."""

    information: float
    """I(level; thing) in nats."""
    chance: float
    """Its mean when the thing is dealt anew."""
    limit: float
    """The 95 % quantile of that."""
    p: float
    """Share of the shuffles that reach it (with the sample counted in)."""

    def clear(self, tried: int = 1) -> bool:
        """Whether it is beyond chance at 5 % when ``tried`` things were looked at (Bonferroni)."""
        return self.p <= 0.05 / tried

    @property
    def excess(self) -> float:
        """Information beyond what chance gives, which grows with the number of classes."""
        return self.information - self.chance

    def row(self) -> dict[str, float]:
        """Tidy columns."""
        return {"information": self.information, "chance": self.chance, "limit": self.limit, "p": self.p}


def place_dependence(
    weights: Floats,
    grid: tuple[int, int],
    groups: NDArray[Any] | None = None,
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Dependence:
    """I(level; place) of B x N x L weights on a grid of N patches; the null shifts each map around the torus.

    Neighbouring patches are alike, and so are images of one group (identity): a shift keeps the first, and one shift for a
    whole group the second. Patches dealt one by one would call smooth maps dependent on their place too often.
    """
    rng = np.random.default_rng(seed)
    members = _members(groups, len(weights))
    maps = weights.reshape(len(weights), *grid, -1)
    rows, columns, images = np.arange(grid[0]), np.arange(grid[1]), np.arange(len(weights))

    def dealt() -> float:
        down, right = (rng.integers(size, size=members.max() + 1)[members] for size in grid)
        row = (rows + down[:, None]) % grid[0]
        column = (columns + right[:, None]) % grid[1]
        moved = maps[images[:, None, None], row[:, :, None], column[:, None, :]]
        return _information(moved.mean(axis=0).reshape(-1, maps.shape[-1]))

    return _against(_information(weights.mean(axis=0)), dealt, shuffles)


def class_dependence(
    weights: Floats,
    labels: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Dependence:
    """I(level; class of the image) of B x N x L (or B x L) weights; the null deals the labels anew, by whole groups."""
    rng = np.random.default_rng(seed)
    images = weights.mean(axis=1) if weights.ndim == 3 else weights
    classes = np.unique(labels, return_inverse=True)[1]
    members = _members(groups, len(images))

    def of(order: NDArray[Any]) -> float:
        chosen = np.eye(classes.max() + 1)[order]
        counts = chosen.sum(axis=0)
        known = counts > 0  # a deal of groups of unequal size may leave a class out
        return _information((chosen.T @ images)[known] / counts[known, None], counts[known] / len(order))

    return _against(of(classes), lambda: of(dealt_anew(classes, members, rng)), shuffles)


def dealt_anew(labels: NDArray[Any], groups: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Labels dealt such that images of one group (an identity) stay together, since they are not independent.

    A label that is constant in every group goes to another group. Others change places between groups of one size, and
    within their group (whole-block and within-block exchange, Winkler et al. 2015).
    """
    blocks = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    if all((labels[block] == labels[block[0]]).all() for block in blocks):
        own = np.array([labels[block[0]] for block in blocks])
        return rng.permutation(own)[np.unique(groups, return_inverse=True)[1]]
    dealt = labels.copy()
    for size in {len(block) for block in blocks}:
        alike = np.stack([block for block in blocks if len(block) == size])
        dealt[alike] = rng.permuted(labels[alike][rng.permutation(len(alike))], axis=1)
    return dealt


def _members(groups: NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    """Groups as 0, 1, ...; every image for itself if there are none, or one alone."""
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    return members if members.max() > 0 else np.arange(count)


def prompt_information(weights: Floats, groups: NDArray[Any] | None = None) -> Sampled:
    """I(level; prompt | reference, patch) of P x B x N x L weights: exactly 0 for a router that never sees the prompt.

    The interval is over references (whole ``groups`` of them), for these prompts.
    """
    tokens = entropy(weights.mean(axis=0)) - entropy(weights).mean(axis=0)
    return weighted_mean(tokens.mean(axis=-1), np.ones(len(tokens)), _members(groups, len(tokens)))


def _information(by: Floats, share: Floats | None = None) -> float:
    """H(mean) - mean H over the first axis."""
    share = np.full(len(by), 1 / len(by)) if share is None else share
    return max(float(entropy(share @ by) - share @ entropy(by)), 0.0)


def _against(found: float, dealt: Callable[[], float], shuffles: int) -> Dependence:
    null = np.array([dealt() for _ in range(shuffles)])
    p = float((1 + (null >= found - 1e-12).sum()) / (1 + shuffles))
    return Dependence(found, float(null.mean()), float(np.percentile(null, 95)), p)


def dependences(
    weights: Floats,
    labels: Mapping[str, NDArray[Any]],
    grid: tuple[int, int],
    groups: NDArray[Any] | None = None,
    *,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> dict[str, Dependence]:
    """Of the patch's place (where weights are per token) and of every label of the image; see the two for the nulls.

    Images whose label is below zero do not know it, and are left out there.
    """
    found: dict[str, Dependence] = {}
    if weights.ndim == 3:
        found["patch position"] = place_dependence(weights, grid, groups, shuffles=shuffles, seed=seed)
    members = _members(groups, len(weights))
    for name, values in labels.items():
        known = values >= 0
        found[name] = class_dependence(weights[known], values[known], members[known], shuffles=shuffles, seed=seed)
    return found


def dead(mean: Floats, load: Floats) -> NDArray[np.bool_]:
    """Which levels or experts nobody uses."""
    return (load == 0) & (mean < DEAD / len(mean))
