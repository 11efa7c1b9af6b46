"""What a training leaves in its run folder while it goes on, and goes back to: checkpoints, an average, samples."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch

from dynaip.adapter.files import fill
from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig
from dynaip.runs import Run
from dynaip.training import checkpoints, samples
from dynaip.training.average import Average
from dynaip.training.identity import Identity, check
from dynaip.training.lodgers import Lodgers
from dynaip.training.logs import cut_log
from dynaip.training.progress import Warn


@dataclass
class Keeper:
    """Commits checkpoints of an adapter and its optimizer, finds the newest again, and paints samples between steps."""

    config: ExperimentConfig
    run: Run
    accelerator: Any
    pipe: Any
    dyna: DynaIP
    optimizer: torch.optim.Optimizer
    identity: Identity
    """What checkpoints of this training belong to."""
    lodgers: Lodgers
    """Models that painting needs back on the device."""
    together: bool
    """Whether no process computes without the others: the base is shared out."""
    warn: Warn
    saved: int = -1
    """Step of the newest checkpoint of this process."""

    def __post_init__(self) -> None:
        self.average = Average(self.dyna, self.config.training.ema) if self.config.training.ema else None

    def save(self, step: int, counters: Mapping[str, Any]) -> None:
        """Commit a checkpoint of adapter, optimizer and ``counters``, once a step.

        Chance is no part of it: everything random is drawn from the seed and the number of the step.
        """
        if self.saved == step:
            return
        self.saved = step
        if not self.accelerator.is_main_process:
            return
        weights = {name: value.detach().cpu().contiguous() for name, value in self.dyna.state_dict().items()}
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}
        state = {**counters, "scaler": scaler, "identity": self.identity}
        average = self.average.weights() if self.average else {}
        made = checkpoints.Checkpoint(step, weights, checkpoints.optimizer_tensors(self._inner()), state, average)
        checkpoints.save(self.run.checkpoints, made, keep=self.config.training.keep_checkpoints)

    def newest(self) -> checkpoints.Checkpoint | None:
        """Put the newest complete checkpoint's weights into the adapter, and cut logs to its step; None if there is none.

        All processes call it. Raises ``MismatchError`` naming the field if it belongs to other models or parts.
        """
        main = self.accelerator.is_main_process
        found = checkpoints.latest(self.run.checkpoints, warn=self.warn if main else lambda line: None)
        if found:
            place = f"{self.run.checkpoints}, step {found.step}"
            check(found.state.get("identity", {}), self.identity, place)
            fill(self.dyna, found.adapter, place)
        self.accelerator.wait_for_everyone()
        if main:
            checkpoints.set_aside(self.run.checkpoints, found.step if found else 0)
            for log in (self.run.order, self.run.metrics):
                cut_log(log, found.step if found else 0)
        return found

    def take_up(self, found: checkpoints.Checkpoint) -> None:
        """Put back what else a checkpoint holds: optimizer, average, and the scaler of half precision."""
        checkpoints.restore_optimizer(self._inner(), found.optimizer)
        if self.average:
            self.average.restore(found.average)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        self.saved = found.step

    def averaged(self) -> AbstractContextManager[None]:
        """Have what is saved and judged in the adapter while the context is open: its average, if one is kept."""
        return self.average.in_place() if self.average else nullcontext()

    def paint(self, step: int) -> None:
        """A few samples of the adapter as it is, in one picture; it is left in training mode."""
        main = self.accelerator.is_main_process
        if not (main or self.together) or self.config.evaluation is None:
            return
        file = self.run.samples / f"step-{step:06d}.png"
        self.dyna.eval()
        try:
            # Where no process computes without the others all of them paint; one writes.
            with torch.random.fork_rng(devices=[]), self.lodgers.back(), self.averaged():
                samples.sample_grid(self.dyna, self.pipe, self.config.evaluation, file if main else None)
        finally:
            self.dyna.train()

    def _inner(self) -> torch.optim.Optimizer:
        return cast(torch.optim.Optimizer, getattr(self.optimizer, "optimizer", self.optimizer))
