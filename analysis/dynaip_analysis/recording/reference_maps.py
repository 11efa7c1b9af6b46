"""Reference attention, reduced while the run goes on: from the queries and keys that injection holds to running means."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.events import ReferenceEvent
from dynaip.contracts import Branch
from dynaip.device import ToHost, to_device
from dynaip.errors import InputError
from dynaip_analysis.recording.budget import Arrays, RecordingPlan, plan_recording
from dynaip_analysis.recording.maps import Branches, Map, region_on
from dynaip_analysis.recording.reduction import CHUNK, Workspace, multiplies_halves, spans, weights_and_entropy
from dynaip_analysis.recording.store import Store, device_for

Heads = Literal["mean", "each"]
Weighting = Literal["even", "share"]


@dataclass(frozen=True)
class AttentionRequest:
    """Which reference attention to record, and how it is reduced."""

    branches: Collection[Branch] = ("image", "text")
    blocks: Collection[int] | None = None
    """None means all."""
    heads: Heads = "mean"
    """Maps as the mean over heads, or of each head. Entropy and energy are always of each head."""
    weighting: Weighting = "even"
    """How passes count in a running mean of maps: alike, or by the share of the term in the output at each query."""
    masks: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Boxes or masks on the reference: the attention inside them is recorded for each head."""
    terms: bool = False
    """Also keep the reference term as a mean over queries (what a branch adds, for probes)."""

    def __post_init__(self) -> None:
        wrong = [self.branches] if isinstance(self.branches, str) else set(self.branches) - set(BRANCHES)
        if wrong or not self.branches:
            raise InputError(f"attention: branches={self.branches!r} must be some of {', '.join(BRANCHES)}, in a list")
        check_heads("attention", self.heads)
        if self.weighting not in ("even", "share"):
            raise InputError(f"attention: weighting={self.weighting!r} must be even or share")


def check_heads(what: str, heads: str) -> None:
    """Raise ``InputError`` for a reduction over heads that does not exist."""
    if heads not in ("mean", "each"):
        raise InputError(f"{what}: heads={heads!r} must be mean or each")


@dataclass(frozen=True)
class Facts:
    """Sizes of a run, known at its first pass."""

    steps: int | None
    samples: int
    references: Sequence[int]
    blocks: Mapping[Branch, Sequence[int]]
    """Branch -> blocks whose branch may be open."""
    queries: Mapping[str, int]
    """Branch -> tokens."""
    keys: int
    heads: int
    width: int
    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    patches: tuple[int, int]
    """Rows and columns of the encoder's patches."""


def layout_of(request: AttentionRequest, facts: Facts) -> Arrays:
    """Arrays of one step: sums of maps, entropy, energy, share, and how often each query was seen."""
    arrays: dict[str, dict[str, Sequence[Any]]] = {}
    for branch in _branches(request, facts):
        blocks = _blocks(request, facts, branch)
        base: dict[str, Sequence[Any]] = {
            "block": blocks, "sample": range(facts.samples), "reference": list(facts.references)
        }  # fmt: skip
        head, query = {"head": range(facts.heads)}, {"query": range(facts.queries[branch])}
        arrays[f"{branch}.attention"] = {
            **base, **(head if request.heads == "each" else {}), **query, "key": range(facts.keys)
        }  # fmt: skip
        arrays[f"{branch}.entropy"] = {**base, **head, **query}
        if request.masks:
            arrays[f"{branch}.energy"] = {**base, "mask": list(request.masks), **head, **query}
        if request.terms:
            arrays[f"{branch}.term"] = {**base, "width": range(facts.width)}
            arrays[f"{branch}.terms"] = base
        for name in ("share", "seen", *(["mass"] if request.weighting == "share" else [])):
            arrays[f"{branch}.{name}"] = {**base, **query}
        arrays[f"{branch}.weight"] = arrays[f"{branch}.passes"] = {"block": blocks}
    return Arrays(arrays)


def _branches(request: AttentionRequest, facts: Facts) -> list[Branch]:
    return [branch for branch in BRANCHES if branch in request.branches and _blocks(request, facts, branch)]


def _blocks(request: AttentionRequest, facts: Facts, branch: Branch) -> list[int]:
    return [block for block in facts.blocks.get(branch, ()) if request.blocks is None or block in request.blocks]


COUNTED_BY = {
    "attention": "seen", "entropy": "seen", "energy": "seen", "share": "seen", "weight": "passes", "term": "terms"
}  # fmt: skip
"""What each sum is divided by; maps that are weighed by the share, by the sum of their weights."""


def reference_plan(request: AttentionRequest, facts: Facts, budget: int) -> RecordingPlan:
    """Fit a recording of reference attention into ``budget`` bytes; ``InputError`` if one step does not fit."""
    scratch = 4 * facts.samples * facts.keys * facts.width  # a copy of the keys in float32
    return plan_recording("reference attention", layout_of(request, facts), facts.steps, budget, scratch)


class ReferenceKeeper:
    """Hears every reference term and adds to the sums of its step."""

    def __init__(
        self, request: AttentionRequest, facts: Facts, budget: int, device: torch.device | None = None
    ) -> None:  # fmt: skip
        self.request = request
        self.facts = facts
        self.plan: RecordingPlan = reference_plan(request, facts, budget)
        self.store = Store(layout_of(request, facts), self.plan, device_for(self.plan, device))
        self.branches = _branches(request, facts)
        # Looked up at every event: block and reference by their labels.
        self.places = {
            branch: (self.store.place(f"{branch}.seen", "block"), self.store.place(f"{branch}.seen", "reference"))
            for branch in self.branches
        }
        self.masks = self._masks()
        self.mass = "mass" if request.weighting == "share" else "seen"
        self.later = Later(self.store, self.plan.chunk)
        self.work = Workspace()
        self.heard = False
        """Whether any reference term came."""
        self.store.before_merge = self.later.flush

    def _masks(self) -> Tensor | None:
        if not self.request.masks:
            return None
        rows = [region_on(mask, self.facts.patches, self.facts.keys) for mask in self.request.masks.values()]
        return torch.from_numpy(np.stack(rows)).float()

    @torch.no_grad()
    def see(self, event: ReferenceEvent) -> None:
        """Add one event to the sums of its step."""
        branch = event.branch
        if branch not in self.branches or event.block not in self.places[branch][0]:
            return
        if branch == "image" and event.queries_index is None and event.query.shape[2] != self.facts.queries["image"]:
            return  # text tokens that a single-stream block sends through the image branch
        blocks, references = self.places[branch]
        block, at = blocks[event.block], _Place(event, references[event.reference])
        self._check(event, at)
        sums = self.store.at(event.progress)
        self.heard = True
        # In float32 without a copy of the values in it.
        size, whole = (
            torch.linalg.vector_norm(each, dim=-1, dtype=torch.float32) for each in (event.term, event.output)
        )
        share = size / whole.clamp_min(1e-12)
        self._add(at, sums[f"{branch}.share"][block], share)
        at.add(sums[f"{branch}.seen"][block], 1.0)
        if self.request.weighting == "share":
            self._add(at, sums[f"{branch}.mass"][block], share)
        self._add_term(sums, branch, block, at, event.term)
        own = {name: sums[f"{branch}.{name}"] for name in COUNTED_BY if f"{branch}.{name}" in sums}
        self._add_attention(own, block, at, event, share if self.request.weighting == "share" else None)

    def weigh(self, progress: float, weights: Mapping[Branch, Mapping[int, float]]) -> None:
        """Note what a pass weighs: branch -> block -> g_b; blocks that are not named are closed and weigh 0."""
        sums = self.store.at(progress)
        for branch in self.branches:
            for block, at in self.places[branch][0].items():
                sums[f"{branch}.weight"][at] += weights.get(branch, {}).get(block, 0.0)
                sums[f"{branch}.passes"][at] += 1

    def check(self, found: Facts) -> None:
        """Raise ``InputError`` for a pass that this recording has no room for, before it is computed."""
        own = self.facts
        if tuple(found.grid) != tuple(own.grid):
            raise InputError(
                f"the recording began with {own.grid} image tokens and now meets {tuple(found.grid)}: "
                "open another record(...) for another size"
            )
        sizes = {
            name: (getattr(own, name), getattr(found, name))
            for name in ("samples", "keys")
            if getattr(own, name) != getattr(found, name)
        }
        if "text" in self.branches and own.queries["text"] != found.queries["text"]:
            sizes["text tokens"] = own.queries["text"], found.queries["text"]
        if not set(found.references) <= set(own.references):
            sizes["references"] = len(own.references), len(found.references)
        if sizes:
            told = ", ".join(f"{name} {before}, then {now}" for name, (before, now) in sizes.items())
            raise InputError(
                f"the passes of a recording differ in size ({told}): open another record(...) for the second one"
            )
        for branch in _branches(self.request, found):
            if branch not in self.branches:
                raise InputError(
                    f"the {branch} branch was closed when the recording began and is open now: open another record(...) for it"
                )

    def _check(self, event: ReferenceEvent, at: _Place) -> None:
        if event.key.shape[2] != self.facts.keys or at.rows.max() >= self.facts.samples:
            raise InputError("the passes of a recording differ in size: open another record(...) for the second one")
        if tuple(event.grid) != tuple(self.facts.grid):
            raise InputError(
                f"the recording began with {self.facts.grid} image tokens and now meets {tuple(event.grid)}: "
                "open another record(...) for another size"
            )

    def _add_term(self, sums: Mapping[str, Any], branch: str, block: int, at: _Place, term: Tensor) -> None:
        if self.request.terms:
            target = sums[f"{branch}.term"][block]
            self.later.do(term.mean(dim=1, dtype=torch.float32), lambda found: at.add_rows(target, found))
            at.add_rows(sums[f"{branch}.terms"][block], 1.0)

    def _add_attention(
        self, sums: Mapping[str, Any], block: int, at: _Place, event: ReferenceEvent, mass: Tensor | None
    ) -> None:  # fmt: skip
        """Some queries at a time with all their heads, so that the mean over heads is whole when it is added."""
        key, (rows, heads, queries) = event.key, event.query.shape[:3]
        if not multiplies_halves(key.device, key.dtype):
            key = key.float()  # once, and not for each part
        for part in spans(queries, 4 * rows * heads * event.key.shape[2], self.plan.chunk):
            weights, entropy = weights_and_entropy(event.query[:, :, part], key, self.work)
            self._add(at, sums["entropy"][block], entropy, part)
            if self.masks is not None:
                self.masks = to_device(self.masks, weights.device)
                inside = torch.einsum("bhtm,gm->bght", weights, self.masks)
                self._add(at, sums["energy"][block], inside, part)
            if mass is not None:
                weights *= mass[:, None, part, None]
            each = self.request.heads == "each"
            self._add(at, sums["attention"][block], weights if each else weights.mean(dim=1), part, keys=True)

    def _add(self, at: _Place, array: Any, values: Tensor, part: slice = slice(None), *, keys: bool = False) -> None:
        self.later.do(values, lambda found: at.add(array, found, part, keys=keys))

    def results(self, words: Sequence[Sequence[str]] = ()) -> dict[str, Branches]:
        """Means by name and branch; what was never seen is NaN."""
        self.later.flush()
        weights = {
            f"{branch}.{name}": f"{branch}.{self.mass if name == 'attention' else by}"
            for branch in self.branches
            for name, by in COUNTED_BY.items()
            if f"{branch}.{name}" in self.store.layout.arrays
        }
        grids = {"key": self.facts.patches, "query": self.facts.grid}
        found: dict[str, Branches] = {}
        for address, named in self.store.means(weights).items() if self.store.progress else ():
            branch, name = address.split(".")
            image = branch == "image"
            own, tokens = grids if image else {"key": grids["key"]}, () if image else words
            found.setdefault(name, Branches())[branch] = Map(named.values, named.axes, grids=own, words=tokens)
        return found


_HOST: Any = WeakTensorKeyDictionary()
"""Indices as the host knows them: they stay the same tensors through a generation, and are read from a device once."""


def _on_host(index: Tensor) -> Any:
    if index.device.type == "cpu":
        return index.numpy()
    if index not in _HOST:
        _HOST[index] = index.cpu().numpy()
    return _HOST[index]


class _Place:
    """Where an event's rows and queries belong in sums over samples x references x ... x queries (x keys)."""

    def __init__(self, event: ReferenceEvent, reference: int) -> None:
        self.rows = _on_host(event.samples)
        self.index = event.queries_index
        self.columns = np.arange(event.query.shape[2]) if self.index is None else _on_host(self.index)
        self.span = _span(self.rows)
        self.reference = reference

    def add(self, array: Any, values: Any, part: slice = slice(None), *, keys: bool = False) -> None:
        """Add values (b x ... x t (x M), or a number) of some of the queries in place."""
        own, columns = array[:, self.reference], self.columns[part]
        rest = (slice(None),) if keys else ()
        middle = (slice(None),) * (own.ndim - 2 - keys)
        span = _span(columns)
        if span is not None and self.span is not None:
            own[(self.span, *middle, span, *rest)] += values
            return
        if span is not None:
            columns = span
        elif isinstance(array, Tensor) and self.index is not None:
            columns = self.index[part]  # where the sums lie: no copy of the index in every step
        for place, row in enumerate(self.rows):
            target = own[(int(row), *middle)]
            target[(..., columns, *rest)] += values if np.ndim(values) == 0 else values[place]

    def add_rows(self, array: Any, values: Any) -> None:
        """Add values (b x ..., or a number) in place."""
        for place, row in enumerate(self.rows):
            array[int(row), self.reference] += values if np.ndim(values) == 0 else values[place]


def _span(index: Any) -> slice | None:
    """An index that counts up by ones as a slice, which numpy adds to much faster."""
    if len(index) and index[-1] - index[0] + 1 == len(index):
        return slice(int(index[0]), int(index[-1]) + 1)
    return None


class Later:
    """Adds to sums: at once where they lie on the device of what is added, else once a copy beside the run has arrived."""

    def __init__(self, store: Store, room: int = CHUNK) -> None:
        self.store = store
        self.room = room
        """Bytes that may wait on the host."""
        self.waiting = 0
        self.queue: deque[tuple[ToHost, int, Callable[[Any], None]]] = deque()

    def do(self, values: Tensor, add: Callable[[Any], None]) -> None:
        """Call ``add`` with the values in the form of the sums, now or soon."""
        if not values.is_cuda or self.store.device is not None:
            add(self.store.given(values))
            return
        self.queue.append((ToHost(values), values.nbytes, add))
        self.waiting += values.nbytes
        while self.waiting > self.room:
            self._next()

    def flush(self) -> None:
        """Add whatever is still waiting."""
        while self.queue:
            self._next()

    def _next(self) -> None:
        told, size, add = self.queue.popleft()
        self.waiting -= size
        add(told.read().numpy())
