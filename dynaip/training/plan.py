"""What a training takes, before anything is loaded: parameters, memory by part, operations, time; and what would fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig, TrainingConfig
from dynaip.contracts import Skeleton
from dynaip.errors import InputError
from dynaip.sizes import check_size
from dynaip.training.machines import Machine
from dynaip.training.memory import CONTEXT
from dynaip.training.optimizers import STATE_BYTES
from dynaip.training.sharding import gathered_parameters, wants_shards
from dynaip.training.sizes import settled
from dynaip.training.traced import Traced, skeleton_of, trace

USE = 0.3
"""Share of a data sheet's speed that a training step reaches (FLUX.1 on an H100: 0.25 to 0.34)."""
WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.02, "float8": 1.0, "nf4": 0.53}
"""Bytes of a weight; of quantised ones with their scales."""
QUANTISED = {"bitsandbytes_4bit": "nf4", "bitsandbytes_8bit": "int8", "quanto": "int8"}


@dataclass(frozen=True)
class Weights:
    """Parameters of one model."""

    products: int
    """In linear layers, which quantisation shrinks."""
    others: int

    @property
    def all(self) -> int:
        """Number of parameters."""
        return self.products + self.others

    @classmethod
    def of(cls, *models: nn.Module) -> Weights:
        """Count the parameters of models; what two of them share counts once."""
        linear = {each.weight for model in models for each in model.modules() if isinstance(each, nn.Linear)}
        every = {each for model in models for each in model.parameters()}
        products = sum(each.numel() for each in linear)
        return cls(products, sum(each.numel() for each in every) - products)

    def bytes(self, kind: str, quantised: str | None = None) -> int:
        """Bytes in a type, with linear layers in another one."""
        return int(self.products * WEIGHT_BYTES[quantised or kind] + self.others * WEIGHT_BYTES[kind])


@dataclass(frozen=True)
class TrainingPlan:
    """A training in numbers."""

    base: Weights
    encoders: Weights
    """Text encoders and autoencoder."""
    vision: Weights
    trained: int
    """Parameters of the adapter that are trained."""
    vision_type: str
    settings: TrainingConfig
    quantised: Mapping[str, str]
    """Part of the pipeline -> type of its linear layers."""
    step: Traced
    """One sample of the largest targets, with as many references as it may see."""
    size: tuple[int, int]
    """Height and width of the largest targets."""
    pair_bytes: int
    """What a pair's encodings take in a cache."""
    gathered: int = 0
    """Parameters of the base that are whole at once where it is shared out."""
    processes: int = 1
    sharded: bool = False
    """Whether the base is shared out among the processes."""

    def on(self, machine: Machine) -> TrainingPlan:
        """The same training with its base shared out, if the config asks for it, or (auto) if nothing else fits it there."""
        plain = replace(self, sharded=False)
        needed = self.settings.shard_base == "auto" and not plain.fits(machine)
        quantised = "transformer" in self.quantised
        sharded = wants_shards(self.settings.shard_base, self.processes, needed=needed, quantised=quantised)
        return replace(self, sharded=sharded)

    # -- memory --------------------------------------------------------------------------------------------------------

    def memory(self, *, checkpointing: bool) -> dict[str, int]:
        """Bytes of an accelerator by part while steps run."""
        settings, kind = self.settings, self.settings.precision
        leave = bool(settings.cache)
        lowered = (
            0 if kind == "fp32" else 2 * self.trained
        )  # the adapter's weights in the base's type, kept once a batch
        kept = (self.step.kept_again if checkpointing else self.step.kept) - lowered
        return {
            "base": self._base(),
            "encoders": 0 if leave else self.encoders.bytes(kind) + self.vision.bytes(self.vision_type),
            "adapter": self.trained * 4,
            "gradients": self.trained * 4,
            "optimizer": int(self.trained * STATE_BYTES[settings.optimizer]),
            "average": self.trained * 4 if settings.ema else 0,
            "activations": kept * settings.batch_size + lowered,
            "context": CONTEXT,
        }

    def _base(self) -> int:
        kind = self.settings.precision
        whole = self.base.bytes(kind, self.quantised.get("transformer"))
        return whole // self.processes + int(self.gathered * WEIGHT_BYTES[kind]) if self.sharded else whole

    def loading(self) -> int:
        """Bytes while pairs are encoded: all frozen models (but a base that is shared out later), and the adapter."""
        kind = self.settings.precision
        frozen = (0 if self.sharded else self._base()) + self.encoders.bytes(kind)
        return frozen + self.vision.bytes(self.vision_type) + self.trained * 4 + CONTEXT

    def training(self, *, checkpointing: bool) -> int:
        """Bytes while steps run: gradients come while activations go, unless they are summed over batches or blocks run again."""
        parts = self.memory(checkpointing=checkpointing)
        apart = not checkpointing and self.settings.gradient_accumulation == 1
        return sum(parts.values()) - (min(parts["activations"], parts["gradients"]) if apart else 0)

    def needed(self, *, checkpointing: bool) -> int:
        """The most that is taken, while pairs are encoded or while steps run."""
        return max(self.loading(), self.training(checkpointing=checkpointing))

    def checkpoints(self, machine: Machine) -> bool:
        """Whether blocks are computed again: as the config says, or (auto) where memory asks for it."""
        setting = self.settings.gradient_checkpointing
        return self.needed(checkpointing=False) > machine.available if setting == "auto" else setting

    def fits(self, machine: Machine) -> bool:
        """Whether the training runs on a machine."""
        return self.needed(checkpointing=self.checkpoints(machine)) <= machine.available

    # -- work ----------------------------------------------------------------------------------------------------------

    def flops(self, *, checkpointing: bool) -> int:
        """Floating-point operations of a step."""
        return self.step.flops(checkpointing) * self.settings.batch_size * self.settings.gradient_accumulation

    def seconds(self, machine: Machine, *, checkpointing: bool) -> float | None:
        """Estimated time of a step; None where the machine's speed is not known."""
        return None if machine.speed is None else self.flops(checkpointing=checkpointing) / (machine.speed * USE)

    # -- what would fit ------------------------------------------------------------------------------------------------

    def cheaper(self) -> Iterator[tuple[dict[str, Any], TrainingPlan]]:
        """The same training with settings that take less, one more each time, those that cost least first."""
        plan, changes = self, dict[str, Any]()
        for name, value in self._savings():
            changes |= {name: value}
            if name == "backbone.quantization":
                plan = replace(plan, quantised={"transformer": "nf4"}, sharded=False)
            elif name == "training.shard_base":
                plan = replace(plan, sharded=True)
            else:
                plan = replace(plan, settings=plan.settings.model_copy(update={name.partition(".")[2]: value}))
            yield dict(changes), plan

    def _savings(self) -> Iterator[tuple[str, Any]]:
        settings = self.settings
        if settings.gradient_checkpointing is False:
            yield "training.gradient_checkpointing", "auto"
        if not settings.cache:
            yield "training.cache", "disk"
        if settings.batch_size > 1:
            yield "training.batch_size", 1
        if settings.shard_base is False and self.processes > 1 and not self.quantised:
            yield "training.shard_base", "auto"
        if not self.quantised and settings.shard_base is not True:
            yield "backbone.quantization", NF4

    def remedy(self, machine: Machine) -> dict[str, Any] | None:
        """The cheapest changes with which it fits; None if none does. Savings that are not needed for it are left out."""
        for changes, plan in self.cheaper():
            if plan.fits(machine):
                batch = self.settings.batch_size * self.settings.gradient_accumulation
                return changes | ({"training.gradient_accumulation": batch} if "training.batch_size" in changes else {})
        return None


NF4 = "{backend: bitsandbytes_4bit, options: {load_in_4bit: true, bnb_4bit_quant_type: nf4}}"


def make_plan(config: ExperimentConfig, processes: int = 1) -> TrainingPlan:
    """Plan a training, as one of its processes has it; nothing is loaded.

    Raises ``InputError`` where the layout of its models is not known here.
    """
    skeleton, dyna = skeleton_of(config)
    try:
        size = largest_size(config, skeleton)
        references = min(config.training.references, config.adapter.max_references)
        step = trace(skeleton, dyna, size, 1, references=references)
    finally:
        dyna.detach()
    parts = {name: each for name, each in skeleton.pipe.components.items() if isinstance(each, nn.Module)}
    quantization = getattr(config.backbone.config, "quantization", None)
    kind = _kind_of(quantization) if quantization else ""
    return TrainingPlan(
        base=Weights.of(skeleton.pipe.transformer),
        encoders=Weights.of(*(each for name, each in parts.items() if name != "transformer")),
        vision=Weights.of(dyna.encoder),
        trained=sum(each.numel() for each in dyna.trainable_parameters()),
        vision_type=getattr(config.encoder.config, "dtype", "fp32"),
        settings=config.training,
        quantised=dict.fromkeys(quantization.components, kind) if quantization else {},
        step=step,
        size=size,
        pair_bytes=_pair_bytes(config, skeleton, dyna, size),
        gathered=gathered_parameters(
            skeleton.pipe.transformer, [site.block for site in dyna.backbone.blocks(skeleton.pipe.transformer)]
        ),
        processes=processes,
    )


def _kind_of(quantization: Any) -> str:
    named = str(quantization.options).lower()
    if quantization.backend == "torchao":
        return "float8" if "float8" in named else "nf4" if "int4" in named else "int8"
    return QUANTISED.get(quantization.backend, "int8")


def largest_size(config: ExperimentConfig, skeleton: Skeleton) -> tuple[int, int]:
    """Height and width of the targets with most tokens; ``InputError`` if neither source nor backbone says a size."""
    spec: Any = settled(config).config
    native = getattr(config.backbone.config, "native_size", lambda: None)()
    sizes = getattr(spec, "target_sizes", list)() or ([native] if native else [])
    if not sizes:
        raise InputError("source: it does not say the size of its targets: give source.height and source.width")
    for size in sizes:
        check_size(config.backbone.config, size, "the size of the targets")
    height, width = max(sizes, key=skeleton.tokens)
    return int(height), int(width)


def _pair_bytes(config: ExperimentConfig, skeleton: Skeleton, dyna: DynaIP, size: tuple[int, int]) -> int:
    """Latents in float32, text in the base's type, levels as they are kept."""
    level = {"fp32": 4, "bf16": 2, "int8": 1}[config.training.cache_levels]
    patches = dyna.encoder.grid[0] * dyna.encoder.grid[1]
    levels = sum(patches * width * level for width in dyna.encoder.widths.values())
    return skeleton.tokens(size) * skeleton.channels * 4 + levels + sum(each.nbytes for each in skeleton.text.values())


def told(changes: Mapping[str, Any] | None) -> str:
    """Changes as options of the command line."""
    if changes is None:
        return "no setting here would make it fit; take a smaller model, smaller targets or a larger accelerator"
    return "add " + " ".join(f"-s '{name}={value}'" for name, value in changes.items())
