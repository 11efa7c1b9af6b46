"""Puts reference attention into a transformer with module hooks, and takes it out again without a trace.

Nothing is replaced: hooks on the query norms hold the branch's query, hooks on the attention (or block, or output projection)
add the reference term. When nothing is to be added every hook returns at once, so the base's output stays bit-identical.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from dynaip.adapter import caches, noticed, products
from dynaip.adapter.attention import BRANCHES, ReferenceAttention, split_heads
from dynaip.adapter.backends import backend_of
from dynaip.adapter.compiled import Doors, forget_compiled
from dynaip.adapter.events import PassEvent, ReferenceEvent, blocks_of, weights_of
from dynaip.adapter.injection import Injection
from dynaip.adapter.passes import PassMarks, calling_pipeline
from dynaip.adapter.places import Place, Span
from dynaip.adapter.slots import Gathered, Group, Slot, looking, spread
from dynaip.adapter.terms import (
    gathered_queries,
    reference_term,
    scatter,
    scatter_gathered,
    weighed,
    weight_of,
    window,
)
from dynaip.contracts import Backbone, BlockSite, Branch, ForwardPass, Phase
from dynaip.errors import InputError, MismatchError
from dynaip.numeric import LARGEST, as_number
from dynaip.promises import check_weights

Site = Literal["attention", "projection", "residual"]
BlockScale = Callable[[Branch, int, float], "float | Sequence[float]"]
"""(branch, block, progress) -> factor of g_b: one for all references, or one a reference by its place in the list."""


class Injector:
    """The hooks of one adapter on one transformer. ``remove`` is the exact inverse of building it.

    The transformer is held weakly: an adapter never keeps a deleted pipeline in memory.
    """

    def __init__(
        self, transformer: nn.Module, backbone: Backbone, attention: ReferenceAttention, sites: Sequence[BlockSite], *,
        numbers: Sequence[int], blocks: int, site: Site, span: Span,
    ) -> None:  # fmt: skip
        self._transformer = weakref.ref(transformer)
        self.backbone = backbone
        self.attention = attention
        self.places = [
            Place(
                number=number,
                single=block.kind == "single",
                query_layout=block.query_layout,
                # A single-stream block has one query for all tokens: the image branch's K, V serve it.
                pairs={
                    branch: attention.pair(branch, place)
                    for branch in BRANCHES
                    if branch in block.queries and attention.serves(branch)
                },
            )
            for place, (number, block) in enumerate(zip(numbers, sites, strict=True))
        ]
        self.blocks = blocks
        self.site: Site = site
        self.span: Span = span
        self.injection: Injection | None = None
        self.observers: list[Callable[[ReferenceEvent], None]] = []
        self.pass_observers: list[Callable[[PassEvent], None]] = []
        self.block_scale: BlockScale | None = None
        self.call: ForwardPass | None = None
        """The pass that runs, if anything is added in it."""
        self.writes = False
        """Whether terms are written into the attention's output in this pass, instead of into a copy."""
        self.backend: str | None = None
        """Attention backend of the base in this pass; None is torch's own."""
        self.marks = PassMarks(transformer)
        # Backbones that were written before pipelines were passed take four arguments.
        self.reads_pipe = "pipe" in inspect.signature(backbone.read_pass).parameters
        self.numbers = list(numbers)
        self.targets: list[weakref.ref[nn.Module]] = []
        """What carries hooks and may be wrapped by a LoRA; norms never are."""
        self.inside = 0
        """How many doors of compiled code the running pass has come through."""
        self.doors = Doors(self)
        self.own = [
            transformer.register_forward_pre_hook(self._before, with_kwargs=True),
            transformer.register_forward_hook(self._after),
        ]
        self.hooks = self._hook(sites)
        forget_compiled()

    @property
    def transformer(self) -> nn.Module | None:
        """The transformer that carries the hooks; None once it is deleted."""
        return self._transformer()

    @property
    def handles(self) -> list[Any]:
        """Every hook that is on the transformer."""
        return [*self.own, *self.hooks]

    # -- hooks ---------------------------------------------------------------------------------------------------------

    def _hook(self, sites: Sequence[BlockSite]) -> list[Any]:
        handles: list[Any] = []
        self.targets = [weakref.ref(module) for module in self._wrappable(sites)]
        for place, block in zip(self.places, sites, strict=True):
            place.stand_at(block)
            for branch, module in block.queries.items():
                handles.append(module.register_forward_hook(self._hold(place, branch)))
            if self.site == "residual":
                handles.append(block.block.register_forward_hook(self._add(place, block.block_outputs)))
            elif self.site == "attention" or not block.projections:
                # A block without an output projection of its own attention ends where a projection would begin.
                handles.append(block.attention.register_forward_hook(self._add(place, block.attention_outputs)))
            else:
                for branch, module in block.projections.items():
                    handles.append(module.register_forward_pre_hook(self._add_before(place, branch)))
        return handles

    def _wrappable(self, sites: Sequence[BlockSite]) -> list[nn.Module]:
        queries = [module for block in sites for module in block.queries.values()]
        outputs = [module for block in sites for module in block.projections.values() if self.site == "projection"]
        return [module for module in (*queries, *outputs) if hasattr(module, "in_features")]

    def _follow(self, transformer: nn.Module) -> None:
        """Move the hooks where a LoRA was put around the linear layers that carry them, or was taken away."""
        if not self.targets:
            return
        blocks = self.backbone.blocks(transformer)
        sites = [blocks[number] for number in self.numbers]
        if any(held() is not module for held, module in zip(self.targets, self._wrappable(sites), strict=True)):
            for handle in self.hooks:
                handle.remove()
            self.hooks = self._hook(sites)
            forget_compiled(transformer)

    def remove(self) -> None:
        """Take every hook away and forget everything that was held."""
        for handle in self.handles:
            handle.remove()
        self.own, self.hooks = [], []
        transformer = self.transformer
        self.doors.close(transformer)
        if transformer is not None:
            self.marks.remove(transformer)
        self.injection = None
        self._close()

    def _close(self) -> None:
        """Shut every branch of every block and let go of what was held for a pass."""
        self.call = None
        if self.injection is not None and self.injection.finder is not None:
            self.injection.finder.call = None
        for place in self.places:
            place.close()

    @contextmanager
    def active(self, injection: Injection) -> Generator[Injection]:
        """Inject while the context is open; what was active before is active again afterwards."""
        outer, self.injection = self.injection, injection
        try:
            yield injection
        finally:
            injection.forget()
            self.marks.forget()
            self.injection = outer
            self._close()
            for place in self.places:
                place.forget()

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """A call of compiled code begins: what its own hooks would do is done outside of it."""
        if not self.inside:
            self._start(module, args, kwargs)
        self.inside += 1

    def leave(self, *, failed: bool) -> None:
        """The call has ended."""
        self.inside = max(0, self.inside - 1)
        if not (self.inside or failed or self.call is None):
            noticed.check(self.places, self.call, behind=self.site == "residual")

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.inside:
            self._start(module, args, kwargs)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self.inside and self.call is not None:
            noticed.check(self.places, self.call, behind=self.site == "residual")

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Read the pass, decide which branches of which blocks are open, and make tokens if they are missing."""
        self._close()
        injection = self.injection if self.injection and self.injection.samples else None
        if injection is None and not self.pass_observers:
            return
        self._follow(module)
        call = self._read(module, args, kwargs, injection.phase if injection else "inference")
        if injection is not None and not call.negative:
            self._begin(injection, call, module, args, kwargs)
        if self.pass_observers:
            self._tell(injection, call)

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], phase: Phase) -> ForwardPass:
        """Read the pass; in training nobody guides."""
        context = self.marks.read(args, kwargs) if phase == "inference" else None
        if not self.reads_pipe:
            return self.backbone.read_pass(module, args, kwargs, context)
        pipe = calling_pipeline() if phase == "inference" else None
        return self.backbone.read_pass(module, args, kwargs, context, pipe=pipe)

    def _begin(
        self, injection: Injection, call: ForwardPass, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Open the branches of a pass that sees references."""
        if call.batch % injection.samples:
            raise MismatchError(
                f"references are given for {injection.samples} prompts, but the batch holds {call.batch} images: "
                "give one list of references a prompt, or one flat list for all of them"
            )
        cached = caches.meet(module, self.places, self.site)
        if not injection.looks(call) and self._open(injection, call):
            self.backend, self.writes = backend_of(module), self._may_write(cached)
            latents = cast(Tensor, kwargs.get("hidden_states", args[0] if args else None))
            with products.half_products(latents):
                injection.prepare(call, latents)
            self.call = call if injection.slots else None
            if self.call is not None:
                products.fill(self.attention, self.places, cast(list[Slot], injection.slots), injection.cache, latents)

    def _tell(self, injection: Injection | None, call: ForwardPass) -> None:
        """Tell the window what this pass is."""
        if injection is None:
            event = PassEvent(call)
        else:
            slots = (injection.slots if self.call is not None else None) or ()
            weights = weights_of(self.places, slots, self.span)
            event = PassEvent(call, injection.phase, injection.policy, slots, weights)
        for observer in list(self.pass_observers):
            observer(event)

    def open_blocks(self, branches: Iterable[Branch]) -> dict[Branch, list[int]]:
        """Kind of token -> numbers of the blocks that may add to it where these branches are open."""
        return blocks_of(self.places, set(branches), self.span)

    def _open(self, injection: Injection, call: ForwardPass) -> bool:
        """Ask the policy for the weights of this pass; False if all branches are shut."""
        for place in self.places:
            given = injection.policy.weights(
                injection.phase, block=place.number, blocks=self.blocks, progress=call.progress
            )
            check_weights(f"decoupling {type(injection.policy).__name__}", given)
            for branch in place.pairs:
                weight = given.image if branch == "image" else given.text
                scale = 1.0 if self.block_scale is None else self.block_scale(branch, place.number, call.progress)
                factor = as_number(scale)
                if factor is None:
                    place.factors[branch] = [float(each) for each in cast("Sequence[float]", scale)]
                    factor = float(any(place.factors[branch]))
                weight = float(weight * factor)
                if not abs(weight) <= LARGEST:
                    where = f"the weight of the {branch} branch in block {place.number}"
                    raise InputError(f"{where} is {weight:g}, beyond {LARGEST:g}; see decoupling and intervene(...)")
                if weight != 0:
                    place.weights[branch] = weight
        return any(place.weights for place in self.places)

    def _hold(self, place: Place, branch: Branch) -> Callable[..., None]:
        def hold(module: nn.Module, args: Any, output: Tensor) -> None:
            if place.reuses:
                place.latest[branch] = output
            elif self.call is not None and branch in place.weights:
                place.queries[branch] = output

        return hold

    def _add(self, place: Place, positions: Mapping[Branch, int]) -> Callable[..., Any]:
        def add(module: nn.Module, args: Any, output: Any) -> Any:
            if self.call is None or not place.weights or caches.leads_alone(place):
                return None
            outputs = list(output) if isinstance(output, tuple) else [output]
            for branch, position in positions.items():
                outputs[position] = self._added(place, branch, outputs[position])
            return tuple(outputs) if isinstance(output, tuple) else outputs[0]

        return add

    def _add_before(self, place: Place, branch: Branch) -> Callable[..., Any]:
        def add(module: nn.Module, args: tuple[Any, ...]) -> Any:
            if self.call is None or branch not in place.weights:
                return None
            return (self._added(place, branch, args[0]), *args[1:])

        return add

    # -- the term ------------------------------------------------------------------------------------------------------

    def _added(self, place: Place, branch: Branch, output: Tensor) -> Tensor:
        """``output`` (B x tokens x d) plus the term of every reference; ``output`` itself if there is none."""
        if branch not in place.weights:
            return output
        call = cast(ForwardPass, self.call)
        query = place.latest.get(branch) if place.reuses else place.queries.pop(branch, None)
        query = None if query is None else split_heads(query, place.pairs[branch].heads, place.query_layout)
        # The stream of a single-stream block at site `residual` may have given its text tokens away already.
        offset = 0 if query is None else query.shape[2] - output.shape[1]
        if query is None or len(query) != len(output) or offset not in (0, call.text_tokens if place.single else 0):
            place.added[branch] = False
            return output
        place.added[branch] = True
        skipped = call.negative_rows
        query, positive = window(query, 0, skipped, len(query)), window(output, 0, skipped, len(output))
        parts: list[Tensor] = []
        for start, end, tokens in self._windows(place, branch, positive.shape[1], offset):
            part = window(positive, 1, start, end)
            if tokens is not None:
                part = self._sum(place, branch, window(query, 2, start + offset, end + offset), part, tokens)
            parts.append(part)
        if self.writes:
            return output
        positive = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return torch.cat([output[:skipped], positive]) if skipped else positive

    def _may_write(self, cached: bool) -> bool:
        """Whether terms may be written into what the attention gave: nobody else needs it as it was."""
        return self.site == "attention" and not (torch.is_grad_enabled() or self.observers or cached)

    def _windows(self, place: Place, branch: Branch, length: int, offset: int) -> list[tuple[int, int, Branch | None]]:
        """Split a stream into (start, end, what its tokens are); None for tokens that see no reference.

        A double-stream block keeps text and image apart. A single-stream block holds text, then image tokens; behind them
        there may be tokens of an image that is edited (Kontext), which see no reference.
        """
        call = cast(ForwardPass, self.call)
        if branch == "text":
            return [(0, length, "text")]
        start = call.text_tokens - offset if place.single else 0
        end = start + call.grid[0] * call.grid[1]
        spans: list[tuple[int, int, Branch | None]] = [
            (0, start, "text" if self.span == "all_tokens" else None),
            (start, end, "image"),
            (end, length, None),
        ]
        return [span for span in spans if span[0] < span[1]]

    def _sum(self, place: Place, branch: Branch, query: Tensor, output: Tensor, tokens: Branch) -> Tensor:
        injection = cast(Injection, self.injection)
        groups = injection.regional if tokens == "image" else injection.everywhere
        gathered = injection.gathered if tokens == "image" and branch not in place.factors else []
        total = output
        for slot, found in zip(cast(list[Slot], injection.slots), groups, strict=True):
            weight = place.weights[branch] * place.factor(branch, slot.number)
            found = [group for group in found if group.index is None] if gathered else found
            if weight == 0 or not found:
                continue
            key, value = self._keys(place, branch, slot, query)
            for group in found:
                parts = looking(query, group), spread(key, group), spread(value, group)
                term, factor = reference_term(*parts, self.backend), weight_of(group.scale, group.level, weight)
                if self.observers:
                    self._observe(place, weight, tokens, slot, group, parts, weighed(term, factor), output)
                total = scatter(total, term, factor, group, in_place=self.writes)
        for call in gathered:
            total = self._sum_gathered(place, branch, query, total, call, output)
        return total

    def _keys(self, place: Place, branch: Branch, slot: Slot, query: Tensor) -> tuple[Tensor, Tensor]:
        kept = place.kept.get((self.attention.name(branch), slot.number))
        key, value = kept or products.project(place.pairs[branch], slot, query)
        return key.to(query), value.to(query)

    def _sum_gathered(
        self, place: Place, branch: Branch, query: Tensor, total: Tensor, call: Gathered, output: Tensor
    ) -> Tensor:  # fmt: skip
        slots, weight = cast(list[Slot], cast(Injection, self.injection).slots), place.weights[branch]
        pairs = [
            tuple(spread(part, group) for part in self._keys(place, branch, slots[number], query))
            for number, group in call.groups
        ]
        key, value = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        queries, factor = gathered_queries(query, call), weight_of(call.scale, call.level, weight)
        term = reference_term(queries, key, value, self.backend)
        if self.observers:
            self._observe_gathered(place, weight, call, (queries, key, value), weighed(term, factor), output)
        return scatter_gathered(total, term, factor, call, in_place=self.writes)

    def _observe_gathered(
        self, place: Place, weight: float, call: Gathered, parts: tuple[Tensor, Tensor, Tensor], term: Tensor, output: Tensor
    ) -> None:  # fmt: skip
        """Tell of every reference of a gathered call, one after the other."""
        query, key, value = parts
        start = 0
        for (number, group), count in zip(call.groups, call.counts, strict=True):
            end = start + group.scale.shape[0]
            own = query[start:end, :, :count], key[start:end], value[start:end]
            slot = cast(list[Slot], cast(Injection, self.injection).slots)[number]
            self._observe(place, weight, "image", slot, group, own, term[start:end, :count], output)
            start = end

    def _observe(
        self, place: Place, weight: float, tokens: Branch, slot: Slot, group: Group,
        parts: tuple[Tensor, Tensor, Tensor], term: Tensor, output: Tensor,
    ) -> None:  # fmt: skip
        call = cast(ForwardPass, self.call)
        query, key, value = parts
        # On the CPU: a watcher that reads them must not wait for the device.
        samples = torch.arange(call.batch) if group.samples is None else group.samples
        output = output if group.samples is None else output[group.samples.to(output.device)]
        event = ReferenceEvent(
            block=place.number,
            branch=tokens,
            progress=call.progress,
            reference=slot.number,
            samples=samples,
            queries_index=group.index,
            query=query,
            key=key,
            value=value,
            term=term,
            output=output if group.index is None else output[:, group.index],
            weight=weight,
            grid=call.grid,
        )
        for observer in list(self.observers):
            observer(event)
