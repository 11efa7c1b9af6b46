"""What is injected while a context is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dynaip.adapter.layout import LayoutFinder
from dynaip.adapter.places import Kept
from dynaip.adapter.slots import Gathered, Group, Slot, gather, plan
from dynaip.contracts import DecouplingPolicy, ForwardPass, Phase


@dataclass
class Injection:
    """What is injected while a context is open: the slots (made at the first pass), the policy, and the K/V cache."""

    samples: int
    policy: DecouplingPolicy
    phase: Phase
    make_slots: Callable[[ForwardPass], list[Slot]]
    condition_dependent: bool = False
    slots: list[Slot] | None = None
    regional: list[list[Group]] = field(default_factory=list[list[Group]])
    """Per slot: groups of image tokens."""
    gathered: list[Gathered] = field(default_factory=list[Gathered])
    """The groups of image tokens that hold parts of the image, brought into few calls; none on a CPU, which gains nothing."""
    everywhere: list[list[Group]] = field(default_factory=list[list[Group]])
    """Per slot: groups of tokens that have no place on the grid."""
    shape: tuple[int, tuple[int, int]] | None = None
    condition: Tensor | None = None
    cache: dict[int, Kept] = field(default_factory=dict[int, "Kept"])
    """Keys and values by the block's place, once per generation."""
    finder: LayoutFinder | None = None
    """Finds regions in the first steps, which see no reference."""

    def looks(self, call: ForwardPass) -> bool:
        """Whether this pass is only looked at, to find a layout."""
        if self.finder is None:
            return False
        if self.finder.begins(call):
            self.finder.restart()
            self.forget()
        return self.finder.look(call)

    def prepare(self, call: ForwardPass, like: Tensor) -> None:
        """Make slots and groups where ``like`` is and in its type, when they are missing or batch, grid or prompt changed."""
        changed = self.condition_dependent and not _same(self.condition, call.condition)
        if self.slots is not None and self.shape == (call.batch, call.grid) and not changed:
            return
        self.slots = self.make_slots(call)
        self.regional = [plan(slot, call.batch, like, regional=True) for slot in self.slots]
        self.everywhere = [plan(slot, call.batch, like, regional=False) for slot in self.slots]
        if gathering_pays(like.device) and not torch.is_grad_enabled():
            self.gathered = gather(self.regional, call.batch, call.grid[0] * call.grid[1])
        self.shape, self.condition = (call.batch, call.grid), call.condition
        self.cache.clear()

    def forget(self) -> None:
        """Let go of everything that was made for the passes."""
        self.cache.clear()
        self.slots = self.condition = self.shape = None
        self.regional, self.everywhere, self.gathered = [], [], []


def gathering_pays(device: torch.device) -> bool:
    """Whether one call over gathered tokens beats a call a region: where a launch costs more than the copies that it saves."""
    return device.type not in ("cpu", "meta")


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is other or one is None or other is None:  # a pipeline passes the same tensor in every step
        return one is other
    return one.shape == other.shape and bool(torch.equal(one, other))
