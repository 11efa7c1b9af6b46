"""What a reference term at (branch, block, step) does: scaled, dropped or swapped, with everything else left alone."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.events import PassEvent
from dynaip.adapter.injector import BlockScale
from dynaip.adapter.model import DynaIP
from dynaip.contracts import Branch
from dynaip.errors import InputError
from dynaip.suggest import did_you_mean

Kind = Literal["drop", "scale", "swap"]


Window = tuple[float, float]
"""Denoising progress from (included) and to (not included)."""


ALWAYS: Window = (0.0, float("inf"))


@dataclass(frozen=True)
class Intervention:
    """A change of the reference term at some addresses; None means all of them.

    ``swap`` takes the second reference of each sample instead of the first there, and the first everywhere else.
    """

    kind: Kind = "drop"
    branch: Branch | None = None
    blocks: Collection[int] | None = None
    steps: Window = ALWAYS
    factor: float = 0.0
    """What ``scale`` multiplies the term with."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(
                f"an intervention is one of {', '.join(get_args(Kind))}, not {self.kind!r}."
                f"{did_you_mean(str(self.kind), get_args(Kind))}"
            )
        if self.branch not in (None, *get_args(Branch)):
            raise InputError(f"an intervention's branch is image or text (None: both), not {self.branch!r}")
        if isinstance(self.blocks, (int, str)):
            raise InputError(f"an intervention's blocks are a list such as [0, 1] (None: all), not {self.blocks!r}")
        low, high = self.steps
        if not (low < high and low <= 1 and high > 0):
            raise InputError(f"an intervention's steps are a part of 0 (noise) to 1 (image), not {low} to {high}")
        if self.kind != "scale" and self.factor != 0:
            raise InputError(f"a factor is for kind='scale'; {self.kind} has none")
        if not 0 <= self.factor < float("inf"):
            raise InputError(f"an intervention's factor is 0 or more, not {self.factor}")

    def covers(self, branch: Branch, block: int, progress: float) -> bool:
        """Whether an address is among those that are changed."""
        return (
            self.branch in (None, branch)
            and (self.blocks is None or block in self.blocks)
            and self.steps[0] <= progress < self.steps[1]
        )

    def at(self, branch: Branch, block: int, progress: float) -> float:
        """What the term at an address is multiplied with; a swap changes whose term it is, not its size."""
        if self.kind == "swap" or not self.covers(branch, block, progress):
            return 1.0
        return self.factor if self.kind == "scale" else 0.0


@dataclass(frozen=True)
class Combined:
    """Interventions as one function for ``dyna.intervene``: factors multiply, and a swap of a swap is no swap."""

    interventions: tuple[Intervention, ...]
    beneath: BlockScale | None = None
    """A function of somebody else's whose factors count too."""

    @property
    def swaps(self) -> bool:
        """Whether a second reference is needed."""
        return any(each.kind == "swap" for each in self.interventions)

    def __call__(self, branch: Branch, block: int, progress: float) -> float | Sequence[float]:
        """The factor at an address: one number, or one for each of two references."""
        factor = prod(each.at(branch, block, progress) for each in self.interventions)
        covering = sum(each.kind == "swap" and each.covers(branch, block, progress) for each in self.interventions)
        found: float | Sequence[float] = factor
        if self.swaps:
            found = (0.0, factor) if covering % 2 else (factor, 0.0)
        return found if self.beneath is None else _times(self.beneath(branch, block, progress), found)


def together(interventions: Sequence[Intervention], outer: BlockScale | None = None) -> Combined:
    """One function for ``dyna.intervene``, on top of what ``outer`` changes already."""
    if isinstance(outer, Combined):
        return Combined((*outer.interventions, *interventions), outer.beneath)
    return Combined(tuple(interventions), outer)


def _times(one: float | Sequence[float], other: float | Sequence[float]) -> float | Sequence[float]:
    """Factors of the same references; those that a sequence does not name keep theirs."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one * other
    parts = [[each] if isinstance(each, (int, float)) else list(each) for each in (one, other)]
    length = max(len(each) for each in parts)
    rest = [each if isinstance(each, (int, float)) else 1.0 for each in (one, other)]
    pair = [[*each, *[more] * (length - len(each))] for each, more in zip(parts, rest, strict=True)]
    return tuple(a * b for a, b in zip(*pair, strict=True))


@contextmanager
def intervene(dyna: DynaIP, *interventions: Intervention) -> Generator[None]:
    """Change reference terms while the context is open, on top of what an outer one changes; all is undone afterwards.

    Raises ``InputError`` for a branch or block to which this adapter adds nothing, and in a pass whose samples have other than
    two references for a swap.
    """
    for each in interventions:
        there = {
            block
            for branch in BRANCHES
            if each.branch in (None, branch)
            for block in dyna.open_blocks([branch])[branch]
        }
        missing = sorted(set(there if each.blocks is None else each.blocks) - there)
        if missing or not there:
            what = f"block {missing[0]}" if missing else f"the {each.branch} branch"
            known = ", ".join(map(str, sorted(there))) or "no block"
            raise InputError(
                f"the adapter adds nothing to {what} there, so nothing can be changed; it adds to blocks {known}"
            )
    scale = together(interventions, dyna.block_scale)
    with ExitStack() as stack:
        if any(each.kind == "swap" for each in interventions):
            stack.enter_context(dyna.observe_passes(_check_pairs))
        stack.enter_context(dyna.intervene(scale))
        yield


def _check_pairs(event: PassEvent) -> None:
    """Refuse a pass in which a swap would leave a sample without its reference, or with some third one untouched."""
    rows = [set(slot.rows) for slot in event.slots]
    if rows and (len(rows) != 2 or rows[0] != rows[1]):
        raise InputError("a swap is between two references: give two for every prompt that has any")
