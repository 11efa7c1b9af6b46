"""An ablation: one experiment, varied along axes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import Field, NonNegativeInt, PositiveInt, PrivateAttr, field_validator, model_validator

from dynaip.config.experiment import ExperimentConfig, fingerprint
from dynaip.config.explain import explained
from dynaip.config.merge import COMPONENTS, as_mapping, override, same_name
from dynaip.config.yaml_text import dump
from dynaip.plain import name_from, name_problem
from dynaip.registry.options import Strict


@dataclass(frozen=True)
class ArmSettings:
    """One arm: its name, and what it sets in the base experiment (dotted path -> value)."""

    name: str
    settings: Mapping[str, Any]


class AblationConfig(Strict):
    """A question, and the experiments that answer it."""

    question: str = ""
    base: dict[str, Any]
    """The experiment that the arms vary, written out (a file names a recipe or a file)."""
    axes: dict[str, list[Any]] = Field(default_factory=dict[str, list[Any]])
    """Dotted path -> values; axes multiply."""
    arms: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """Single arms, beside the product of the axes: dotted path -> value, and optionally ``name``."""
    exclude: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """Combinations to leave out: dotted path -> value, or a list of values."""
    seeds: list[NonNegativeInt] = Field(default_factory=lambda: [0], min_length=1)
    match_parameters: bool = False
    """Widen smaller fusions until all have as many parameters as the largest."""
    baselines: list[str] = Field(default_factory=list[str])
    """Shown beside the arms: ``base`` (no reference), otherwise a RUN such as ``microworld``."""
    jobs: PositiveInt = 1
    """Arms that run at a time."""
    threads: PositiveInt | None = None
    """CPU threads of each; None shares the cores out."""
    gpus: NonNegativeInt = 0
    """GPUs that each has for itself; 0: whatever its process sees, shared with the others."""
    minutes: PositiveInt | None = None
    """What a scheduler is asked for each; None leaves it to the executor."""
    report: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Options of the report: section name -> options of that section, or false to leave it out."""
    plugins: list[Path] = Field(default_factory=list[Path])
    _name: str = PrivateAttr("ablation")

    @field_validator("arms")
    @classmethod
    def _named(cls, arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for arm in arms:
            if arm.get("name") and (problem := name_problem(str(arm["name"]))):
                raise ValueError(f"name {problem}")
        return arms

    @field_validator("axes")
    @classmethod
    def _filled(cls, axes: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for path, values in axes.items():
            if not values:
                raise ValueError(f"axis {path} has no values")
        return axes

    @model_validator(mode="after")
    def _some_arms(self) -> AblationConfig:
        if not self.axes and not self.arms:
            raise ValueError("an ablation needs axes (path: [values]) or arms (a list of settings)")
        if not self.expand():
            raise ValueError("exclude leaves no arm")
        product = self._product()
        for rule in self.exclude:
            if not any(_matches(each, rule) for each in product):
                raise ValueError(f"exclude: no arm of the axes is {rule}; its paths and values are those of axes")
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AblationConfig) and self.resolved() == other.resolved()

    @property
    def name(self) -> str:
        """What the config is called: the stem of its file. No part of its meaning."""
        return self._name

    def named(self, name: str) -> AblationConfig:
        """Give the same config under another name."""
        copy = self.model_copy()
        copy._name = name
        return copy

    def expand(self) -> list[ArmSettings]:
        """Multiply the axes, leave out what is excluded, add the single arms; each has a name of its own."""
        kept = [each for each in self._product() if not any(_matches(each, rule) for rule in self.exclude)]
        singles = [{path: value for path, value in each.items() if path != "name"} for each in self.arms]
        names = [_label(each) for each in kept]
        names += [str(each.get("name") or _label(single)) for each, single in zip(self.arms, singles, strict=True)]
        return [ArmSettings(*each) for each in zip(_unique(names), [*kept, *singles], strict=True)]

    def _product(self) -> list[dict[str, Any]]:
        values = itertools.product(*self.axes.values()) if self.axes else ()
        return [dict(zip(self.axes, each, strict=True)) for each in values]

    def experiment(self, settings: Mapping[str, Any], seed: int | None = None) -> ExperimentConfig:
        """Build the experiment of an arm; ``ConfigError`` names the path that does not fit."""
        raw: dict[str, Any] = {**self.base, "plugins": [*self.base.get("plugins", []), *map(str, self.plugins)]}
        for path, value in settings.items():
            raw = override(raw, path, value, origin=f"arm {_label(settings)}")
        if seed is not None:
            raw = override(raw, "training.seed", seed, origin="seeds")
        with explained(ExperimentConfig, f"arm {_label(settings)}"):
            return ExperimentConfig.model_validate(raw)

    def resolved(self) -> dict[str, Any]:
        """Give everything as plain data, the base written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Write the resolved config; ``load_ablation`` reads it back to an equal one."""
        return dump(self.resolved())

    def hash(self) -> str:
        """Fingerprint (12 hex digits) of the arms and seeds, however they are written."""
        arms = [self.experiment(arm.settings, seed).hash() for arm in self.expand() for seed in self.seeds]
        return fingerprint([sorted(arms), self.match_parameters, sorted(self.baselines)])


def _matches(settings: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    return all(path in settings and _one_of(path, settings[path], rule[path]) for path in rule)


def _one_of(path: str, value: Any, wanted: Any) -> bool:
    several = isinstance(wanted, list) and not isinstance(value, list)
    choices: list[Any] = cast("list[Any]", wanted) if several else [wanted]
    return any(_equal(path, value, choice) for choice in choices)


def _equal(path: str, value: Any, wanted: Any) -> bool:
    one, other = as_mapping(value), as_mapping(wanted)
    if path not in COMPONENTS or not (isinstance(one, dict) and isinstance(other, dict)):
        return value == wanted
    named = same_name(str(one.get("use")), str(other.get("use", one.get("use"))))
    return named and all(one.get(key) == other[key] for key in other if key != "use")


def _label(settings: Mapping[str, Any]) -> str:
    return name_from("-".join(_word(path, value) for path, value in settings.items()), "base")


def _word(path: str, value: Any) -> str:
    """Make a short word of a setting, fit for a folder's name."""
    meant = as_mapping(value)
    if path in COMPONENTS and isinstance(meant, dict):
        options = cast("dict[str, Any]", meant)
        words = [str(options.get("use", path)).rpartition(":")[2]]
        words += [str(option) for key, option in options.items() if key != "use"]
    else:
        words = [path.rpartition(".")[2], str(value)]
    return re.sub(r"[^A-Za-z0-9_.]+", "_", "_".join(words)).strip("_.") or "empty"


def _unique(names: list[str]) -> list[str]:
    taken: dict[str, None] = {}
    for name in names:
        free = (name if count == 1 else f"{name}_{count}" for count in itertools.count(1))
        taken[next(each for each in free if each not in taken)] = None
    return [*taken]
