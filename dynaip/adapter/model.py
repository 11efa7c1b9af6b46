"""DynaIP: an encoder, a fusion strategy, reference attention and a decoupling policy, attached to a pipeline."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor, nn

from dynaip.adapter import attached, files, hub
from dynaip.adapter.attached import adapters_on
from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.backends import use_backend
from dynaip.adapter.compiled import forget_compiled, transformer_of
from dynaip.adapter.differentiable import differentiable_attention
from dynaip.adapter.events import PassEvent, ReferenceEvent
from dynaip.adapter.injection import Injection
from dynaip.adapter.injector import BlockScale, Injector
from dynaip.adapter.layout import AutoLayout, Layout, LayoutFinder
from dynaip.adapter.parts import Adapter, Specs
from dynaip.adapter.prepare import layout_finder, slot_maker
from dynaip.adapter.reference import Reference, as_samples
from dynaip.adapter.slots import Slot, training_slots
from dynaip.config import ComponentSpec, ExperimentConfig
from dynaip.contracts import Backbone, BlockSite, Branch, DecouplingPolicy, ForwardPass, FusedReference, VisualEncoder
from dynaip.device import rows_of
from dynaip.errors import InputError
from dynaip.registry import registry


class DynaIP(Adapter):
    """The adapter on a pipeline: hooks that inject references, and windows to look through while they do."""

    def __init__(
        self, specs: Specs, model: Mapping[str, Any], *, branches: Iterable[Branch] | None = None,
        encoder: VisualEncoder | None = None,
    ) -> None:  # fmt: skip
        """Make the parts, attached to nothing; see ``Adapter``."""
        super().__init__(specs, model, branches=branches, encoder=encoder)
        self._injector: Injector | None = None
        self._pipe: weakref.ref[Any] | None = None
        self._finder: LayoutFinder | None = None
        self._restore_backend: Callable[[], None] | None = None

    # -- making, saving, loading -----------------------------------------------------------------------------------------

    @classmethod
    def build(cls, config: ExperimentConfig, transformer: nn.Module) -> DynaIP:
        """Make an untrained adapter for a transformer; it changes nothing yet, since V starts at zero."""
        backbone: Backbone = registry().build(config.backbone)
        return cls(Specs.of(config), backbone.signature(transformer))

    @classmethod
    def from_pretrained(cls, run: str | Path, *, revision: str | None = None) -> DynaIP:
        """Load a trained adapter: a run folder, an adapter folder, a bundle such as ``microworld``, or a hub id.

        Raises ``MismatchError`` naming the field where encoder or format are not those that it was trained with.
        """
        return files.load(cls, run, revision=revision)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``adapter.safetensors`` and ``config.json`` into ``folder`` and give it back."""
        return files.save(self, Path(folder))

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, card: str | None = None, run: str | Path | None = None
    ) -> str:
        """Upload the adapter with a model card (``card`` replaces ours) and give its address.

        The card tells the training and the scores of ``run``, by default of the run that the adapter was loaded from.
        """
        return hub.push(self, repo_id, private=private, card=card, run=run)

    @property
    def attached(self) -> bool:
        """Whether the adapter's hooks are on a transformer that still exists."""
        return self._injector is not None and self._injector.transformer is not None

    @property
    def pipe(self) -> Any:
        """The pipeline (or transformer) that it is attached to; None if there is none."""
        return self._pipe() if self._pipe else None

    @property
    def transformer(self) -> nn.Module:
        """The transformer that carries the hooks; ``InputError`` if the adapter is not attached."""
        return cast(nn.Module, self.injector.transformer)

    @property
    def injector(self) -> Injector:
        """The hooks; ``InputError`` if the adapter is not attached."""
        if self._injector is None or not self.attached:
            raise InputError("the adapter is not attached to a pipeline: call attach(pipe) first")
        return self._injector

    def summary(self) -> str:
        """Weights, parts, branches and what it is attached to, in one sentence."""
        weights = sum(parameter.numel() for parameter in self.parameters())
        levels = ", ".join(f"{level} (layer {layer})" for level, layer in self.encoder.levels.items())
        branches = [branch for branch in BRANCHES if self.attention.serves(branch)]
        encoder, fusion, policy = (
            getattr(self.specs, part).use.split(":")[-1] for part in ("encoder", "fusion", "decoupling")
        )
        where = f"attached to {type(self.pipe).__name__}" if self.attached else "attached to nothing"
        return (
            f"DynaIP of {weights:,} weights: encoder {encoder} with {levels}; fusion {fusion}; keys and values for "
            f"{' and '.join(branches)} branch in {len(self.block_numbers)} blocks; decoupling {policy}; {where}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary())}</p>"

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what comes out of a pickle, is attached to nothing."""
        state = dict(super().__getstate__() or {})  # pyright: ignore[reportArgumentType, reportCallIssue]
        return state | dict.fromkeys(("_injector", "_pipe", "_finder", "_restore_backend"))

    # -- attaching --------------------------------------------------------------------------------------------------------

    def attach(self, pipe: Any, *, attention_backend: str | None = None, beside: bool = False) -> DynaIP:
        """Put the hooks onto ``pipe.transformer``. Without references its output stays bit-identical.

        Reference attention runs on the base's attention backend; ``attention_backend`` (native, flash, xformers, sage, flex,
        …) sets it for both until ``detach``. ``beside`` lets other adapters that are attached stay: each has references of
        its own, and what they add is summed.
        Raises ``InputError`` if this adapter or another one is attached already, ``MismatchError`` naming the field if the
        transformer is not of the kind that the adapter was trained for.
        """
        transformer = transformer_of(pipe)
        if self.attached:
            raise InputError("this adapter is attached already: detach() it first")
        attached.check_room(transformer, beside, attention_backend)
        files.same("backbone", self.model_signature, self.backbone.signature(transformer))
        if attention_backend is not None:
            self._restore_backend = use_backend(transformer, attention_backend)
        self._to(pipe, transformer)
        self._injector = Injector(
            transformer, self.backbone, self.attention, self._sites(transformer),
            numbers=self.block_numbers, blocks=self._block_count(),
            site=self.specs.adapter.site, span=self.specs.adapter.single_stream,
        )  # fmt: skip
        self._pipe = weakref.ref(pipe)
        self._meet_compiled()
        attached.add(transformer, self, self._injector)
        return self

    @staticmethod
    def on(pipe: Any) -> DynaIP | None:
        """Give the adapter that is attached to a pipeline (or its transformer), the first of several; None without one."""
        return next(iter(DynaIP.all_on(pipe)), None)

    @staticmethod
    def all_on(pipe: Any) -> list[DynaIP]:
        """Give the adapters that are attached to a pipeline (or its transformer), in the order in which they came."""
        return cast("list[DynaIP]", adapters_on(transformer_of(pipe)))

    def detach(self) -> None:
        """Take the hooks away: the base is itself again, bit for bit. Detaching twice does nothing."""
        if self._injector is None:
            return
        transformer = self._injector.transformer
        self._injector.remove()
        if transformer is not None:
            attached.drop(transformer, self)
        if self._restore_backend is not None:
            self._restore_backend()
        self._injector = self._pipe = self._restore_backend = None

    def _to(self, pipe: Any, transformer: nn.Module) -> None:
        """Bring fusion and encoder to where the transformer computes, which is not where an offloaded one lies."""
        device = getattr(pipe, "_execution_device", None) or next(transformer.parameters()).device
        if device.type != "meta":
            self.fusion.to(device)
            self.encoder.to(device)

    def _meet_compiled(self) -> None:
        """Stand before what the pipeline calls: it may be compiled as a whole by now; ``InputError`` if it is another one."""
        pipe, transformer = self.pipe, self.transformer
        if pipe is not None and transformer_of(pipe) is not transformer:
            raise InputError(
                "the pipeline holds another transformer than when this adapter was attached: detach() and attach(pipe) again"
            )
        self.injector.doors.open(transformer if pipe is None else getattr(pipe, "transformer", pipe), transformer)

    def _block_count(self) -> int:
        single = self.model_signature.get("single_blocks", 0) if self.specs.adapter.single_stream != "off" else 0
        return int(self.model_signature["double_blocks"]) + int(single)

    def _sites(self, transformer: nn.Module) -> list[BlockSite]:
        blocks = self.backbone.blocks(transformer)
        return [blocks[number] for number in self.block_numbers]

    # -- generation ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def references(
        self,
        *references: Reference | Sequence[Reference],
        granularity: Mapping[str, float] | None = None,
        decoupling: str | Mapping[str, Any] | ComponentSpec | DecouplingPolicy | None = None,
        layout: Literal["auto"] | AutoLayout | None = None,
        subjects: Sequence[Any] | None = None,
    ) -> Generator[DynaIP]:
        """Personalise every pipeline call inside the context.

        Give references (for all prompts alike), or one list of references a prompt. ``granularity`` maps level names to
        gamma_l >= 0 (unnamed levels stay 1); ``decoupling`` swaps the policy for this context. ``layout="auto"`` finds regions
        for references without one: ``subjects`` are their words in the prompt, and ``layout`` of the adapter tells what was
        found. Raises ``InputError`` for an unknown level, too many references or an adapter that is not attached.
        """
        hooks = self.injector
        samples = as_samples(references, self.specs.adapter.max_references)
        coefficients = None if granularity is None else self.coefficients_of(granularity)
        finder = layout_finder(self, self.pipe, samples, layout, subjects)
        made = slot_maker(self, samples, coefficients, finder)
        injection = Injection(
            len(samples) if any(samples) else 0, self.policy_of(decoupling), "inference", made,
            self.fusion.uses_condition, finder=finder,
        )  # fmt: skip
        self._finder = finder
        if finder is not None:
            forget_compiled(hooks.transformer)
        self._meet_compiled()
        with hooks.active(injection), finder.listening() if finder else nullcontext():
            yield self

    @property
    def layout(self) -> Layout | None:
        """The layout that was found for the latest generation under ``layout="auto"``."""
        return self._finder.layout if self._finder else None

    # -- training -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def training_pass(
        self,
        features: Mapping[str, Tensor],
        keep: Tensor,
        *,
        rows: Sequence[int] | None = None,
        regions: Sequence[Tensor | None] | None = None,
    ) -> Generator[TrainingPass]:
        """Inject references in phase ``training``, with gradients.

        ``features`` are level features of all references (each P x N x C_l), ``keep`` says which samples see theirs (B,
        bool), ``rows`` the sample that each reference belongs to (P; None: one each, in order), ``regions`` M_r of each (T
        values on the CPU, None for everywhere). The references are fused at the first call of the transformer, which knows
        the prompt. With gradient checkpointing ``backward`` has to run inside the context, since blocks are run again there.
        Attention runs on kernels whose backward pass can be relied on.
        """
        hooks = self.injector
        made = TrainingPass()

        def make(call: ForwardPass) -> list[Slot]:
            condition, repeats = call.condition if self.fusion.uses_condition else None, call.batch // len(keep)
            if condition is not None and rows is not None:
                condition = rows_of(condition, [row * repeats for row in rows])
            made.fused = self.fuse(features, condition=condition)
            owners = list(range(len(keep))) if rows is None else rows
            return training_slots(made.fused.tokens, keep, owners, regions, repeats)

        self._meet_compiled()
        with hooks.active(Injection(len(keep), self.policy, "training", make)), differentiable_attention(keep.device):
            yield made

    # -- windows ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def observe(self, callback: Callable[[ReferenceEvent], None]) -> Generator[None]:
        """Hear of every reference term that is added while the context is open; nothing is changed by it."""
        observers = self.injector.observers
        observers.append(callback)
        try:
            yield
        finally:
            observers.remove(callback)

    @contextmanager
    def observe_passes(self, callback: Callable[[PassEvent], None]) -> Generator[None]:
        """Hear of every call of the transformer while the context is open, before its blocks run, with references or without."""
        observers = self.injector.pass_observers
        observers.append(callback)
        try:
            yield
        finally:
            observers.remove(callback)

    def open_blocks(self, branches: Iterable[Branch]) -> dict[Branch, list[int]]:
        """Kind of token -> numbers of the blocks that may add to it where these branches are open."""
        return self.injector.open_blocks(branches)

    @property
    def block_scale(self) -> BlockScale | None:
        """What the innermost ``intervene`` multiplies g_b by; None outside of one."""
        return self.injector.block_scale

    @contextmanager
    def intervene(self, scale: BlockScale) -> Generator[None]:
        """Multiply g_b by ``scale(branch, block, progress)`` while the context is open; 0 drops the term at no cost."""
        hooks = self.injector
        outer, hooks.block_scale = hooks.block_scale, scale
        try:
            yield
        finally:
            hooks.block_scale = outer


@dataclass
class TrainingPass:
    """What a training pass made of its references (tokens, routing weights, auxiliary loss), once the transformer has run."""

    fused: FusedReference | None = None
