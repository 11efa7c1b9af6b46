"""One update of the adapter: gradients summed over parts and processes, checked, clipped, applied or skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer


@dataclass(frozen=True)
class Outcome:
    """What became of an update, the same in every process."""

    applied: bool
    """False if a loss or the gradient was not finite: then the adapter is as it was."""
    norm: float
    """Norm of the gradient before clipping; NaN if it could not be computed."""
    stop: bool
    """Whether any process was asked to stop."""


class Update:
    """Collects the losses of one step; ``finish`` applies them."""

    def __init__(self, accelerator: Any, optimizer: Optimizer, *, clip: float, parts: int) -> None:
        self.accelerator, self.optimizer, self.clip, self.parts = accelerator, optimizer, clip, parts
        self.finite = True

    def add(self, loss: Tensor) -> float:
        """Add the gradient of one part's loss (a scalar), unless it or one before is not finite; give the loss."""
        value = float(loss.detach())
        self.finite = self.finite and isfinite(value)
        if self.finite:
            self.accelerator.backward(loss / self.parts)
        return value

    def finish(self, *, stop: bool = False) -> Outcome:
        """Agree with the other processes, then change the adapter or leave it."""
        finite, self.finite = self.finite, True
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self.accelerator.num_processes > 1:
            finite, stop = self._agree(parameters, finite, stop)
        norm = self._apply(parameters) if finite else nan
        self.optimizer.zero_grad()
        return Outcome(finite and isfinite(norm), norm, stop)

    def _apply(self, parameters: Sequence[Tensor]) -> float:
        norm = float(self.accelerator.clip_grad_norm_(parameters, self.clip))
        # With a gradient scaler the optimizer has to hear of an overflow too: it skips the update and lowers the scale.
        if isfinite(norm) or self.accelerator.scaler is not None:
            self.optimizer.step()
        return norm

    def _agree(self, parameters: Sequence[Tensor], finite: bool, stop: bool) -> tuple[bool, bool]:
        """One mean over the processes for all gradients and both flags: nobody waits for a process that skipped."""
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flags = torch.tensor([float(not finite), float(stop)], device=grads[0].device, dtype=grads[0].dtype)
        together = torch.cat([*(grad.flatten() for grad in grads), flags])
        together = cast(Tensor, self.accelerator.reduce(together, "mean"))
        parts = torch.split(together[:-2], [grad.numel() for grad in grads])
        for each, part in zip(parameters, parts, strict=True):
            each.grad = part.view_as(each).clone()
        bad, stopping = float(together[-2]), float(together[-1])
        return bad == 0, stopping > 0
