"""What windows show: the passes of the transformer, and the reference terms that are added in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from torch import Tensor

from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.places import Place, Span
from dynaip.adapter.slots import Slot
from dynaip.contracts import Branch, DecouplingPolicy, ForwardPass, Phase


@dataclass(frozen=True)
class PassEvent:
    """One call of the transformer, told before its first block runs."""

    call: ForwardPass
    phase: Phase = "inference"
    policy: DecouplingPolicy | None = None
    """The policy of the references that are active; None where none are."""
    slots: Sequence[Slot] = ()
    """The references that this pass adds; none in a negative pass, and where every branch is shut."""
    weights: Mapping[Branch, Mapping[int, float]] = field(default_factory=dict[Branch, "Mapping[int, float]"])
    """Kind of token -> block -> g_b of what is open, the mean over references where an intervention tells them apart."""


@dataclass(frozen=True)
class ReferenceEvent:
    """What the hooks saw when they added one reference to one branch of one block."""

    block: int
    branch: Branch
    """What the tokens are; in a single-stream block K, V of the image branch serve both kinds."""
    progress: float
    reference: int
    """Place of the reference in its sample's list."""
    samples: Tensor
    """Rows of the pass (b)."""
    queries_index: Tensor | None
    """Image tokens inside the region (t); None for all."""
    query: Tensor
    """b x H x t x d/H."""
    key: Tensor
    """b x H x M x d/H."""
    value: Tensor
    """b x H x M x d/H."""
    term: Tensor
    """b x t x d, after scale, region and weight, as it was added."""
    output: Tensor
    """What the base gives at the same rows and tokens, without any reference, b x t x d."""
    weight: float
    """g_b of the policy (times the intervention)."""
    grid: tuple[int, int]


def weights_of(places: Iterable[Place], slots: Sequence[Slot], span: Span) -> dict[Branch, dict[int, float]]:
    """Kind of token -> block -> g_b of what is open, the mean over references where an intervention tells them apart."""
    found: dict[Branch, dict[int, float]] = {branch: {} for branch in BRANCHES}
    for place in places:
        for branch, weight in place.weights.items():
            factors = [place.factor(branch, slot.number) for slot in slots] or [1.0]
            for kind in place.kinds(branch, span):
                found[kind][place.number] = weight * sum(factors) / len(factors)
    return found


def blocks_of(places: Iterable[Place], branches: Set[Branch], span: Span) -> dict[Branch, list[int]]:
    """Kind of token -> numbers of the blocks that may add to it where these branches are open."""
    found: dict[Branch, list[int]] = {branch: [] for branch in BRANCHES}
    for place in places:
        for branch in branches & set(place.pairs):
            for kind in place.kinds(branch, span):
                found[kind].append(place.number)
    return found
