"""What a pass is, told from the host: asking the device would make it wait in every step.

A pipeline's scheduler counts its steps on the host, and tensors of ids stay the same object through a generation.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..shared.latents import grid_of

HOST = "cpu"
"""Reading a tensor of the host's own memory waits for nothing."""


class HostClock:
    """Remembers, tensor by tensor, what was read from the device once or was known on the host all along."""

    def __init__(self) -> None:
        self._grids: Any = WeakTensorKeyDictionary()
        self._progress: Any = WeakTensorKeyDictionary()
        self._schedules: Any = WeakTensorKeyDictionary()
        self._seen: tuple[int, weakref.ref[Tensor]] | None = None
        self._ids: dict[Hashable, Tensor] = {}

    def __reduce__(self) -> tuple[type[HostClock], tuple[()]]:
        """A copy has seen nothing yet: what is remembered belongs to tensors that are not copied with it."""
        return HostClock, ()

    def grid(self, ids: Tensor) -> tuple[int, int]:
        """Rows and columns of the image tokens with these ids, read once a tensor."""
        if ids not in self._grids:
            self._grids[ids] = grid_of(ids)
        return self._grids[ids]

    def ids(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Ids that ``key`` (size, device, type) tells all about: made once, since a pipeline makes them on the host."""
        if key not in self._ids:
            self._ids[key] = make()
        return self._ids[key]

    def know_grid(self, ids: Tensor, grid: tuple[int, int]) -> None:
        """Note what ids say that were made here."""
        self._grids[ids] = grid

    def know_progress(self, timestep: Tensor, progress: float) -> None:
        """Note what a timestep says whose value the host knows."""
        self._progress[timestep] = progress

    def progress(self, pipe: Any, timestep: Tensor, latents: Tensor, span: float) -> float:
        """Denoising progress of a pass: 1 - timestep / ``span``.

        From the scheduler's own count where ``pipe`` runs one; read from the device where a caller counts otherwise.
        """
        if timestep.device.type == HOST:
            return 1 - float(timestep.flatten()[0]) / span
        if timestep in self._progress:
            return self._progress[timestep]
        told = self.scheduled(getattr(pipe, "scheduler", None), timestep, latents, span)
        return 1 - float(timestep.flatten()[0]) / span if told is None else told

    def scheduled(self, scheduler: Any, timestep: Tensor, latents: Tensor, span: float) -> float | None:
        """The schedule at the step that the scheduler has come to; None if it does not tell, or tells another timestep.

        Held against the device at the first pass of every schedule. A second pass at the same step on other latents is not
        the pipeline's own.
        """
        schedule = getattr(scheduler, "timesteps", None)
        index = getattr(scheduler, "step_index", None)
        index = (getattr(scheduler, "begin_index", None) or 0) if index is None else index
        if not isinstance(schedule, Tensor) or not isinstance(index, int) or not 0 <= index < len(schedule):
            return None
        seen, self._seen = self._seen, (index, weakref.ref(latents))
        if schedule not in self._schedules:
            # A pipeline divides what its scheduler counts (1000 to 0) and casts it to the type of its latents first.
            counts = schedule.detach().cpu().to(timestep.dtype) / (float(scheduler.config.num_train_timesteps) / span)
            told = [1 - float(count) / span for count in counts]
            fits = abs(told[index] - (1 - float(timestep.flatten()[0]) / span)) < 1e-3
            self._schedules[schedule] = told if fits else None
        elif seen is not None and seen[0] == index and seen[1]() is not latents:
            return None
        told = self._schedules[schedule]
        return None if told is None else told[index]
