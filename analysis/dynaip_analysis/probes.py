"""Linear probes with identities held out, and their control tasks.

A factor can be read from features if a ridge classifier (one against the rest) names its value for identities that it never
saw. The control task (Hewitt and Liang 2019) gives the same classifier shuffled labels: what it still reaches is not carried by
the features. Selectivity is the difference of the two. Folds, intervals and the scale are ours: a bootstrap over identities takes
the classifiers as they are, halvings of the identities also hold what other identities would have taught them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from dynaip.errors import InputError
from dynaip_analysis.resampling import Floats, Sampled, halved, weighted_mean

Ints = NDArray[np.int64]

FOLDS = 5
SHUFFLES = 5
HALVINGS = 10
STRENGTHS = tuple(10.0**k for k in range(-1, 6))
"""Ridge strengths that leave-one-out chooses from, for standardised features."""


@dataclass(frozen=True)
class Probe:
    """How well one factor is read; every case counts such that every value of the factor counts alike."""

    factor: str
    classes: int
    correct: Floats = field(repr=False)
    """Whether each case was named rightly, by a classifier that never saw its identity."""
    control: Floats = field(repr=False)
    """The same with shuffled labels, mean over shuffles."""
    weights: Floats = field(repr=False)
    groups: Ints = field(repr=False)
    halves: Floats | None = field(default=None, repr=False)
    """Selectivity in one half of the identities minus that in the other, each probed for itself, one a halving."""

    @property
    def cases(self) -> int:
        """Cases that took part."""
        return int((self.weights > 0).sum())

    @property
    def chance(self) -> float:
        """Balanced accuracy of guessing."""
        return 1 / self.classes

    def accuracy(self, seed: int = 0) -> Sampled:
        """Balanced accuracy."""
        return weighted_mean(self.correct, self.weights, self.groups, seed=seed)

    def selectivity(self, seed: int = 0) -> Sampled:
        """Accuracy minus that of the control task, over 1 - chance: 0 carries nothing, 1 everything.

        With halvings the interval is theirs, else that of the bootstrap.
        """
        gap = (self.correct - self.control) / (1 - self.chance)
        found = weighted_mean(gap, self.weights, self.groups, seed=seed)
        return found if self.halves is None else halved(found.value, self.halves, seed=seed)

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        shuffled = weighted_mean(self.control, self.weights, self.groups)
        return {
            "factor": self.factor,
            "classes": self.classes,
            "cases": self.cases,
            "chance": self.chance,
            **self.accuracy().row("accuracy"),
            **shuffled.row("shuffled"),
            **self.selectivity().row("selectivity"),
        }


def probe(
    features: NDArray[Any], factors: Mapping[str, Ints], groups: Ints, *, folds: int = FOLDS, seed: int = 0
) -> list[Probe]:
    """Probe features (cases x width) for every factor that has at least two values in two groups each.

    Raises ``InputError`` if there are fewer groups than folds.
    """
    if len(np.unique(groups)) < folds:
        raise InputError(f"probes hold identities out and need {folds} of them; there are {len(np.unique(groups))}")
    chosen = {name: usable(values, groups) for name, values in factors.items()}
    chosen = {name: values for name, values in chosen.items() if len(np.unique(values[values >= 0])) > 1}
    if not chosen:
        return []
    rng = np.random.default_rng(seed)
    shuffled = {name: [_shuffled(values, groups, rng) for _ in range(SHUFFLES)] for name, values in chosen.items()}
    targets = [values for name in chosen for values in (chosen[name], *shuffled[name])]
    hits = _held_out(np.asarray(features, np.float64), targets, groups, folds)
    found: list[Probe] = []
    for k, (name, values) in enumerate(chosen.items()):
        own = hits[k * (1 + SHUFFLES) : (k + 1) * (1 + SHUFFLES)]
        classes = len(np.unique(values[values >= 0]))
        found.append(Probe(name, classes, own[0], np.mean(own[1:], axis=0), _balanced(values), groups))
    return found


def probe_halves(
    features: NDArray[Any], factors: Mapping[str, Ints], groups: Ints, *, halvings: int = HALVINGS, seed: int = 0
) -> list[Probe]:
    """Probe as ``probe`` does, with intervals that hold the training of the classifiers too.

    With too few identities for two halves, or for a factor that no half can be asked for, they stay those of the bootstrap.
    """
    found = probe(features, factors, groups, seed=seed)
    names = np.unique(groups)
    if len(names) < 2 * FOLDS:
        return found
    rng = np.random.default_rng(seed)
    gaps: dict[str, list[float]] = {each.factor: [] for each in found}
    for _ in range(halvings):
        first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        one, other = (_selectivities(features, factors, groups, part, seed) for part in (first, ~first))
        for name, own in gaps.items():
            own.append(one.get(name, np.nan) - other.get(name, np.nan))
    known = {name: np.array(own) for name, own in gaps.items() if np.isfinite(own).any()}
    return [replace(each, halves=known.get(each.factor)) for each in found]


def _selectivities(
    features: NDArray[Any], factors: Mapping[str, Ints], groups: Ints, part: NDArray[np.bool_], seed: int
) -> dict[str, float]:
    """Selectivity of every factor among some of the cases."""
    own = {name: values[part] for name, values in factors.items()}
    return {each.factor: each.selectivity().value for each in probe(features[part], own, groups[part], seed=seed)}


def usable(values: Ints, groups: Ints) -> Ints:
    """Values that occur in two groups at least; the others become -1, since no fold could learn and test them."""
    kept = [value for value in np.unique(values) if value >= 0 and len(np.unique(groups[values == value])) > 1]
    return np.where(np.isin(values, kept), values, -1)


def _balanced(values: Ints) -> Floats:
    weights = np.zeros(len(values))
    for value in np.unique(values[values >= 0]):
        weights[values == value] = 1 / (values == value).sum()
    return weights


def _shuffled(values: Ints, groups: Ints, rng: np.random.Generator) -> Ints:
    """Labels dealt anew: whole identities if the factor belongs to the identity, else every case for itself.

    Otherwise a control task could be told from the true one by how its labels fall on identities.
    """
    names, first, members = np.unique(groups, return_index=True, return_inverse=True)
    if np.array_equal(values[first][members], values):
        return values[first][rng.permutation(len(names))][members]
    out, known = values.copy(), np.flatnonzero(values >= 0)
    out[known] = values[rng.permutation(known)]
    return out


def _held_out(features: Floats, targets: Sequence[Ints], groups: Ints, folds: int) -> list[Floats]:
    """Whether each case is named rightly for each target; one factorisation a fold serves all of them."""
    hits = [np.zeros(len(features)) for _ in targets]
    columns = [_one_hot(values) for values in targets]
    splits = np.cumsum([each.shape[1] for each in columns])[:-1]
    for train, test in GroupKFold(folds).split(features, groups=groups):
        scale = StandardScaler().fit(features[train])
        model = RidgeCV(alphas=STRENGTHS, alpha_per_target=True)
        model.fit(scale.transform(features[train]), np.concatenate(columns, axis=1)[train])
        scores = np.split(model.predict(scale.transform(features[test])), splits, axis=1)
        for hit, values, score in zip(hits, targets, scores, strict=True):
            names = np.unique(values[values >= 0])
            hit[test] = names[score.argmax(axis=1)] == values[test]
    return hits


def _one_hot(values: Ints) -> Floats:
    """+1 for the value, -1 for the others (a row of zeros where the value is unknown), cases x values."""
    names = np.unique(values[values >= 0])
    return np.where(values[:, None] == names, 1.0, -1.0) * (values >= 0)[:, None]
