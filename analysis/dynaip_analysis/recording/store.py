"""Running sums by step within a plan's memory: when steps outgrow it, neighbouring ones are merged in place."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaip_analysis.recording.budget import Arrays, RecordingPlan
from dynaip_analysis.recording.named import Named

Floats = NDArray[np.float32]
Sums = Any
"""Sums lie where what is added comes from: an array on a CPU, a tensor on an accelerator."""
ROOM = 0.5
"""Share of the accelerator's free memory that sums may take there."""


def device_for(plan: RecordingPlan, device: torch.device | None) -> torch.device | None:
    """Where the sums of a plan are kept: on a device if one is given and they fit, else (None) in the host's arrays."""
    if device is None or device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if plan.bytes <= ROOM * free else None


class Store:
    """Sums over the passes that fall into each group of steps; nothing is allocated beyond the plan's groups."""

    def __init__(self, layout: Arrays, plan: RecordingPlan, device: torch.device | None = None) -> None:
        self.layout = layout
        self.plan = plan
        self.device = device
        self.stride = plan.stride
        self._steps: dict[float, int] = {}
        self._groups: dict[int, dict[str, Sums]] = {}
        self.before_merge: Callable[[], None] = lambda: None
        """Called before sums move: whoever still has something to add to where they are does it now."""
        self._arrays = {
            name: self._zeros((plan.groups, *layout.shape(name)), axes) for name, axes in layout.arrays.items()
        }

    def _zeros(self, shape: tuple[int, ...], axes: Mapping[str, Sequence[Hashable]]) -> Sums:
        # One number a block is counted on the host. Zeros there take no memory until they are written.
        if self.device is None or len(axes) == 1:
            return np.zeros(shape, np.float32)
        return torch.zeros(shape, device=self.device)

    def given(self, values: Tensor) -> Sums:
        """Values in the form that can be added to the sums."""
        return values.cpu().numpy() if self.device is None else values

    def at(self, progress: float) -> Mapping[str, Sums]:
        """The sums of the group that a step belongs to, to be added to in place."""
        step = self._steps.setdefault(progress, len(self._steps))
        while step // self.stride >= self.plan.groups:
            self._merge()
        group = step // self.stride
        if group not in self._groups:
            self._groups[group] = {name: array[group] for name, array in self._arrays.items()}
        return self._groups[group]

    @property
    def progress(self) -> list[float]:
        """Progress of the steps that were met, in order."""
        return list(self._steps)

    def place(self, name: str, axis: str) -> dict[Any, int]:
        """Label -> index along an axis of an array."""
        return {label: index for index, label in enumerate(self.layout.arrays[name][axis])}

    def _merge(self) -> None:
        self.before_merge()
        half = (self.plan.groups + 1) // 2
        for array in self._arrays.values():
            for group in range(half):
                first = array[2 * group]
                if 2 * group + 1 < len(array):
                    first += array[2 * group + 1]
                array[group] = first
            array[half:] = 0
        self.stride *= 2

    def means(self, weights: Mapping[str, str]) -> dict[str, Named]:
        """Divide every array by the sums it is named with (``weights``: name -> name), in place: block, step, then the rest.

        What was never seen is NaN. Called once, at the end.
        """
        groups, progress = -(-len(self._steps) // self.stride), self.progress
        steps = [float(np.mean(progress[k * self.stride : (k + 1) * self.stride])) for k in range(groups)]
        found: dict[str, Named] = {}
        for name, by in weights.items():
            array, counts = _on_host(self._arrays[name][:groups]), _on_host(self._arrays[by][:groups])
            with np.errstate(invalid="ignore", divide="ignore"):
                np.divide(array, self._fitting(name, by, counts), out=array)
            block, *rest = self.layout.arrays[name].items()
            axes = {block[0]: block[1], "step": steps, **dict(rest)}
            found[name] = Named(np.moveaxis(array, 0, 1), {axis: list(labels) for axis, labels in axes.items()})
        return found

    def _fitting(self, name: str, by: str, counts: Floats) -> Floats:
        """Counts with an axis of length one wherever the array has an axis more."""
        mine, theirs = list(self.layout.arrays[name]), list(self.layout.arrays[by])
        shape = [counts.shape[1 + theirs.index(axis)] if axis in theirs else 1 for axis in mine]
        return np.where(counts > 0, counts, np.nan).reshape(len(counts), *shape)


def _on_host(array: Sums) -> Floats:
    return array.cpu().numpy() if isinstance(array, Tensor) else array
