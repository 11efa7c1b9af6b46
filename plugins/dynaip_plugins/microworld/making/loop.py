"""One seeded, resumable training loop for every model of microworld."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaip.atomic import replacing

Progress = Callable[[str, int, int, float], None]
"""Called with stage, steps done, steps in all, and the smoothed loss."""

Step = Callable[[torch.Generator], Tensor]
"""One training step: draws its batch from the generator and returns the loss."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 200
    hold: float = 0.5
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.0
    seed: int = 0
    checkpoint_seconds: float = 300.0
    log_every: int = 25

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, constant for the share `hold` of the steps, cosine to zero."""
        start = self.hold * self.steps
        done = min(max(step - start, 0) / max(self.steps - start, 1), 1)
        rise = min((step + 1) / max(min(self.warmup, self.steps), 1), 1)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))


def save_atomically(value: object, path: Path) -> None:
    """torch.save that leaves either the old file or the complete new one."""
    with replacing(path) as part:
        torch.save(value, part)


class Training:
    """State of one training: the model, its optimizer, its moving average and the step reached."""

    def __init__(self, name: str, model: nn.Module, schedule: Schedule, folder: Path) -> None:
        self.name, self.model, self.schedule = name, model, schedule
        self.checkpoint = folder / f"{name}.ckpt"
        self.log = folder / f"{name}.jsonl"
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=schedule.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        self.step, self.loss = 0, math.nan
        self.average = [p.detach().clone() for p in model.parameters()] if schedule.ema else []
        if self.checkpoint.exists():
            self._load()

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "loss": self.loss,
        }

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average, self.step, self.loss = state["average"], state["step"], state["loss"]

    def save(self) -> None:
        """Write the checkpoint from which a broken-off training goes on."""
        save_atomically(self._state(), self.checkpoint)

    def _update(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimizer.step()
        if self.average:
            keep = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1 - keep)

    def _note(self, started: float) -> None:
        line = {"step": self.step, "loss": round(self.loss, 5), "seconds": round(time.monotonic() - started, 1)}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def run(self, step: Step, progress: Progress | None = None, until: int | None = None) -> None:
        """Train to the schedule's last step (or `until`). A step's chance depends on seed and step number alone."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.model.train()
        started = saved = time.monotonic()
        last = min(self.schedule.steps, until or self.schedule.steps)
        while self.step < last:
            loss = step(torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + self.step))
            self._update(loss)
            value = loss.item()
            self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
            self.step += 1
            if self.step % self.schedule.log_every == 0:
                self._note(started)
                if progress:
                    progress(self.name, self.step, self.schedule.steps, self.loss)
            if time.monotonic() - saved > self.schedule.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        self.save()
        self.use_average()

    def use_average(self) -> None:
        """Put the moving average into the model (the checkpoint keeps both)."""
        for parameter, average in zip(self.model.parameters(), self.average, strict=False):
            parameter.data.copy_(average)
        self.model.eval()
