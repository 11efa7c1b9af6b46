"""What is measured of a logged step beside its loss: how the router shares its weight out, and how large the terms are (ours).

Everything is summed on the device and read with the loss, so that no step waits for it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dynaip.adapter.events import ReferenceEvent
from dynaip.adapter.model import DynaIP
from dynaip.contracts import FusedReference
from dynaip.device import ToHost

Address = tuple[str, ...]


@dataclass(frozen=True)
class Gauged:
    """Means of a step, which the device may still be busy with."""

    names: Sequence[Address]
    sent: ToHost
    """The sum of each, then how many it is of."""

    def read(self) -> dict[str, Any]:
        """Nested by name: ``router`` by level, ``experts`` by level and number, ``terms`` by branch (0: nothing was added)."""
        values, found = self.sent.read().tolist(), dict[str, Any]()
        for place, (*path, name) in enumerate(self.names):
            total, count = values[place], values[place + len(self.names)]
            within = found
            for step in path:
                within = within.setdefault(step, {})
            within[name] = total / max(count, 1.0)
        return found


@dataclass
class Gauges:
    """Collects what is measured in one step."""

    dyna: DynaIP
    accelerator: Any
    sums: dict[Address, list[Tensor]] = field(default_factory=dict[Address, "list[Tensor]"])
    """Name -> (sum, count) of everything that was seen."""

    @contextmanager
    def watching(self) -> Generator[None]:
        """Measure reference terms while the context is open, beside what the block gives without them."""
        with self.dyna.observe(self._term):
            yield

    def _term(self, event: ReferenceEvent) -> None:
        """|term| / |output| of each sample that sees the reference, of the tokens that look at it."""
        with torch.no_grad():
            ratios = _length(event.term) / _length(event.output).clamp(min=torch.finfo(torch.float32).tiny)
            self._add(("terms", event.branch), ratios.sum(), (ratios > 0).sum())

    def routed(self, fused: FusedReference | None) -> None:
        """Measure what the router gave each level, and each level's gate its experts."""
        if fused is None:
            return
        levels = list(self.dyna.encoder.levels)
        with torch.no_grad():
            if fused.weights is not None:
                self._split(("router",), fused.weights, levels)
            if fused.expert_weights is not None:
                for place, level in enumerate(levels[: fused.expert_weights.shape[-2]]):
                    self._split(("experts", level), fused.expert_weights[..., place, :], ())

    def _split(self, path: Address, weights: Tensor, names: Sequence[str]) -> None:
        """The mean of weights (… x W) over all but the last dimension; W names, or else numbers."""
        means = weights.float().flatten(0, -2).mean(0)
        known = names if len(names) == len(means) else [str(number) for number in range(len(means))]
        for name, mean in zip(known, means, strict=True):
            self._add((*path, name), mean, torch.ones_like(mean))

    def _add(self, name: Address, total: Tensor, count: Tensor) -> None:
        self.sums.setdefault(name, []).append(torch.stack([total.float(), count.float()]))

    def gauged(self) -> Gauged | None:
        """What was measured in all processes; every one of them calls it. None if there was nothing."""
        if not self.sums:
            return None
        sums = torch.stack([torch.stack(each).sum(0) for each in self.sums.values()])
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, "sum")
        return Gauged(list(self.sums), ToHost(sums.T.flatten()))


def _length(values: Tensor) -> Tensor:
    """The norm of each row (b x t x d -> b)."""
    return values.detach().float().flatten(1).norm(dim=1)
