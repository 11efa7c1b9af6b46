"""The plan of an ablation: axes become arms, arms share trainings, and ``plan.yaml`` says which and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dynaip.atomic import write_text
from dynaip.config import AblationConfig, ComponentSpec, ExperimentConfig, PolicyConfig
from dynaip.config.experiment import fingerprint
from dynaip.config.yaml_text import dump
from dynaip.errors import InputError
from dynaip.plain import name_from
from dynaip.registry import registry
from dynaip.training.sizes import settled

BASE = "base"
"""The baseline without any reference."""


@dataclass(frozen=True)
class PlannedTraining:
    """One adapter to train; it serves one arm or several."""

    hash: str
    config: ExperimentConfig


@dataclass(frozen=True)
class Arm:
    """One arm with one seed, or a baseline that is only evaluated."""

    name: str
    seed: int
    config: ExperimentConfig
    training: str | None = None
    """Hash of the training that serves it; None for a baseline."""
    why: str = ""
    """Why that training serves it."""
    run: str | None = None
    """RUN of a baseline: ``base`` or a trained adapter."""

    @property
    def folder(self) -> str:
        """Name of its folder below ``arms/``."""
        return f"{self.name}-{fingerprint([self.config.hash(), self.run])}"


@dataclass(frozen=True)
class Plan:
    """Everything that an ablation will do."""

    name: str
    question: str
    arms: tuple[Arm, ...]
    trainings: tuple[PlannedTraining, ...]
    report: Mapping[str, Any]
    jobs: int = 1
    threads: int | None = None
    gpus: int = 0
    minutes: int | None = None

    def groups(self) -> list[tuple[str, list[Arm]]]:
        """What is done in one process: a training and the arms it serves; a baseline."""
        trained = [(each.hash, [arm for arm in self.arms if arm.training == each.hash]) for each in self.trainings]
        return trained + [(arm.folder, [arm]) for arm in self.arms if arm.training is None]

    def resolved(self) -> dict[str, Any]:
        """Plain data for ``plan.yaml``."""
        return {
            "name": self.name,
            "question": self.question,
            "arms": [_arm_entry(arm) for arm in self.arms],
            "trainings": [
                {"hash": each.hash, "steps": each.config.training.steps, "config": each.config.resolved()}
                for each in self.trainings
            ],
            "report": dict(self.report),
            "jobs": self.jobs,
            "threads": self.threads,
            "gpus": self.gpus,
            "minutes": self.minutes,
        }

    def write(self, path: Path) -> None:
        """Write ``plan.yaml``."""
        write_text(path, dump(self.resolved()))


def _arm_entry(arm: Arm) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": arm.name, "folder": arm.folder, "seed": arm.seed}
    if arm.run is not None:
        return entry | {"baseline": True, "run": arm.run}
    policy = arm.config.decoupling.dump()
    return entry | {"training": arm.training, "why": arm.why, "decoupling": policy, "config": arm.config.hash()}


def make_plan(ablation: AblationConfig, *, limit: int | None = None) -> Plan:
    """Expand an ablation; ``limit`` cuts the cases of every suite. Raises ``InputError`` if an arm cannot be evaluated."""
    drafts = [
        Arm(settings.name, seed, ablation.experiment(settings.settings, seed))
        for seed in ablation.seeds
        for settings in ablation.expand()
    ]
    if any(arm.config.evaluation is None for arm in drafts):
        raise InputError(
            f"ablation {ablation.name}: its experiments have no evaluation section, so nothing can be compared"
        )
    if limit is not None:
        drafts = [replace(arm, config=_limited(arm.config, limit)) for arm in drafts]
    _check_names(drafts, ablation.baselines)
    if ablation.match_parameters:
        drafts = _matched(drafts)
    arms, trainings = _served(drafts)
    for config in trainings.values():
        settled(config)  # a size that cannot be painted is no matter for the first worker
    baselines = [Arm(_baseline_name(run), 0, drafts[0].config, run=run) for run in ablation.baselines]
    return Plan(
        ablation.name,
        ablation.question,
        (*arms, *baselines),
        tuple(PlannedTraining(key, config) for key, config in trainings.items()),
        ablation.report,
        ablation.jobs,
        ablation.threads,
        ablation.gpus,
        ablation.minutes,
    )


def _limited(config: ExperimentConfig, limit: int) -> ExperimentConfig:
    evaluation = config.evaluation and config.evaluation.model_copy(update={"limit": limit})
    return config.model_copy(update={"evaluation": evaluation}).named(config.name)


def _baseline_name(run: str) -> str:
    return BASE if run == BASE else name_from(Path(run).name, "baseline")


def _check_names(drafts: Sequence[Arm], baselines: Sequence[str]) -> None:
    """Results are told apart by name and seed: none is there twice."""
    for arm, count in Counter((arm.name, arm.seed) for arm in drafts).items():
        if count > 1:
            raise InputError(f"arms: {arm[0]} with seed {arm[1]} is there {count} times; keep one, or name them apart")
    taken = {arm.name for arm in drafts}
    for run in baselines:
        name = _baseline_name(run)
        if name in taken:
            raise InputError(f"baselines: {run} would be called {name} like another arm; rename one")
        taken.add(name)


def _served(drafts: Sequence[Arm]) -> tuple[list[Arm], dict[str, ExperimentConfig]]:
    """Give each arm its training (its own, or another arm's that can serve its policy), and the configs to train by hash."""
    own = [arm.config.training_hash() for arm in drafts]
    lenders = [[key for key in _alternatives(arm.config) if key in own] for arm in drafts]
    # An adapter is only borrowed from an arm that does not borrow itself.
    trainings: dict[str, ExperimentConfig] = {}
    for arm, key, others in zip(drafts, own, lenders, strict=True):
        if not others:
            trainings.setdefault(key, arm.config)
    trained = set(trainings)
    arms: list[Arm] = []
    for arm, key, others in zip(drafts, own, lenders, strict=True):
        if other := next((each for each in others if each in trained), None):
            why, key = "an adapter trained with other branch weights serves this policy at inference", other
        elif own.count(key) > 1:
            why = "several arms differ only in what happens at inference"
        else:
            why = "its own"
        trainings.setdefault(key, arm.config)
        arms.append(replace(arm, training=key, why=why))
    return arms, trainings


def _alternatives(config: ExperimentConfig) -> list[str]:
    """Hashes of the trainings that could serve a policy instead of its own."""
    policy = config.decoupling.config
    if not isinstance(policy, PolicyConfig):
        return []
    return [fingerprint(config.training_part() | {"decoupling": part}) for part in policy.served_by()]


def _matched(drafts: Sequence[Arm]) -> list[Arm]:
    """Widen the smaller fusions until all arms are as large as the largest (``match_parameters``)."""
    from dynaip.ablation.matching import count, match_parameters

    fusions: dict[str, dict[str, ComponentSpec]] = {}
    contexts: dict[str, dict[str, Any]] = {}
    for arm in drafts:
        place = _surroundings(arm)
        fusions.setdefault(place, {})[fingerprint(arm.config.fusion.dump())] = arm.config.fusion
        if place not in contexts:
            contexts[place] = {
                "widths": registry().build(arm.config.encoder).widths,
                "dim": arm.config.adapter.token_width,
                "condition_dim": registry().build(arm.config.backbone).condition_width(),
            }
    largest = max(count(fusion, **contexts[place]) for place, specs in fusions.items() for fusion in specs.values())
    matched = {place: match_parameters(specs, **contexts[place], target=largest)[0] for place, specs in fusions.items()}

    def widened(arm: Arm) -> Arm:
        fusion = matched[_surroundings(arm)][fingerprint(arm.config.fusion.dump())]
        return replace(arm, config=arm.config.model_copy(update={"fusion": fusion}).named(arm.config.name))

    return [widened(arm) for arm in drafts]


def _surroundings(arm: Arm) -> str:
    """Whatever a fusion's size depends on besides its own options."""
    config = arm.config
    return fingerprint([config.encoder.dump(), config.backbone.dump(), config.adapter.token_width])
