"""One update of the adapter: gradients summed over parts and processes, checked, clipped, applied or skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer


@dataclass(frozen=True)
class Outcome:
    """What became of an update, the same in every process."""

    applied: bool
    """False if a loss or the gradient was not finite: then the adapter is as it was."""
    loss: float
    """Mean over the parts of this process."""
    norm: float
    """Norm of the gradient before clipping."""
    stop: bool
    """Whether any process was asked to stop."""


@dataclass(frozen=True)
class Pending:
    """An update on its way: its numbers are still on the device, which this process does not wait for before ``read``."""

    numbers: Tensor
    """Loss, norm, and (above 0) the wish to stop."""

    def read(self) -> Outcome:
        """Wait for the device and give what became of the update."""
        loss, norm, stop = (float(each) for each in self.numbers.tolist())
        return Outcome(isfinite(loss) and isfinite(norm), loss, norm, stop > 0)


class Update:
    """Collects the losses of one step; ``finish`` applies them. Nothing is read from the device on the way."""

    def __init__(self, accelerator: Any, optimizer: Optimizer, *, clip: float, parts: int) -> None:
        self.accelerator, self.optimizer, self.clip, self.parts = accelerator, optimizer, clip, parts
        self.losses: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Add the gradient of one part's loss (a scalar)."""
        self.losses.append(loss.detach().float())
        self.accelerator.backward(loss / self.parts)

    def finish(self, *, stop: bool = False) -> Pending:
        """Change the adapter unless a loss or the gradient, of any process, is not finite."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        loss = torch.stack(self.losses).mean()
        self.losses = []
        # A loss that is not finite spoils the gradient, and by it the gradient of every process: one check serves all.
        spoil = torch.where(loss.isfinite(), 0.0, torch.nan)
        next(each.grad for each in parameters if each.grad is not None).add_(spoil)
        wish = torch.full_like(loss, float(stop))
        if self.accelerator.num_processes > 1:
            wish = self._agree(parameters, wish)
        norm = cast(Tensor, self.accelerator.clip_grad_norm_(parameters, self.clip))
        if self.accelerator.scaler is not None:  # it looks for an overflow by itself, and lowers the scale
            self.optimizer.step()
        else:
            _step_if(cast(Optimizer, getattr(self.optimizer, "optimizer", self.optimizer)), norm.isfinite())
        self.optimizer.zero_grad()
        return Pending(torch.stack([loss, norm.to(loss), wish]))

    def _agree(self, parameters: Sequence[Tensor], wish: Tensor) -> Tensor:
        """One mean over the processes for all gradients and the wish to stop: nobody waits for one that skipped."""
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        together = torch.cat([*(grad.flatten() for grad in grads), wish.to(grads[0]).view(1)])
        together = cast(Tensor, self.accelerator.reduce(together, "mean"))
        parts = torch.split(together[:-1], [grad.numel() for grad in grads])
        for each, part in zip(parameters, parts, strict=True):
            each.grad = part.view_as(each).clone()
        return together[-1].to(wish)


def _step_if(optimizer: Any, finite: Tensor) -> None:
    """Take a step where ``finite`` holds: fused optimizers look for themselves, on the device."""
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        if bool(finite):
            optimizer.step()
        return
    optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf
