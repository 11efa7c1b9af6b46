"""Whether a training fits its machine, asked of one plan: it refuses, chooses gradient checkpointing, and says what to change."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dynaip.config import ExperimentConfig
from dynaip.errors import InputError
from dynaip.training.machines import GIB, Machine
from dynaip.training.plan import TrainingPlan, make_plan, told
from dynaip.training.sharding import wants_shards

LARGE = 100_000_000
"""Parameters of a base from which a step may fill the memory of a CPU: smaller ones are not planned there."""


@dataclass(frozen=True)
class Room:
    """A training on a machine, and its plan; None where the layout of its models is not known, or where any machine holds it."""

    config: ExperimentConfig
    machine: Machine
    plan: TrainingPlan | None
    processes: int = 1

    @classmethod
    def of(
        cls, config: ExperimentConfig, machine: Machine, base: nn.Module | None = None, *, processes: int = 1
    ) -> Room:
        """Plan a training before its models are there, or with its ``base``: then a layout may be known that was not before."""
        large = base is not None and sum(each.numel() for each in base.parameters()) > LARGE
        if not (machine.accelerator or large):
            return cls(config, machine, None, processes)
        if not machine.accelerator:  # where the base lies in float32
            config = config.model_copy(update={"training": config.training.model_copy(update={"precision": "fp32"})})
        try:
            return cls(config, machine, make_plan(config, processes).on(machine), processes)
        except (InputError, NotImplementedError):
            return cls(config, machine, None, processes)

    @property
    def sharded(self) -> bool:
        """Whether the base is shared out among the processes; ``InputError`` where that is asked for and cannot be done."""
        parts = getattr(getattr(self.config.backbone.config, "quantization", None), "components", ())
        needed = self.plan is not None and self.plan.sharded
        return wants_shards(
            self.config.training.shard_base, self.processes, needed=needed, quantised="transformer" in parts
        )

    @property
    def fits(self) -> bool:
        """Whether the machine holds it; True where nobody can say."""
        return self.plan is None or self.plan.fits(self.machine)

    @property
    def checkpointing(self) -> bool:
        """Whether blocks are computed again in the backward pass; on an accelerator also where nobody knows what they keep."""
        setting = self.config.training.gradient_checkpointing
        if setting != "auto":
            return setting
        return self.machine.accelerator if self.plan is None else self.plan.checkpoints(self.machine)

    def refuse(self) -> None:
        """Raise ``InputError`` with the cheapest settings that would fit, where it cannot."""
        if self.plan is None or self.fits:
            return
        raise InputError(
            f"{self._takes(self.plan)}: {told(self.plan.remedy(self.machine))} (dynaip plan shows what takes how much; "
            "training.check_memory: false tries it anyway)"
        )

    def advice(self) -> str:
        """What it takes, what there is, and the setting that lowers it most cheaply; empty where nobody can say."""
        if self.plan is None:
            return ""
        if not self.checkpointing:
            changes, less = {"training.gradient_checkpointing": True}, self.plan.needed(checkpointing=True)
        else:
            changes, cheaper = next(self.plan.cheaper(), (None, self.plan))
            less = cheaper.needed(checkpointing=True)
        return f"{self._takes(self.plan)}: {told(changes)}" + (f" (about {less / GIB:.1f} GiB)" if changes else "")

    def _takes(self, plan: TrainingPlan) -> str:
        machine, needed = self.machine, plan.needed(checkpointing=self.checkpointing)
        free = "" if machine.free is None else f" ({machine.free / GIB:.1f} free)"
        return (
            f"this training takes about {needed / GIB:.1f} GiB, and {machine.name} has {machine.memory / GIB:.1f}{free}"
        )

    @contextmanager
    def told_when_full(self) -> Generator[None]:
        """Add the advice to the error of a device whose memory is full."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            if line := self.advice():
                error.add_note(line)
            raise
