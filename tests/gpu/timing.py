"""Sides of a comparison, taken in turn in one run, and what became of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Run = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    low: float
    high: float
    budget: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the figure keeps its budget."""
        if self.budget is None:
            return ""
        return "within" if self.value <= self.budget else "OVER"


def synchronise() -> None:
    """Wait for the accelerator, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def timed(run: Callable[[], object]) -> float:
    """Seconds that ``run`` takes, the accelerator's work included."""
    synchronise()
    started = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - started


def in_turn(sides: Mapping[str, Run], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every side, ``rounds`` times each in turn, after rounds that warm up and are left out."""
    for _ in range(warm_up):
        for run in sides.values():
            run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(run())
    return found


def ratio(what: str, found: Mapping[str, list[float]], one: str, other: str, budget: float | None) -> Figure:
    """Median, least and largest of ``one`` over ``other``, round by round."""
    each = [a / b for a, b in zip(found[one], found[other], strict=True)]
    return Figure(what, statistics.median(each), "x", min(each), max(each), budget)


def seconds(what: str, values: list[float], budget: float | None = None) -> Figure:
    """Median, least and largest of some times."""
    return Figure(what, statistics.median(values), "s", min(values), max(values), budget)


def free() -> None:
    """Give back what nobody holds, and begin to count the peak of memory anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    """Largest memory that was held since ``free``, in GiB."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
