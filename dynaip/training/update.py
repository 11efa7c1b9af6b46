"""One update of the adapter: gradients summed over parts and processes, checked, clipped, applied or skipped.

Whether everything is finite is decided on the device, so that the host can launch the next step before it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from dynaip.device import ToHost
from dynaip.training.gauges import Gauged


class Outcome:
    """What became of an update, the same in every process; it is read from the device when somebody asks."""

    def __init__(self, bad: Tensor, norm: Tensor, loss: Tensor, *, stop: bool) -> None:
        self.stop = stop
        """Whether any process was asked to stop."""
        self._told = ToHost(torch.stack([bad.float(), norm.detach().float(), loss]))

    def read(self) -> tuple[bool, float, float]:
        """Whether the adapter was changed (it was not if a loss or the gradient was not finite), norm before clipping, loss."""
        bad, norm, loss = self._told.read().tolist()
        return not bad, norm, loss

    @property
    def applied(self) -> bool:
        """False if a loss or the gradient was not finite: then the adapter is as it was."""
        return self.read()[0]

    @property
    def norm(self) -> float:
        """Norm of the gradient before clipping; NaN if it could not be computed."""
        return self.read()[1]


@dataclass(frozen=True)
class Launched:
    """A step that the device may still be busy with."""

    step: int
    rate: float
    ids: list[list[str]]
    """Of the batches of this process."""
    outcome: Outcome
    gauged: Gauged | None = None
    """What was measured in it; None where the step is not logged."""


class Update:
    """Collects the losses of one step; ``finish`` applies them."""

    def __init__(self, accelerator: Any, optimizer: Optimizer, *, clip: float, parts: int) -> None:
        self.accelerator, self.optimizer, self.clip, self.parts = accelerator, optimizer, clip, parts
        self.losses: list[Tensor] = []

    def add(self, loss: Tensor) -> Tensor:
        """Add the gradient of one part's loss (a scalar); give the loss."""
        self.losses.append(loss.detach().float())
        self.accelerator.backward(loss / self.parts)
        return self.losses[-1]

    def finish(self, *, stop: bool = False) -> Outcome:
        """Agree with the other processes, then change the adapter or leave it."""
        losses, self.losses = torch.stack(self.losses), []
        bad, loss = ~losses.isfinite().all(), losses.mean()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self.accelerator.num_processes > 1:
            bad, stop, loss = self._agree(parameters, bad, stop, loss)
        norm = torch.as_tensor(self.accelerator.clip_grad_norm_(parameters, self.clip))
        self._apply(bad, norm)
        self.optimizer.zero_grad()
        return Outcome(bad | ~norm.isfinite(), norm, loss, stop=stop)

    def _apply(self, bad: Tensor, norm: Tensor) -> None:
        inner = cast(Any, getattr(self.optimizer, "optimizer", self.optimizer))
        if self.accelerator.scaler is not None:
            # The scaler has to hear of an overflow itself: it skips the update and lowers the scale.
            if not bool(bad):
                self.optimizer.step()
        elif inner.defaults.get("fused"):
            # Fused kernels skip an update where this is one; gradient scalers use the same door.
            inner.grad_scale, inner.found_inf = None, (bad | ~norm.isfinite()).float()
            self.optimizer.step()
        elif not bool(bad | ~norm.isfinite()):
            self.optimizer.step()

    def _agree(
        self, parameters: Sequence[Tensor], bad: Tensor, stop: bool, loss: Tensor
    ) -> tuple[Tensor, bool, Tensor]:
        """One mean over the processes for all gradients, both flags and the loss: nobody waits for one that skipped."""
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flags = torch.stack([bad.to(grads[0]), torch.full_like(bad, stop).to(grads[0]), loss.to(grads[0])])
        together = torch.cat([*(grad.flatten() for grad in grads), flags])
        together = cast(Tensor, self.accelerator.reduce(together, "mean"))
        parts = torch.split(together[:-3], [grad.numel() for grad in grads])
        for each, part in zip(parameters, parts, strict=True):
            each.grad = part.view_as(each).clone()
        return together[-3] > 0, float(together[-2]) > 0, together[-1]
