"""Sides of a comparison, taken in turn in one run, and what became of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
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
    rounds: int = 1

    @property
    def verdict(self) -> str:
        """Whether the figure keeps its budget."""
        if self.budget is None:
            return ""
        return "within" if self.value <= self.budget else "OVER"


class Clock:
    """Seconds until a limit."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 where the limit has passed."""
        return self.until - time.monotonic()

    def share(self, seconds: float) -> Clock:
        """A clock for a part of what is left."""
        return Clock(min(seconds, self.left))


@dataclass(frozen=True)
class Measure:
    """One measurement of a stage."""

    title: str
    seconds: float
    """What it may take."""
    run: Callable[[Clock], Iterable[Figure]]
    need: float = 5.0
    """Seconds that it takes at least on an H100: with fewer left it is not begun."""


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


def in_turn(
    sides: Mapping[str, Run], rounds: int, clock: Clock, warm_up: Mapping[str, Callable[[], object]] | None = None
) -> dict[str, list[float]]:
    """Seconds of every side, up to ``rounds`` times each in turn: as many rounds as the clock leaves room for, at least one.

    What warms up (by default the sides themselves, once) is left out.
    """
    for run in (sides if warm_up is None else warm_up).values():
        run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    longest = 0.0
    for number in range(rounds):
        if number and clock.left < longest:
            break
        began = time.monotonic()
        for name, run in sides.items():
            found[name].append(run())
        longest = max(longest, time.monotonic() - began)
    return found


def ratio(what: str, found: Mapping[str, list[float]], one: str, other: str, budget: float | None) -> Figure:
    """Median, least and largest of ``one`` over ``other``, round by round."""
    each = [a / b for a, b in zip(found[one], found[other], strict=True)]
    return Figure(what, statistics.median(each), "x", min(each), max(each), budget, len(each))


def seconds(what: str, values: list[float], budget: float | None = None) -> Figure:
    """Median, least and largest of some times."""
    return Figure(what, statistics.median(values), "s", min(values), max(values), budget, len(values))


def number(what: str, value: float, unit: str = "", budget: float | None = None) -> Figure:
    """What was counted once."""
    return Figure(what, value, unit, value, value, budget)


def free() -> None:
    """Give back what nobody holds, and begin to count the peak of memory anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    """Largest memory that was held since ``free``, in GiB."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
