"""DynaIP: an encoder, a fusion strategy, reference attention and a decoupling policy, attached to a pipeline."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter import attached, formats
from dynaip.adapter.active import Injection
from dynaip.adapter.attached import adapters_on
from dynaip.adapter.attention import ReferenceAttention
from dynaip.adapter.backends import use_backend
from dynaip.adapter.injection import BlockScale, Injector, ReferenceEvent, forget_compiled
from dynaip.adapter.layout import AutoLayout, Layout, LayoutFinder
from dynaip.adapter.prepare import layout_finder, slot_maker
from dynaip.adapter.reference import Reference, as_samples
from dynaip.adapter.shown import Shown
from dynaip.adapter.slots import Slot
from dynaip.config import AdapterConfig, ComponentSpec, ExperimentConfig
from dynaip.contracts import (
    Backbone,
    BlockSite,
    Branch,
    DecouplingPolicy,
    FeatureFusion,
    ForwardPass,
    FusedReference,
    VisualEncoder,
)
from dynaip.errors import ConfigError, InputError
from dynaip.registry import registry
from dynaip.suggest import did_you_mean


@dataclass(frozen=True)
class Specs:
    """What an adapter is made of, as saved in its ``config.json``."""

    backbone: ComponentSpec
    encoder: ComponentSpec
    fusion: ComponentSpec
    decoupling: ComponentSpec
    adapter: AdapterConfig

    @classmethod
    def of(cls, config: ExperimentConfig) -> Specs:
        """Take an experiment's parts."""
        return cls(config.backbone, config.encoder, config.fusion, config.decoupling, config.adapter)


class DynaIP(Shown, nn.Module):
    """The adapter. Its weights are those of the fusion strategy and of K, V; base and encoder stay frozen.

    ``model`` is the backbone's signature: family, width, heads, numbers of blocks, width of the pooled prompt.
    """

    fusion: FeatureFusion
    attention: ReferenceAttention
    source: Path | None
    """The run folder that it was loaded from."""

    def __init__(self, specs: Specs, model: Mapping[str, Any], *, branches: Iterable[Branch] | None = None) -> None:
        """Make the parts; K, V serve ``branches``, by default those that the policy opens in training."""
        super().__init__()
        self.specs = specs
        self.model_signature = dict(model)
        self.backbone: Backbone = registry().build(specs.backbone)
        # Behind a list the frozen encoder is no submodule: it is neither trained nor saved.
        self._encoder: list[VisualEncoder] = [registry().build(specs.encoder).eval().requires_grad_(False)]
        self.policy: DecouplingPolicy = registry().build(specs.decoupling)
        self.block_numbers = chosen_blocks(specs.adapter, model)
        self.fusion = registry().build(
            specs.fusion,
            widths=dict(self.encoder.widths),
            dim=specs.adapter.token_width,
            condition_dim=model.get("condition_width"),
        )
        self.attention = ReferenceAttention(
            len(self.block_numbers),
            token_width=specs.adapter.token_width,
            width=int(model["width"]),
            heads=int(model["heads"]),
            branches=self.policy.branches("training") if branches is None else branches,
            share_branches=specs.adapter.share_branches,
            bias=specs.adapter.bias,
            key_norm=specs.adapter.key_norm,
            key_norm_eps=specs.adapter.key_norm_eps,
        )
        self._injector: Injector | None = None
        self._pipe: weakref.ref[Any] | None = None
        self._finder: LayoutFinder | None = None
        self._restore_backend: Callable[[], None] | None = None
        self.source: Path | None = None

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
        return formats.load(cls, run, revision=revision)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write ``adapter.safetensors`` and ``config.json`` into ``folder`` and give it back."""
        return formats.save(self, Path(folder))

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, card: str | None = None, run: str | Path | None = None
    ) -> str:
        """Upload the adapter with a model card (``card`` replaces ours) and give its address.

        The card tells the training and the scores of ``run``, by default of the run that the adapter was loaded from.
        """
        return formats.push(self, repo_id, private=private, card=card, run=run)

    # -- parts ----------------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> VisualEncoder:
        """The frozen visual encoder."""
        return self._encoder[0]

    @property
    def attached(self) -> bool:
        """Whether the adapter's hooks are on a transformer that still exists."""
        return self._injector is not None and self._injector.transformer is not None

    @property
    def pipe(self) -> Any:
        """The pipeline (or transformer) that it is attached to; None if there is none."""
        return self._pipe() if self._pipe else None

    @property
    def device(self) -> torch.device:
        """Where the fusion's weights are; references are encoded and fused there."""
        return next((parameter.device for parameter in self.fusion.parameters()), torch.device("cpu"))

    @property
    def injector(self) -> Injector:
        """The hooks; ``InputError`` if the adapter is not attached."""
        if self._injector is None or not self.attached:
            raise InputError("the adapter is not attached to a pipeline: call attach(pipe) first")
        return self._injector

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what comes out of a pickle, is attached to nothing."""
        state = dict(super().__getstate__() or {})  # pyright: ignore[reportArgumentType, reportCallIssue]
        return state | dict.fromkeys(("_injector", "_pipe", "_finder", "_restore_backend"))

    def trainable_parameters(self) -> list[nn.Parameter]:
        """List what training changes: the fusion, and K, V of the branches that the policy opens in training."""
        return [*self.fusion.parameters(), *self.attention.parameters_of(sorted(self.policy.branches("training")))]

    def set_policy(self, policy: str | Mapping[str, Any] | ComponentSpec | DecouplingPolicy) -> None:
        """Swap the decoupling policy of a trained adapter for good; ``references(decoupling=...)`` does it for once."""
        if isinstance(policy, DecouplingPolicy):
            self.policy = self._served(policy)
            return
        spec = policy if isinstance(policy, ComponentSpec) else ComponentSpec.parse("decoupling", policy)
        self.policy = self._served(registry().build(spec))
        self.specs = Specs(self.specs.backbone, self.specs.encoder, self.specs.fusion, spec, self.specs.adapter)

    # -- attaching --------------------------------------------------------------------------------------------------------

    def attach(self, pipe: Any, *, attention_backend: str | None = None, beside: bool = False) -> DynaIP:
        """Put the hooks onto ``pipe.transformer``. Without references its output stays bit-identical.

        Reference attention runs on the base's attention backend; ``attention_backend`` (native, flash, xformers, sage, flex,
        …) sets it for both until ``detach``. ``beside`` lets other adapters that are attached stay: each has references of
        its own, and what they add is summed.
        Raises ``InputError`` if this adapter or another one is attached already, ``MismatchError`` naming the field if the
        transformer is not of the kind that the adapter was trained for.
        """
        transformer = cast(nn.Module, getattr(pipe, "transformer", pipe))
        if self.attached:
            raise InputError("this adapter is attached already: detach() it first")
        attached.check_room(transformer, beside, attention_backend)
        formats.same("backbone", self.model_signature, self.backbone.signature(transformer))
        if attention_backend is not None:
            self._restore_backend = use_backend(transformer, attention_backend)
        self._to(transformer)
        self._injector = Injector(
            transformer, self.backbone, self.attention, self._sites(transformer),
            numbers=self.block_numbers, blocks=self._block_count(),
            site=self.specs.adapter.site, span=self.specs.adapter.single_stream,
        )  # fmt: skip
        self._pipe = weakref.ref(pipe)
        attached.add(transformer, self)
        return self

    @staticmethod
    def on(pipe: Any) -> DynaIP | None:
        """Give the adapter that is attached to a pipeline (or its transformer), the first of several; None without one."""
        return next(iter(DynaIP.all_on(pipe)), None)

    @staticmethod
    def all_on(pipe: Any) -> list[DynaIP]:
        """Give the adapters that are attached to a pipeline (or its transformer), in the order in which they came."""
        return adapters_on(getattr(pipe, "transformer", pipe))

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

    def _to(self, transformer: nn.Module) -> None:
        device = next(transformer.parameters()).device
        if device.type != "meta":
            self.fusion.to(device)
            self.encoder.to(device)

    def _block_count(self) -> int:
        single = self.model_signature.get("single_blocks", 0) if self.specs.adapter.single_stream != "off" else 0
        return int(self.model_signature["double_blocks"]) + int(single)

    def _sites(self, transformer: nn.Module) -> list[BlockSite]:
        blocks = self.backbone.blocks(transformer)
        return [blocks[number] for number in self.block_numbers]

    # -- references -> tokens -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def features(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """Encode pictures into level features, each B x N x C_l, without gradient."""
        parameter = next(self.encoder.parameters())
        pixels = self.encoder.preprocess(images).to(parameter.device, parameter.dtype)
        return {level: values.to(self.device, torch.float32) for level, values in self.encoder(pixels).items()}

    def fuse(
        self,
        features: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Fuse level features (each B x N x C_l) into reference tokens (B x M x D); ``coefficients`` are gamma_l."""
        condition = None if condition is None else condition.to(self.device, torch.float32)
        return self.fusion(features, coefficients=coefficients, condition=condition)

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
        self._check_levels(granularity)
        finder = layout_finder(self, samples, layout, subjects)
        made = slot_maker(self, samples, granularity, finder)
        injection = Injection(
            len(samples) if any(samples) else 0, self._policy(decoupling), "inference", made,
            self.fusion.uses_condition, finder=finder,
        )  # fmt: skip
        self._finder = finder
        if finder is not None:
            forget_compiled(cast(nn.Module, hooks.transformer))
        with hooks.active(injection), finder.listening() if finder else nullcontext():
            yield self

    @property
    def layout(self) -> Layout | None:
        """The layout that was found for the latest generation under ``layout="auto"``."""
        return self._finder.layout if self._finder else None

    def _policy(self, given: Any) -> DecouplingPolicy:
        if given is None:
            return self.policy
        if isinstance(given, DecouplingPolicy):
            return self._served(given)
        spec = given if isinstance(given, ComponentSpec) else ComponentSpec.parse("decoupling", given)
        return self._served(registry().build(spec))

    def _served(self, policy: DecouplingPolicy) -> DecouplingPolicy:
        """Refuse a policy that opens a branch whose keys and values this adapter never trained."""
        for branch in sorted(policy.branches("inference")):
            if not self.attention.serves(branch):
                raise InputError(
                    f"decoupling: this adapter was trained without the {branch} branch and has no keys and values for it; "
                    "use a policy that leaves it closed"
                )
        return policy

    def _check_levels(self, granularity: Mapping[str, float] | None) -> None:
        for level, value in (granularity or {}).items():
            if level not in self.encoder.levels:
                names = list(self.encoder.levels)
                raise InputError(
                    f"granularity: no level {level}; there are {', '.join(names)}.{did_you_mean(level, names)}"
                )
            if not value >= 0 or value == float("inf"):
                raise InputError(f"granularity: {level}={value} must be a number from 0 up")

    # -- training -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def training_pass(self, features: Mapping[str, Tensor], keep: Tensor) -> Generator[TrainingPass]:
        """Inject one reference a sample in phase ``training``, with gradients.

        ``features`` are level features (each B x N x C_l), ``keep`` says which samples see their reference (B, bool). The
        references are fused at the first call of the transformer, which knows the prompt. With gradient checkpointing
        ``backward`` has to run inside the context, since blocks are run again there.
        """
        hooks = self.injector
        made = TrainingPass()

        def make(call: ForwardPass) -> list[Slot]:
            made.fused = self.fuse(features, condition=call.condition if self.fusion.uses_condition else None)
            tokens = made.fused.tokens
            rows, repeats = list(range(len(keep))), call.batch // len(keep)
            return [Slot(rows, tokens, keep.to(tokens), [None] * len(keep), repeats)]

        with hooks.active(Injection(len(keep), self.policy, "training", make)):
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


def chosen_blocks(settings: AdapterConfig, model: Mapping[str, Any]) -> list[int]:
    """Numbers of the blocks that take part: double-stream ones by ``blocks``, then all single-stream ones if wanted."""
    double, single = int(model["double_blocks"]), int(model.get("single_blocks", 0))
    wanted = settings.blocks
    numbers = sorted(range(double)[_as_slice(wanted)]) if isinstance(wanted, str) else sorted(set(wanted))
    if not numbers or numbers[-1] >= double:
        raise ConfigError(f"adapter.blocks: {wanted} does not fit the {double} double-stream blocks 0 to {double - 1}")
    if settings.single_stream == "all_tokens" and settings.site == "residual":
        raise ConfigError("adapter.single_stream: all_tokens needs site attention; at site residual use image_tokens")
    if settings.single_stream != "off":
        numbers += list(range(double, double + single))
    return numbers


def _as_slice(text: str) -> slice:
    """Read ``all``, ``2:10`` or ``::2``."""
    parts = [int(part) if part else None for part in text.removeprefix("all").split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise ConfigError(f"adapter.blocks: the step of {text} must not be 0")
    return slice(*parts, *[None] * (3 - len(parts)))
