"""Joint attention to and from chosen words and places, reduced while the run goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dynaip.adapter.words import places_of
from dynaip.device import to_device
from dynaip.errors import InputError
from dynaip_analysis.recording.budget import Arrays, RecordingPlan, plan_recording
from dynaip_analysis.recording.joint import JointEvent
from dynaip_analysis.recording.maps import Branches, Map, region_on, token_at
from dynaip_analysis.recording.reduction import mass_on, places_with, rows_from
from dynaip_analysis.recording.reference_maps import Facts, Heads, check_heads
from dynaip_analysis.recording.store import Store, device_for

WORK = 8
"""Chunks that are held at once: two buffers, queries and keys of some heads, and what the parts of a product take."""
COPIES = 6
"""Copies of some heads' queries and keys that exist while they are joined and rotated."""


@dataclass(frozen=True)
class JointRequest:
    """Which columns and rows of the joint attention of text and image tokens to record.

    Columns (who looks at them) and rows (what they look at) of ``words`` of the prompt and ``regions`` (boxes or masks) of
    the generated image; rows of ``points`` (x, y in [0, 1]) too. The whole matrix is never held.
    """

    words: Collection[str] = ()
    regions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, "tuple[float, float]"])
    blocks: Collection[int] | None = None
    """None means all, double-stream and single-stream."""
    heads: Heads = "mean"
    every: int = 1
    """Record one step in so many: the log-sum-exp costs about half of a block's attention."""

    def __post_init__(self) -> None:
        if isinstance(self.words, str):
            raise InputError(f"joint attention: words are a list, such as [{self.words!r}]")
        if not self.names:
            raise InputError("joint attention: name words, regions or points to record")
        double = sorted({name for name in self.names if self.names.count(name) > 1})
        if double:
            raise InputError(
                f"joint attention: {', '.join(double)} is named twice; give regions and points other names"
            )
        check_heads("joint attention", self.heads)
        if self.every < 1:
            raise InputError(f"joint attention: every={self.every} must be 1 or more")

    @property
    def names(self) -> list[str]:
        """Words, regions, points: what the rows are of, and without the points the columns."""
        return [*self.words, *self.regions, *self.points]


def joint_layout(request: JointRequest, facts: Facts, blocks: Sequence[int], text_tokens: int) -> Arrays:
    """Arrays of one step: sums of rows and columns by branch, and the passes of each block."""
    base: dict[str, Sequence[Any]] = {"block": list(blocks), "sample": range(facts.samples)}
    head = {"head": range(facts.heads)} if request.heads == "each" else {}
    arrays: dict[str, dict[str, Sequence[Any]]] = {"passes": {"block": list(blocks)}}
    targets = [*request.words, *request.regions]
    for branch, count in (("text", text_tokens), ("image", facts.grid[0] * facts.grid[1])):
        arrays[f"{branch}.rows"] = {**base, **head, "query": request.names, "key": range(count)}
        if targets:
            arrays[f"{branch}.columns"] = {**base, **head, "key": targets, "query": range(count)}
    return Arrays(arrays)


def joint_plan(
    request: JointRequest, facts: Facts, blocks: Sequence[int], text_tokens: int, budget: int
) -> RecordingPlan:
    """Fit a recording of joint attention into ``budget`` bytes; ``InputError`` if one step does not fit."""
    steps = facts.steps if facts.steps is None else -(-facts.steps // request.every)
    tokens = text_tokens + facts.grid[0] * facts.grid[1]
    scratch = 4 * facts.samples * facts.heads * len(request.names) * tokens
    layout = joint_layout(request, facts, blocks, text_tokens)
    return plan_recording("joint attention", layout, steps, budget, scratch, WORK)


class JointKeeper:
    """Hears the queries and keys of blocks and adds to the sums of their step."""

    def __init__(
        self, request: JointRequest, facts: Facts, blocks: Sequence[int], text_tokens: int, budget: int,
        words: Sequence[Sequence[str]], device: torch.device | None = None,
    ) -> None:  # fmt: skip
        self.request = request
        self.facts = facts
        self.text_tokens = text_tokens
        self.targets = torch.stack([_weights(request, tokens, facts, text_tokens) for tokens in words])
        """Samples x groups x (X + T): words, regions, points."""
        self.columns = len(request.words) + len(request.regions)
        self.sources, self.onto = places_with(self.targets), places_with(self.targets[:, : self.columns])
        """Tokens that rows and columns are wanted of, found before anything lies on a device."""
        self.plan: RecordingPlan = joint_plan(request, facts, blocks, text_tokens, budget)
        layout = joint_layout(request, facts, blocks, text_tokens)
        self.store = Store(layout, self.plan, device_for(self.plan, device))
        self.progress = 0.0

    def check(self, found: Facts) -> None:
        """Raise ``InputError`` for a pass that this recording has no room for, before it is computed."""
        own, now = ((facts.samples, facts.grid, facts.queries["text"]) for facts in (self.facts, found))
        if own != now:
            told = " and ".join(
                f"{samples} samples of {grid} image tokens and {text} text tokens" for samples, grid, text in (own, now)
            )
            raise InputError(f"a recording met {told}: open another record(...) for another size")

    @torch.no_grad()
    def see(self, event: JointEvent) -> None:
        """Add one block of one pass, some heads at a time."""
        batch, heads, tokens, width = event.shape
        at_once = max(1, self.plan.chunk // (COPIES * 4 * batch * tokens * width))
        for start in range(0, heads, at_once):
            head = slice(start, min(start + at_once, heads))
            query, key = event.of_heads(head)
            self._add_heads(event, head, query, key)
        passes = self.store.at(self.progress)["passes"]
        passes[self.store.place("passes", "block")[event.block]] += 1

    def _add_heads(self, event: JointEvent, head: slice, query: Tensor, key: Tensor) -> None:
        own = self.targets.shape[-1]  # tokens of an edited image behind the image's own are keys, but no targets
        self.targets, self.sources, self.onto = (
            to_device(each, query.device) for each in (self.targets, self.sources, self.onto)
        )
        options: dict[str, Any] = {"mask": event.mask, "each_head": True, "chunk": self.plan.chunk}
        rows = rows_from(query[:, :, :own], key, self.targets, wanted=self.sources, **options)
        self._add(event.block, "rows", head, rows[..., :own])
        if self.columns:
            onto = pad(self.targets[:, : self.columns], (0, key.shape[2] - own))
            self._add(event.block, "columns", head, mass_on(query[:, :, :own], key, onto, wanted=self.onto, **options))

    def _add(self, number: int, name: str, head: slice, values: Tensor) -> None:
        sums = self.store.at(self.progress)
        block = self.store.place("passes", "block")[number]
        each = self.request.heads == "each"
        values = values if each else values.sum(dim=1) / self.facts.heads
        for branch, part in (("text", slice(self.text_tokens)), ("image", slice(self.text_tokens, None))):
            target = sums[f"{branch}.{name}"][block]
            target = target[:, head] if each else target
            target += self.store.given(values[..., part])

    def results(self, words: Sequence[Sequence[str]]) -> dict[str, Branches]:
        """``columns`` and ``rows`` by branch; a word that a sample's prompt does not have is NaN there."""
        if not self.store.progress:
            return {}
        weights = {name: "passes" for name in self.store.layout.arrays if name != "passes"}
        found: dict[str, Branches] = {}
        for address, named in self.store.means(weights).items():
            branch, name = address.split(".")
            missing = (self.targets.sum(dim=-1) == 0).cpu().numpy()[:, : self.columns if name == "columns" else None]
            values = named.values
            for sample, group in zip(*missing.nonzero(), strict=True):
                values[(slice(None), slice(None), sample, ..., group, slice(None))] = float("nan")
            axis = "query" if name == "columns" else "key"
            grids = {axis: self.facts.grid} if branch == "image" else {}
            told = words if branch == "text" else ()
            found.setdefault(name, Branches())[branch] = Map(values, named.axes, grids=grids, words=told)
        return found


def _weights(request: JointRequest, tokens: Sequence[str], facts: Facts, text_tokens: int) -> Tensor:
    """One row a word, region and point over text, then image tokens; zeros for a word that the prompt does not have."""
    rows, columns = facts.grid
    found = torch.zeros(len(request.words) + len(request.regions) + len(request.points), text_tokens + rows * columns)
    for group, word in enumerate(request.words):
        try:
            found[group, [place for place in places_of(word, tokens) if place < text_tokens]] = 1
        except InputError:
            continue
    for group, region in enumerate(request.regions.values(), start=len(request.words)):
        found[group, text_tokens:] = torch.from_numpy(region_on(region, facts.grid, rows * columns)).float()
    for group, point in enumerate(request.points.values(), start=len(request.words) + len(request.regions)):
        row, column = token_at(point, facts.grid)
        found[group, text_tokens + row * columns + column] = 1
    return found
