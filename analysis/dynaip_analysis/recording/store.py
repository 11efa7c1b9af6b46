"""Running sums by step within a plan's memory: when steps outgrow it, neighbouring ones are merged in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dynaip_analysis.recording.budget import Layout, Plan
from dynaip_analysis.recording.named import Named

Floats = NDArray[np.float32]


class Store:
    """Sums over the passes that fall into each group of steps; nothing is allocated beyond the plan's groups."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        self.layout = layout
        self.plan = plan
        self.stride = plan.stride
        self._steps: dict[float, int] = {}
        self._groups: dict[int, dict[str, Floats]] = {}
        self.before_merge: Callable[[], None] = lambda: None
        """Called before sums move: whoever still has something to add to where they are does it now."""
        # Zeros take no memory until they are written, so that unused groups cost nothing.
        self._arrays = {name: np.zeros((plan.groups, *layout.shape(name)), np.float32) for name in layout.arrays}

    def at(self, progress: float) -> Mapping[str, Floats]:
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

    def place(self, name: str, axis: str) -> dict[object, int]:
        """Label -> index along an axis of an array."""
        return {label: index for index, label in enumerate(self.layout.arrays[name][axis])}

    def _merge(self) -> None:
        self.before_merge()
        half = (self.plan.groups + 1) // 2
        for array in self._arrays.values():
            for group in range(half):
                second = array[2 * group + 1] if 2 * group + 1 < len(array) else 0.0
                np.add(array[2 * group], second, out=array[group])
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
            array, counts = self._arrays[name][:groups], self._arrays[by][:groups]
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
