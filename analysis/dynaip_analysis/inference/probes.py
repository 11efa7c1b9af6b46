"""Linear probes with identities held out, and their control tasks.

A factor can be read from features if a ridge classifier (one against the rest) names its value for identities that it never
saw. The control task (Hewitt and Liang 2019) gives the same classifier shuffled labels: what it still reaches is not carried by
the features. Selectivity is the difference of the two, as a share of what the control leaves. Folds, intervals and the scale are
ours: a bootstrap over identities takes the classifiers as they are, halvings of the identities also hold what other identities
would have taught them.
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
from dynaip_analysis.inference.resampling import Floats, Sampled, halved, mean, weighted_mean

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
    weights: Floats = field(repr=False)
    control: Floats = field(repr=False)
    """The same with shuffled labels, shuffles x cases."""
    control_weights: Floats = field(repr=False)
    """Weights by the shuffled labels, such that every value counts alike there too."""
    groups: Ints = field(repr=False)
    halves: Floats | None = field(default=None, repr=False)
    """Selectivity in one half of the identities minus that in the other, each probed for itself, one a halving; as large as
    it would be if a half's bootstrap were wider than the whole's by the square root of two."""

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

    def shuffled(self, seed: int = 0) -> Sampled:
        """Balanced accuracy of the control task, mean over shuffles."""
        pairs = zip(self.control, self.control_weights, strict=True)
        return mean([weighted_mean(hits, weights, self.groups, seed=seed) for hits, weights in pairs])

    def selectivity(self, seed: int = 0) -> Sampled:
        """(accuracy - control) / (1 - control): 0 as with shuffled labels, 1 read without fault.

        With halvings the interval is theirs, else that of the bootstrap.
        """
        own, control = self.accuracy(seed), self.shuffled(seed)
        value = (own.value - control.value) / max(1 - control.value, 1e-9)
        if self.halves is not None:
            return halved(value, self.halves, seed=seed)
        draws = (own.draws - control.draws) / np.maximum(1 - control.draws, 1e-9)
        return Sampled(value, draws, min(own.groups, control.groups))

    def row(self) -> dict[str, Any]:
        """Tidy columns."""
        return {
            "factor": self.factor,
            "classes": self.classes,
            "cases": self.cases,
            "chance": self.chance,
            **self.accuracy().row("accuracy"),
            **self.shuffled().row("shuffled"),
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
        weights = np.stack([_balanced(dealt) for dealt in shuffled[name]])
        found.append(Probe(name, classes, own[0], _balanced(values), np.stack(own[1:]), weights, groups))
    return found


def probe_halves(
    features: NDArray[Any], factors: Mapping[str, Ints], groups: Ints, *, halvings: int = HALVINGS, seed: int = 0
) -> list[Probe]:
    """Probe as ``probe`` does, with intervals that hold the training of the classifiers too.

    Fewer identities teach less, so that a half is more uncertain than its size says; the bootstraps of halves and whole tell
    by how much. With too few identities for two halves, or for a factor that no half can be asked for, intervals stay those of
    the bootstrap.
    """
    found = probe(features, factors, groups, seed=seed)
    names = np.unique(groups)
    if len(names) < 2 * FOLDS:
        return found
    rng = np.random.default_rng(seed)
    wholes = {each.factor: each.selectivity(seed) for each in found}
    gaps: dict[str, list[float]] = {name: [] for name in wholes}
    for _ in range(halvings):
        first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        one, other = (_selectivities(features, factors, groups, part, seed) for part in (first, ~first))
        for name, whole in wholes.items():
            a, b = one.get(name), other.get(name)
            gaps[name].append(np.nan if a is None or b is None else _scaled(a, b, whole))
    known = {name: np.array(own) for name, own in gaps.items() if np.isfinite(own).any()}
    return [replace(each, halves=known.get(each.factor)) for each in found]


def _selectivities(
    features: NDArray[Any], factors: Mapping[str, Ints], groups: Ints, part: NDArray[np.bool_], seed: int
) -> dict[str, Sampled]:
    """Selectivity of every factor among some of the cases."""
    own = {name: values[part] for name, values in factors.items()}
    return {each.factor: each.selectivity(seed) for each in probe(features[part], own, groups[part], seed=seed)}


def _scaled(one: Sampled, other: Sampled, whole: Sampled) -> float:
    """The difference of two halves, if their spread were that of the whole times the square root of two."""
    spread = np.sqrt((np.nanvar(one.draws) + np.nanvar(other.draws)) / 2)
    return float((one.value - other.value) * np.sqrt(2) * np.nanstd(whole.draws) / spread) if spread > 0 else np.nan


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
    names = [np.unique(values[values >= 0]) for values in targets]
    splits = np.cumsum([len(each) for each in names])[:-1]
    for train, test in GroupKFold(folds).split(features, groups=groups):
        scale = StandardScaler().fit(features[train])
        model = RidgeCV(alphas=STRENGTHS, alpha_per_target=True)
        columns = [_indicators(values[train], known) for values, known in zip(targets, names, strict=True)]
        model.fit(scale.transform(features[train]), np.concatenate(columns, axis=1))
        scores = np.split(model.predict(scale.transform(features[test])), splits, axis=1)
        for hit, values, known, column, score in zip(hits, targets, names, columns, scores, strict=True):
            # A score over its share in training says how likely the value would be if all values were equally common;
            # the commonest would otherwise be named nearly always.
            share = column.mean(axis=0)
            likely = np.where(share > 0, score / np.maximum(share, 1e-9), -np.inf)
            hit[test] = known[likely.argmax(axis=1)] == values[test]
    return hits


def _indicators(values: Ints, names: Ints) -> Floats:
    """1 for the value and 0 for the others, cases x values; the shares of the values where it is unknown."""
    columns = (values[:, None] == names).astype(float)
    known = values >= 0
    columns[~known] = columns[known].mean(axis=0) if known.any() else 0
    return columns
