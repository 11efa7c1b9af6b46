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
    return _normalised(np.stack([_centred(each) for each in features.values()]))


def _normalised(grams: Floats) -> Floats:
    flat = grams.reshape(len(grams), -1)
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


def nearest_shares(features: NDArray[Any], labels: NDArray[np.int64]) -> Floats:
    """Whether the nearest other case (cosine of centred features) has the same label, one a case; NaN where none could."""
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    likeness = x @ x.T
    np.fill_diagonal(likeness, -np.inf)
    same = labels[likeness.argmax(axis=1)] == labels
    return np.where(_partners(labels) > 0, same, np.nan).astype(np.float64)


def nearest_by_chance(labels: NDArray[np.int64]) -> float:
    """The share that a neighbour drawn evenly would reach, exactly, over the cases that have a partner."""
    partners = _partners(labels)
    return float(partners[partners > 0].mean() / (len(labels) - 1)) if (partners > 0).any() else float("nan")


def _partners(labels: NDArray[np.int64]) -> Floats:
    return np.bincount(labels)[labels].astype(np.float64) - 1
