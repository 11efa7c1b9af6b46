"""Puts reference attention into a transformer with module hooks, and takes it out again without a trace.

Nothing is replaced: hooks on the query norms hold the branch's query, hooks on the attention (or block, or output projection)
add the reference term. When nothing is to be added every hook returns at once, so the base's output stays bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from dynaip.adapter.attention import BRANCHES, Group, ReferenceAttention, Slot, attend, grouped, merge_heads
from dynaip.contracts import Backbone, BlockSite, Branch, DecouplingPolicy, ForwardPass, Phase
from dynaip.errors import MismatchError

Site = Literal["attention", "projection", "residual"]
Span = Literal["off", "image_tokens", "all_tokens"]
BlockScale = Callable[[Branch, int, float], float]


@dataclass(frozen=True)
class ReferenceEvent:
    """What the hooks saw when they added one reference to one branch of one block."""

    block: int
    branch: Branch
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
    """What it was added to, at the same rows and tokens, b x t x d."""
    weight: float
    """g_b of the policy (times the intervention)."""
    grid: tuple[int, int]


@dataclass
class Injection:
    """What is injected while a context is open: the slots (made at the first pass), the policy, and the K/V cache."""

    samples: int
    policy: DecouplingPolicy
    phase: Phase
    make_slots: Callable[[ForwardPass], list[Slot]]
    condition_dependent: bool = False
    slots: list[Slot] | None = None
    groups: list[list[Group]] = field(default_factory=list[list[Group]])
    grid: tuple[int, int] | None = None
    condition: Tensor | None = None
    cache: dict[tuple[int, Branch, int], tuple[Tensor, Tensor]] = field(default_factory=dict[Any, Any])

    def prepare(self, call: ForwardPass) -> None:
        """Make slots and groups when they are missing, or when the grid or the prompt changed."""
        changed = self.condition_dependent and not _same(self.condition, call.condition)
        if self.slots is not None and self.grid == call.grid and not changed:
            return
        self.slots = self.make_slots(call)
        self.groups = [grouped(slot.regions) for slot in self.slots]
        self.grid, self.condition = call.grid, call.condition
        self.cache.clear()


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(torch.equal(one, other))


class Injector:
    """The hooks of one adapter on one transformer. ``remove`` is the exact inverse of building it."""

    def __init__(
        self, transformer: nn.Module, backbone: Backbone, attention: ReferenceAttention, sites: Sequence[BlockSite], *,
        numbers: Sequence[int], blocks: int, site: Site, span: Span,
    ) -> None:  # fmt: skip
        self.transformer = transformer
        self.backbone = backbone
        self.attention = attention
        self.sites = list(sites)
        self.numbers = list(numbers)
        self.blocks = blocks
        self.site: Site = site
        self.span: Span = span
        self.injection: Injection | None = None
        self.observers: list[Callable[[ReferenceEvent], None]] = []
        self.block_scale: BlockScale | None = None
        self.context: str | None = None
        self.call: ForwardPass | None = None
        self.weights: dict[tuple[int, Branch], float] = {}
        self.queries: dict[tuple[int, Branch], Tensor] = {}
        self.handles = self._hook()
        self._mark_passes()

    # -- hooks ---------------------------------------------------------------------------------------------------------

    def _hook(self) -> list[Any]:
        handles: list[Any] = [self.transformer.register_forward_pre_hook(self._before, with_kwargs=True)]
        for place, site in enumerate(self.sites):
            for branch, module in site.queries.items():
                handles.append(module.register_forward_hook(self._hold(place, branch)))
            if self.site == "attention":
                handles.append(site.attention.register_forward_hook(self._add(place, site.attention_outputs)))
            elif self.site == "residual":
                handles.append(site.block.register_forward_hook(self._add(place, site.block_outputs)))
            else:
                for branch, module in site.projections.items():
                    handles.append(module.register_forward_pre_hook(self._add_before(place, branch)))
        return handles

    def _mark_passes(self) -> None:
        """Pipelines name their guidance passes by ``transformer.cache_context``: listen, without replacing the class's."""
        original = getattr(self.transformer, "cache_context", None)
        if original is None:
            return

        @contextmanager
        def cache_context(name: str, **details: Any) -> Generator[Any]:
            outer, self.context = self.context, name
            try:
                with original(name, **details) as value:
                    yield value
            finally:
                self.context = outer

        self.transformer.__dict__["cache_context"] = cache_context

    def remove(self) -> None:
        """Take every hook away and forget everything that was held."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        self.transformer.__dict__.pop("cache_context", None)
        self.injection, self.call = None, None
        self.queries.clear()

    @contextmanager
    def active(self, injection: Injection) -> Generator[Injection]:
        """Inject while the context is open; what was active before is active again afterwards."""
        outer, self.injection = self.injection, injection
        try:
            yield injection
        finally:
            injection.cache.clear()
            injection.slots = None
            self.injection, self.call = outer, None
            self.queries.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read the pass, decide which branches of which blocks are open, and make tokens if they are missing."""
        self.call, self.weights = None, {}
        self.queries.clear()
        injection = self.injection
        if injection is None or injection.samples == 0:
            return
        call = self.backbone.read_pass(self.transformer, args, kwargs, self.context)
        if call.negative:
            return
        if call.batch % injection.samples:
            raise MismatchError(
                f"references are given for {injection.samples} prompts, but the batch holds {call.batch} images: "
                "give one list of references a prompt, or one flat list for all of them"
            )
        self.weights = self._open(injection, call)
        if self.weights:
            injection.prepare(call)
            self.call = call if injection.slots else None

    def _open(self, injection: Injection, call: ForwardPass) -> dict[tuple[int, Branch], float]:
        found: dict[tuple[int, Branch], float] = {}
        for place, number in enumerate(self.numbers):
            given = injection.policy.weights(injection.phase, block=number, blocks=self.blocks, progress=call.progress)
            for branch in self._branches(place):
                weight = given.image if branch == "image" else given.text
                if self.block_scale is not None:
                    weight *= self.block_scale(branch, number, call.progress)
                if weight != 0:
                    found[place, branch] = weight
        return found

    def _branches(self, place: int) -> tuple[Branch, ...]:
        # A single-stream block has one query for all tokens: the image branch's K, V serve it.
        return ("image",) if self.sites[place].kind == "single" else BRANCHES

    def _hold(self, place: int, branch: Branch) -> Callable[..., None]:
        def hold(module: nn.Module, args: Any, output: Tensor) -> None:
            if self.call is not None and (place, branch) in self.weights:
                self.queries[place, branch] = output

        return hold

    def _add(self, place: int, positions: Mapping[Branch, int]) -> Callable[..., Any]:
        def add(module: nn.Module, args: Any, output: Any) -> Any:
            if self.call is None:
                return None
            outputs = list(output) if isinstance(output, tuple) else [output]
            for branch, position in positions.items():
                outputs[position] = self._added(place, branch, outputs[position])
            return tuple(outputs) if isinstance(output, tuple) else outputs[0]

        return add

    def _add_before(self, place: int, branch: Branch) -> Callable[..., Any]:
        def add(module: nn.Module, args: tuple[Any, ...]) -> Any:
            return None if self.call is None else (self._added(place, branch, args[0]), *args[1:])

        return add

    # -- the term ------------------------------------------------------------------------------------------------------

    def _added(self, place: int, branch: Branch, output: Tensor) -> Tensor:
        """``output`` (B x tokens x d) plus the term of every reference; ``output`` itself if there is none."""
        query = self.queries.pop((place, branch), None)
        if query is None:
            return output
        if self.sites[place].query_layout == "BTHd":
            query = query.transpose(1, 2)
        offset = query.shape[2] - output.shape[1]
        parts: list[Tensor] = []
        for start, end, injected in self._windows(place, branch, output.shape[1]):
            part = output[:, start:end]
            if injected is not None:
                part = self._sum(place, branch, query[:, :, start + offset : end + offset], part, regional=injected)
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _windows(self, place: int, branch: Branch, tokens: int) -> list[tuple[int, int, bool | None]]:
        """Split a branch's tokens into spans (start, end, injected): True with regions, False without, None not at all."""
        call = cast(ForwardPass, self.call)
        image = call.grid[0] * call.grid[1]
        if branch == "text":
            return [(0, tokens, False)]
        if self.sites[place].kind == "single" and tokens > image:
            # Single-stream blocks hold the text tokens before the image tokens.
            return [(0, tokens - image, False if self.span == "all_tokens" else None), (tokens - image, tokens, True)]
        return [(0, image, True)] if tokens == image else [(0, image, True), (image, tokens, None)]

    def _sum(self, place: int, branch: Branch, query: Tensor, output: Tensor, *, regional: bool) -> Tensor:
        injection = cast(Injection, self.injection)
        total = output
        for number, slot in enumerate(cast(list[Slot], injection.slots)):
            # Text tokens have no place on the grid: a region does not reach them.
            groups = injection.groups[number] if regional else grouped([None] * len(slot.rows))
            for group in groups:
                total = self._add_group(place, branch, number, slot, group, query, total)
        return total

    def _key_value(self, place: int, branch: Branch, number: int, slot: Slot, query: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a slot (P x H x M x d/H): once per generation where no gradient is wanted."""
        injection = cast(Injection, self.injection)
        address = (place, branch, number)
        if address in injection.cache:
            return injection.cache[address]
        pair = self.attention.pair(branch, place)
        if pair.to_k.weight.device != query.device:
            pair.to(query.device)
        key, value = (part.to(query.dtype) for part in pair(slot.tokens.to(query.device)))
        if not torch.is_grad_enabled():
            injection.cache[address] = (key, value)
        return key, value

    def _add_group(
        self, place: int, branch: Branch, number: int, slot: Slot, group: Group, query: Tensor, total: Tensor
    ) -> Tensor:
        call = cast(ForwardPass, self.call)
        key, value = self._key_value(place, branch, number, slot, query)
        repeats = call.batch // cast(Injection, self.injection).samples
        samples = _samples(slot, group, repeats)
        everyone = len(samples) == call.batch and len(slot.rows) == len(group.members)
        here = query if everyone else query[samples.to(query.device)]
        index = group.index
        if index is not None:
            here = here[:, :, index.to(query.device)]
        key, value = (_expand(part, group.members, repeats, len(slot.rows)) for part in (key, value))
        factor = _factor(slot, group, repeats, self.weights[place, branch]).to(query)
        term = (merge_heads(attend(here, key, value)) * factor).to(total.dtype)
        self._observe(place, branch, number, samples, index, here, (key, value), term, total, call)
        return _scatter(total, term, None if everyone else samples.to(total.device), index)

    def _observe(
        self, place: int, branch: Branch, number: int, samples: Tensor, index: Tensor | None, query: Tensor,
        pair: tuple[Tensor, Tensor], term: Tensor, total: Tensor, call: ForwardPass,
    ) -> None:  # fmt: skip
        if not self.observers:
            return
        output = total[samples.to(total.device)]
        output = output if index is None else output[:, index.to(total.device)]
        weight = self.weights[place, branch]
        event = ReferenceEvent(
            self.numbers[place],
            branch,
            call.progress,
            number,
            samples,
            index,
            query,
            *pair,
            term,
            output,
            weight,
            call.grid,
        )
        for observer in list(self.observers):
            observer(event)


def _samples(slot: Slot, group: Group, repeats: int) -> Tensor:
    """Rows of the pass that a group serves: every prompt stands for ``repeats`` consecutive images."""
    rows = torch.tensor([slot.rows[member] for member in group.members])
    return (rows[:, None] * repeats + torch.arange(repeats)).flatten()


def _expand(part: Tensor, members: list[int], repeats: int, rows: int) -> Tensor:
    chosen = part if len(members) == rows else part[torch.tensor(members, device=part.device)]
    return chosen if repeats == 1 else chosen.repeat_interleave(repeats, dim=0)


def _factor(slot: Slot, group: Group, repeats: int, weight: float) -> Tensor:
    """g_b s_r M_r as b x t x 1 (or b x 1 x 1 without a region)."""
    scales = slot.scales[torch.tensor(group.members, device=slot.scales.device)][:, None, None] * weight
    if any(weights is not None for weights in group.weights):
        size = next(len(weights) for weights in group.weights if weights is not None)
        rows = [torch.ones(size) if weights is None else weights for weights in group.weights]
        scales = scales * torch.stack(rows)[..., None].to(scales.device)
    return scales if repeats == 1 else scales.repeat_interleave(repeats, dim=0)


def _scatter(total: Tensor, term: Tensor, samples: Tensor | None, index: Tensor | None) -> Tensor:
    """Add ``term`` (b x t x d) at the given rows and tokens, out of place."""
    if samples is None and index is None:
        return total + term
    if index is not None:
        index = index.to(total.device)
        whole = term.new_zeros(term.shape[0], total.shape[1], term.shape[2])
        term = whole.index_add(1, index, term)
    return total + term if samples is None else total.index_add(0, samples, term)
