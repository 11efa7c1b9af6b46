"""The axes along which the arms of an ablation differ, read from the arms' own configs, and which arms each compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from dynaip.config.merge import COMPONENTS

LEFT_OUT = ("training.seed", "evaluation", "plugins", "name")
"""Paths that are no axis: seeds repeat an arm, and how it is judged is the same for all."""


@dataclass(frozen=True)
class Axis:
    """One thing that arms differ in, with the level of every arm that has one."""

    name: str
    levels: tuple[str, ...]
    """In the order in which the arms have them; the first is what the others are compared with."""
    of: Mapping[str, str]
    """Arm -> level."""


@dataclass(frozen=True)
class Contrast:
    """Two levels of an axis, and the pairs of arms that differ in nothing else."""

    axis: str
    level: str
    other: str
    pairs: tuple[tuple[str, str], ...]
    """Arms with ``level`` and with ``other``."""
    within: tuple[str, ...]
    """What is the same in each pair, in words; empty without a further axis."""


@dataclass(frozen=True)
class Interaction:
    """Whether the contrast of one axis is another one under another level of a second axis: four arms a term."""

    first: Contrast
    second: str
    """Axis within which the contrast may change."""
    level: str
    other: str
    terms: tuple[tuple[float, str], ...]
    """Weight and arm; the weights sum to zero."""


def axes_of(configs: Mapping[str, Mapping[str, Any]]) -> list[Axis]:
    """Find the axes of arms (name -> resolved config); axes that split the arms alike are one, with both names."""
    flat = {arm: _flat(config) for arm, config in configs.items() if config}
    paths = list(dict.fromkeys(path for values in flat.values() for path in values))
    by_split: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        values = [flat[arm].get(path, "null") for arm in flat]
        if len(set(values)) > 1:
            first = {value: str(number) for number, value in reversed(list(enumerate(values)))}
            by_split.setdefault(tuple(first[value] for value in values), []).append(path)
    axes = [_axis(names, list(flat), flat) for names in by_split.values()]
    return axes if len(axes) > 1 else [_by_arms(axis) for axis in axes]


def _by_arms(axis: Axis) -> Axis:
    """Levels that are mappings, which nobody says aloud, are called by their arms where each has one of its own."""
    if len(axis.of) > len(axis.levels) or not any("{" in level for level in axis.levels):
        return axis
    names = {level: arm for arm, level in axis.of.items()}
    return Axis(axis.name, tuple(names[level] for level in axis.levels), {arm: arm for arm in axis.of})


def _axis(paths: Sequence[str], arms: Sequence[str], flat: Mapping[str, Mapping[str, str]]) -> Axis:
    main = min(paths, key=lambda path: (path.count("."), paths.index(path)))
    values = {arm: flat[arm].get(main, "null") for arm in arms}
    words = _words(list(dict.fromkeys(values.values())))
    return Axis(" and ".join(paths[:2]), tuple(words.values()), {arm: words[value] for arm, value in values.items()})


def _words(values: Sequence[str]) -> dict[str, str]:
    """Values as people say them: a component by its name, with its options where two share it."""
    parsed = [json.loads(value) for value in values]
    plain = [_name(value) for value in parsed]
    names = plain[:]
    for place, value in enumerate(parsed):
        if plain.count(_name(value)) > 1 and isinstance(value, dict):
            others = [each for each in parsed if each is not value and _name(each) == _name(value)]
            own = {key: it for key, it in value.items() if any(each.get(key) != it for each in others)}
            names[place] = " ".join([_name(value), *(f"{key}={_name(it)}" for key, it in own.items())])
    return dict(zip(values, names, strict=True))


def _name(value: Any) -> str:
    if isinstance(value, dict):
        use = value.get("use")  # pyright: ignore[reportUnknownMemberType]
        return str(use).rpartition(":")[2] if use else json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted path -> value as JSON; a component is one value."""
    found: dict[str, str] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        if path in LEFT_OUT:
            continue
        if isinstance(value, Mapping) and path not in COMPONENTS and value:
            found |= _flat(value, f"{path}.")
        else:
            found[path] = json.dumps(
                {"use": value} if path in COMPONENTS and isinstance(value, str) else value, sort_keys=True
            )
    return found


def contrasts(axes: Sequence[Axis]) -> list[Contrast]:
    """The first level of every axis against each other one, over all pairs of arms that differ in that axis alone."""
    found: list[Contrast] = []
    for axis in axes:
        rest = [each for each in axes if each is not axis]
        for other in axis.levels[1:]:
            pairs = _pairs(axis, axis.levels[0], other, rest)
            if pairs:
                within = tuple(" ".join(each.of[arm] for each in rest) for arm, _ in pairs) if rest else ()
                found.append(Contrast(axis.name, axis.levels[0], other, tuple(pairs), within))
    return found


def _pairs(axis: Axis, level: str, other: str, rest: Sequence[Axis]) -> list[tuple[str, str]]:
    def place(arm: str) -> tuple[str | None, ...]:
        return tuple(each.of.get(arm) for each in rest)

    ones = [arm for arm, own in axis.of.items() if own == level]
    others = {place(arm): arm for arm, own in axis.of.items() if own == other}
    return [(arm, others[place(arm)]) for arm in ones if place(arm) in others]


def interactions(axes: Sequence[Axis]) -> list[Interaction]:
    """For every two axes, each contrast of the earlier one under the first level of the later one against under another."""
    found: list[Interaction] = []
    for axis, second in combinations(axes, 2):
        rest = [each for each in axes if each is not axis and each is not second]
        for contrast in contrasts([axis, second, *rest]):
            if contrast.axis != axis.name:
                continue
            for other in second.levels[1:]:
                terms = _four(contrast, second, second.levels[0], other, rest)
                if terms:
                    found.append(Interaction(contrast, second.name, second.levels[0], other, terms))
    return found


def _four(
    contrast: Contrast, second: Axis, level: str, other: str, rest: Sequence[Axis]
) -> tuple[tuple[float, str], ...]:
    def under(wanted: str) -> dict[tuple[str, ...], tuple[str, str]]:
        return {
            tuple(each.of[arm] for each in rest): (arm, twin)
            for arm, twin in contrast.pairs
            if second.of[arm] == wanted
        }

    here, there = under(level), under(other)
    both = [place for place in here if place in there]
    share = 1 / len(both) if both else 0.0
    return tuple(
        (share * sign, arm)
        for place in both
        for sign, arm in zip((1, -1, -1, 1), (*here[place], *there[place]), strict=True)
    )
