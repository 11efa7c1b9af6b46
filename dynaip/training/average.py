"""An exponential moving average of the adapter: its weights without the jitter of the last steps."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dynaip.adapter.model import DynaIP


class Average:
    """Follows what is trained of an adapter, in float32 on its device."""

    def __init__(self, dyna: DynaIP, decay: float) -> None:
        trained = {id(each) for each in dyna.trainable_parameters()}
        self.decay = decay
        self.own = {name: each for name, each in dyna.named_parameters() if id(each) in trained}
        self.kept: dict[str, Tensor] = {name: each.detach().clone() for name, each in self.own.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after ``step`` (from 1); the decay rises to its value, as in diffusers' ``EMAModel``.

        A step that was skipped left the weights as they were and counts as one that changed nothing.
        """
        decay = min(self.decay, step / (9 + step))
        get_ema_multi_avg_fn(decay)(list(self.kept.values()), list(self.own.values()), step)

    def weights(self) -> dict[str, Tensor]:
        """The averages by name, on the CPU."""
        return {name: each.cpu().contiguous() for name, each in self.kept.items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what ``weights`` gave."""
        for name, each in self.kept.items():
            each.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Have the averages in the adapter while the context is open."""
        last = {name: each.detach().clone() for name, each in self.own.items()}
        self._fill(self.kept)
        try:
            yield
        finally:
            self._fill(last)

    @torch.no_grad()
    def _fill(self, weights: Mapping[str, Tensor]) -> None:
        for name, each in self.own.items():
            each.copy_(weights[name])
