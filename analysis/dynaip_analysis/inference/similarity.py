"""How alike two sets of features are, and which pictures lie beside each other in one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _centred(features: NDArray[Any]) -> Floats:
    """The U-centred Gram matrix of n features (Székely and Rizzo 2014), n x n, with a diagonal of zeros."""
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    gram = x @ x.T
    n = len(gram)
    np.fill_diagonal(gram, 0)
    rows = gram.sum(axis=1) / (n - 2)
    gram = gram - rows[:, None] - rows[None] + gram.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0)
    return gram


def unbiased_cka(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Linear CKA of two sets of features of the same n >= 4 cases, with the unbiased estimator of HSIC.

    Song et al. 2012, eq. 5, in the U-centred form; independent features give 0 whatever their width, equal ones 1.
    """
    return float(cka_matrix({"a": one, "b": other})[0, 1])


def cka_matrix(features: Mapping[str, NDArray[Any]]) -> Floats:
    """Unbiased CKA between all sets, in their order."""
    flat = np.stack([_centred(each).ravel() for each in features.values()])
    products = flat @ flat.T
    scale = np.sqrt(np.maximum(np.diag(products), 1e-300))
    return products / scale[:, None] / scale


def permuted_cka(one: NDArray[Any], other: NDArray[Any], *, shuffles: int = 99, seed: int = 0) -> Floats:
    """CKA when the cases of one set are dealt anew: what chance gives."""
    rng = np.random.default_rng(seed)
    a, b = _centred(one), _centred(other)
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    orders = (rng.permutation(len(a)) for _ in range(shuffles))
    return np.array([(a[np.ix_(order, order)] * b).sum() / scale for order in orders])


def nearest(features: NDArray[Any], apart: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The nearest other case of each (cosine of centred features), among those that differ in ``apart``; -1 if there is none."""
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    likeness = np.where(_others(len(x), apart), x @ x.T, -np.inf)
    return np.where(np.isfinite(likeness.max(axis=1)), likeness.argmax(axis=1), -1)


def nearest_shares(features: NDArray[Any], labels: NDArray[np.int64], apart: NDArray[np.int64] | None = None) -> Floats:
    """Whether the nearest other case has the same label, one a case; NaN where none could, or the label is below zero.

    ``apart`` leaves cases out that share its value: those of one instance, if categories are asked for. Cases without a label
    are nobody's neighbours.
    """
    known = np.flatnonzero(labels >= 0)
    apart = np.arange(len(labels)) if apart is None else apart
    found = np.full(len(labels), np.nan)
    same = labels[known][nearest(np.asarray(features)[known], apart[known])] == labels[known]
    possible = _partners(labels[known], apart[known])[0] > 0
    found[known] = np.where(possible, same, np.nan)
    return found


def nearest_by_chance(labels: NDArray[np.int64], apart: NDArray[np.int64] | None = None) -> float:
    """The share that a neighbour drawn evenly would reach, exactly, over the cases that have a partner."""
    known = labels >= 0
    partners, others = _partners(labels[known], None if apart is None else apart[known])
    possible = partners > 0
    return float((partners[possible] / others[possible]).mean()) if possible.any() else float("nan")


def _partners(labels: NDArray[np.int64], apart: NDArray[np.int64] | None) -> tuple[Floats, Floats]:
    """How many cases that may be a neighbour have the same label, and how many there are."""
    others = _others(len(labels), apart)
    return (others & (labels[:, None] == labels)).sum(axis=1).astype(float), others.sum(axis=1).astype(float)


def _others(count: int, apart: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Which cases may be neighbours of which."""
    return ~np.eye(count, dtype=bool) if apart is None else apart[:, None] != apart
