"""What the router's choice depends on: mutual information with place, class and prompt, against a permutation null (ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHUFFLES = 499
DEAD = 0.1
"""A level or expert is dead if no token prefers it and its mean weight is below this share of an even one."""


def entropy(weights: Floats) -> Floats:
    """Entropy over the last axis, in nats."""
    safe = np.where(weights > 0, weights, 1.0)
    return -(weights * np.log(safe)).sum(axis=-1)


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

    def row(self) -> dict[str, float]:
        """Tidy columns."""
        return {"information": self.information, "chance": self.chance, "limit": self.limit, "p": self.p}


def place_dependence(weights: Floats, *, shuffles: int = SHUFFLES, seed: int = 0) -> Dependence:
    """I(level; place) of B x N x L weights; the null shuffles the patches of each image."""
    rng = np.random.default_rng(seed)

    def dealt() -> float:
        order = rng.permuted(np.tile(np.arange(weights.shape[1]), (len(weights), 1)), axis=1)
        return _information(np.take_along_axis(weights, order[:, :, None], axis=1).mean(axis=0))

    return _against(_information(weights.mean(axis=0)), dealt, shuffles)


def class_dependence(weights: Floats, labels: NDArray[Any], *, shuffles: int = SHUFFLES, seed: int = 0) -> Dependence:
    """I(level; class of the image) of B x N x L (or B x L) weights; the null deals the labels anew over images."""
    rng = np.random.default_rng(seed)
    images = weights.mean(axis=1) if weights.ndim == 3 else weights
    members = np.unique(labels, return_inverse=True)[1]

    def of(order: NDArray[Any]) -> float:
        share = np.bincount(order) / len(order)
        means = np.stack([images[order == k].mean(axis=0) for k in range(len(share))])
        return _information(means, share)

    return _against(of(members), lambda: of(rng.permutation(members)), shuffles)


def prompt_information(weights: Floats) -> float:
    """I(level; prompt | reference, patch) of P x B x N x L weights: exactly 0 for a router that never sees the prompt."""
    return float((entropy(weights.mean(axis=0)) - entropy(weights).mean(axis=0)).mean())


def _information(by: Floats, share: Floats | None = None) -> float:
    """H(mean) - mean H over the first axis."""
    share = np.full(len(by), 1 / len(by)) if share is None else share
    return float(entropy(share @ by) - share @ entropy(by))


def _against(found: float, dealt: Callable[[], float], shuffles: int) -> Dependence:
    null = np.array([dealt() for _ in range(shuffles)])
    p = float((1 + (null >= found).sum()) / (1 + shuffles))
    return Dependence(found, float(null.mean()), float(np.percentile(null, 95)), p)


def dependences(
    weights: Floats, labels: Mapping[str, NDArray[Any]], *, shuffles: int = SHUFFLES, seed: int = 0
) -> dict[str, Dependence]:
    """Of the patch's place (where weights are per token) and of every label of the image."""
    found: dict[str, Dependence] = {}
    if weights.ndim == 3:
        found["place of the patch"] = place_dependence(weights, shuffles=shuffles, seed=seed)
    for name, values in labels.items():
        found[name] = class_dependence(weights, values, shuffles=shuffles, seed=seed)
    return found


def dead(mean: Floats, load: Floats) -> NDArray[np.bool_]:
    """Which levels or experts nobody uses."""
    return (load == 0) & (mean < DEAD / len(mean))
