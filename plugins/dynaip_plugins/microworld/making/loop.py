"""One seeded, resumable training loop for every model of microworld: step by step on a CPU, as one captured graph on a GPU."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaip.atomic import replacing

Progress = Callable[[str, int, int, float], None]
"""Called with stage, steps done, steps in all (as far as is known), and the smoothed loss."""

Objective = Callable[[], Tensor]
"""One step's loss: draws its batch from torch's own generator of the device, and waits for nothing on the host."""

WARM_STEPS = 4
"""Steps before a graph is captured: they make the optimizer's state and choose kernels."""
SMOOTH = 0.02
FUSED: Any = torch
"""One kernel for many tensors: torch has these under names of its own, without types."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns; `seconds` lets the clock decide instead of `steps`."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 200
    hold: float = 0.5
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.0
    seed: int = 0
    seconds: float | None = None
    checkpoint_seconds: float = 300.0
    log_every: int = 25
    graphs: bool = True
    """Whether an accelerator's step is captured as a graph."""

    def share(self, step: int, elapsed: float) -> float:
        """Share of the training that lies behind after `step` steps and `elapsed` seconds."""
        return min(step / self.steps if self.seconds is None else elapsed / self.seconds, 1.0)

    def rate(self, share: float, step: int) -> float:
        """Learning rate: linear warm-up, constant for the share `hold` of the training, cosine to zero."""
        done = min(max(share - self.hold, 0) / (1 - self.hold), 1)
        warmup = self.warmup if self.seconds is not None else min(self.warmup, self.steps)
        rise = min((step + 1) / max(warmup, 1), 1)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Size:
    """How large a training is: its schedule and the scenes of its pool."""

    schedule: Schedule
    pool: int


def save_atomically(value: object, path: Path) -> None:
    """torch.save that leaves either the old file or the complete new one."""
    with replacing(path) as part:
        torch.save(value, part)


class Training:
    """State of one training: the model, its optimizer, its moving average and the step reached.

    Rate, share and loss live on the device, so that a step is the same sequence of kernels every time. A step whose loss or
    gradient is not finite changes nothing.
    """

    def __init__(self, name: str, model: nn.Module, schedule: Schedule, folder: Path) -> None:
        self.name, self.model, self.schedule = name, model, schedule
        self.checkpoint = folder / f"{name}.ckpt"
        self.log = folder / f"{name}.jsonl"
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        number = torch.zeros((), device=self.device)
        self.rate, self.share, self.keep = number.clone(), number.clone(), number.clone()
        self.loss, self.bad, self.skipped = number.clone() + math.nan, number.clone(), number.clone()
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate,
            betas=(0.9, 0.99),
            weight_decay=schedule.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        # The fused kernels skip an update where this is one; gradient scalers use the same door.
        self.optimizer.found_inf = self.bad  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]
        self.step, self.elapsed = 0, 0.0
        self.average = [parameter.detach().clone() for parameter in self.parameters] if schedule.ema else []
        if self.checkpoint.exists():
            self._load()

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "elapsed": self.elapsed,
            "loss": self.loss,
        }

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.average, self.step, self.elapsed = state["average"], state["step"], state["elapsed"]
        self.loss.copy_(state["loss"])

    def save(self) -> None:
        """Write the checkpoint from which a broken-off training goes on."""
        save_atomically(self._state(), self.checkpoint)

    @property
    def done(self) -> bool:
        """Whether the schedule has come to its end."""
        return self.schedule.share(self.step, self.elapsed) >= 1

    def _update(self, objective: Objective) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = objective()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip)
        value = loss.detach().float()
        self.bad.copy_((~torch.isfinite(norm + value)).float())
        self.optimizer.step()
        with torch.no_grad():
            if self.average:
                change = FUSED._foreach_sub(self.parameters, self.average)
                FUSED._foreach_mul_(change, 1 - self.keep)
                FUSED._foreach_add_(self.average, change)
            smooth = torch.where(self.loss.isnan(), value, self.loss.lerp(value, SMOOTH))
            self.loss.copy_(torch.where(self.bad > 0, self.loss, smooth))
            self.skipped.add_(self.bad)

    def _set(self) -> None:
        share = self.schedule.share(self.step, self.elapsed)
        self.rate.fill_(self.schedule.rate(share, self.step))
        self.share.fill_(share)
        self.keep.fill_(min(self.schedule.ema, (1 + self.step) / (10 + self.step)))

    def _seeded(self) -> None:
        """A step's chance depends on seed and step number alone."""
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.step)

    def _captured(self, objective: Objective) -> Callable[[], None]:
        """The step as one graph, whose replay costs one launch; the plain step where capturing fails."""
        self._seeded()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_STEPS):
                self._set()
                self._update(objective)
                self.step += 1
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._update(objective)
        except Exception as error:
            torch.cuda.synchronize()
            sys.stderr.write(f"{self.name}: no graph ({type(error).__name__}: {error}); going on step by step\n")
            return lambda: self._update(objective)
        return graph.replay

    def run(self, objective: Objective, progress: Progress | None = None, until: int | None = None) -> None:
        """Train to the schedule's end (or step `until`); raises `FloatingPointError` where steps stop being finite."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.model.train()
        graphed = self.device.type == "cuda" and self.schedule.graphs
        before, started = self.elapsed, time.monotonic()
        update = self._captured(objective) if graphed and not self.done else lambda: self._update(objective)
        saved, noted, skipped = started, (self.step, time.monotonic()), 0.0
        while not self.done and self.step != until:
            if not graphed:
                self._seeded()
            self._set()
            update()
            self.step += 1
            if self.step % self.schedule.log_every == 0:
                loss = self.loss.item()  # waits for the device, so that the clock tells the truth
                noted = self._note(loss, noted)
                skipped = self._check(skipped)
                if progress:
                    share = self.schedule.share(self.step, self.elapsed)
                    progress(self.name, self.step, round(self.step / max(share, 1e-6)), loss)
            self.elapsed = before + time.monotonic() - started
            if time.monotonic() - saved > self.schedule.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        self.save()
        if self.done:
            self.use_average()

    def _note(self, loss: float, since: tuple[int, float]) -> tuple[int, float]:
        now = time.monotonic()
        speed = (self.step - since[0]) * self.schedule.batch_size / max(now - since[1], 1e-9)
        line = {"step": self.step, "loss": round(loss, 5), "seconds": round(self.elapsed, 1)}
        line |= {"samples_per_second": round(speed, 1), "skipped": int(self.skipped.item())}
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return self.step, now

    def _check(self, before: float) -> float:
        skipped = self.skipped.item()
        if skipped - before >= self.schedule.log_every:
            raise FloatingPointError(
                f"{self.name}: none of the last {self.schedule.log_every} steps up to {self.step} was finite"
            )
        return skipped

    def use_average(self) -> None:
        """Put the moving average into the model (the checkpoint keeps both)."""
        for parameter, average in zip(self.parameters, self.average, strict=False):
            parameter.data.copy_(average)
        self.model.eval()
