"""An experiment: which components meet, how they are trained, how the result is judged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from dynaip.config.components import ComponentSpec, OfKind
from dynaip.config.yaml_text import dump
from dynaip.plain import name_problem
from dynaip.registry.options import Strict


class AdapterConfig(Strict):
    """Where the references enter the backbone, and how wide they are."""

    site: Literal["attention", "projection", "residual"] = "attention"
    """Where the reference term is added: after the attention's output projection, before it, or to the stream."""
    blocks: Literal["all"] | str | list[NonNegativeInt] = "all"
    """Double-stream blocks that take part: all, a list, or a slice such as ``2:10``."""
    single_stream: Literal["off", "image_tokens", "all_tokens"] = "off"
    """Which tokens of single-stream blocks look at the references."""
    share_branches: bool = False
    """One pair K, V for both branches of a block instead of one each."""
    token_width: PositiveInt = 256
    """D, the width of reference tokens."""
    key_norm: bool = False
    """RMS norm of the keys, as the backbone norms its own."""
    key_norm_eps: PositiveFloat = 1e-6
    """What the norm of the keys adds to the mean square."""
    bias: bool = False
    """Bias of K and V."""
    max_references: PositiveInt = 10
    """References that one prompt may have."""

    @field_validator("blocks")
    @classmethod
    def _slice(cls, value: str | list[int]) -> str | list[int]:
        if isinstance(value, str) and value != "all":
            parts = value.split(":")
            if not (2 <= len(parts) <= 3 and all(part.removeprefix("-").isdigit() or not part for part in parts)):
                raise ValueError(f"must be all, a list of block numbers, or a slice such as 2:10, not {str(value)!r}")
        return str(value) if isinstance(value, str) else value


Mark = Literal["habit", "limit"]
HABIT: Mark = "habit"
"""Marks an option that changes no weight (how often something is written, shown or kept): no part of the training hash."""
LIMIT: Mark = "limit"
"""Marks an option that says how far training goes: a resumed run may change it, as it may change a habit."""


class ValidationConfig(Strict):
    """Pairs that are never trained on, whose loss is told at the same timesteps and noise each time.

    A plain number is short for ``pairs``.
    """

    pairs: PositiveInt = 32
    """How many: held out of the training's own source, evenly spread over it, or the most that are taken of ``source``."""
    source: Annotated[ComponentSpec, OfKind("source")] | None = None
    """Another source that they come from; None holds them out."""
    every: PositiveInt = 500
    """Steps between two validations; the last step has one in any case."""
    timesteps: list[float] = Field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7, 0.9], min_length=1)
    """Each in (0, 1); ``validation_loss`` is the mean over them, and each has a figure of its own beside it."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        return {"pairs": given} if isinstance(given, int) and not isinstance(given, bool) else given

    @field_validator("timesteps")
    @classmethod
    def _inside(cls, timesteps: list[float]) -> list[float]:
        if not all(0 < each < 1 for each in timesteps) or len({*timesteps}) < len(timesteps):
            raise ValueError(f"must be different numbers between 0 and 1, not {timesteps}")
        return timesteps


class TrainingConfig(Strict):
    """How an adapter is trained."""

    steps: Annotated[PositiveInt, LIMIT]
    batch_size: PositiveInt
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    """Largest norm of the gradient."""
    warmup: NonNegativeInt = 0
    """Steps over which the learning rate rises from zero; then it is constant."""
    decay: float = Field(0.0, ge=0, le=1)
    """Share of the steps, at the end, over which the learning rate falls to zero; 0 keeps it constant."""
    schedule: Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"] = "constant"
    """Course of the learning rate: constant between ``warmup`` and ``decay``, or one of diffusers' after ``warmup``."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """AdamW with moments in fp32, or in 8 bits (bitsandbytes: a quarter of the bytes)."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average of the adapter, which is then what is saved and judged; the last weights lie in RUN/last."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Type of the frozen base; the adapter's master weights are fp32 in any case."""
    timestep: Literal["sigmoid_normal", "uniform", "shifted"] = "sigmoid_normal"
    """Distribution of t."""
    shift: PositiveFloat = 3.0
    """Shift of ``timestep: shifted``: t' = s t / (1 + (s - 1) t)."""
    drop_prompt: float = Field(0.1, ge=0, le=1)
    """Share of samples whose prompt is emptied."""
    drop_reference: float = Field(0.1, ge=0, le=1)
    """Share of samples that see no reference."""
    references: PositiveInt = 1
    """References that a sample sees at most: from 1 up to so many of its pair's are drawn by chance, each time anew."""
    initial: str | None = None
    """RUN whose adapter training goes on from; None begins as the base."""
    seed: NonNegativeInt = 0
    gradient_accumulation: PositiveInt = 1
    """Batches that each process adds up in a step."""
    gradient_checkpointing: Annotated[bool | Literal["auto"], HABIT] = "auto"
    """Compute blocks again in the backward pass instead of keeping what they made; auto: where memory would not hold it."""
    shard_base: Annotated[bool | Literal["auto"], HABIT] = "auto"
    """Share the frozen base out among the processes (FSDP2); auto: where one device would not hold it otherwise."""
    compile: Annotated[bool, HABIT] = False
    """Compile the base's blocks."""
    deterministic: Annotated[bool, HABIT] = False
    """Algorithms alone that give the same bits in every run on one machine; slower."""
    checkpoint_every: Annotated[PositiveInt, HABIT] = 500
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, HABIT] = Field(2, ge=2)
    sample_every: Annotated[NonNegativeInt, HABIT] = 0
    """Steps between sample images; 0 for none."""
    log_every: Annotated[PositiveInt, HABIT] = 10
    trackers: Annotated[list[Literal["tensorboard", "wandb", "trackio"]], HABIT] = Field(default_factory=list)
    """Who is told the numbers of ``metrics.jsonl``, too; nothing leaves the machine unless its own variables say so."""
    validation: ValidationConfig | None = None
    """Loss on pairs that are never trained on; None has none."""
    workers: Annotated[NonNegativeInt, HABIT] = 0
    """Processes that load pairs."""
    threads: Annotated[PositiveInt | None, HABIT] = None
    """CPU threads of torch; None leaves its choice."""
    cache: Annotated[bool | Literal["disk"], HABIT] = True
    """Keep encoder features, latents and text of a pair once they are computed: in memory, on disk, or (false) not at all."""
    cache_folder: Annotated[Path | None, HABIT] = None
    """Where ``cache: disk`` keeps them; None takes DYNAIP_ENCODINGS, or else ~/.cache/dynaip/encodings."""
    cache_limit: Annotated[PositiveFloat | None, HABIT] = None
    """Gigabytes that the folder may take; what was not used for longest makes room."""
    cache_levels: Literal["fp32", "bf16", "int8"] = "fp32"
    """Type in which level features are kept, in memory or on disk: half or a quarter of the bytes, rounded accordingly."""
    cache_size: Annotated[NonNegativeInt, HABIT] = 100_000
    """Pairs that the cache holds at most."""
    check_memory: Annotated[bool, HABIT] = True
    """Refuse what cannot fit the accelerator before anything is loaded, with the cheapest settings that would."""
    max_bad_share: Annotated[float, LIMIT] = Field(0.01, ge=0, le=1)
    """Share of pairs that may be unusable before training stops and lists them."""
    max_bad_steps: Annotated[PositiveInt, LIMIT] = 20
    """Steps in a row whose loss is not finite before training gives up."""

    @model_validator(mode="after")
    def _one_course(self) -> TrainingConfig:
        if self.decay and self.schedule != "constant":
            raise ValueError(f"schedule: {self.schedule} falls by itself: leave decay out, or set schedule to constant")
        return self

    def training_part(self) -> dict[str, Any]:
        """What changes the trained weights: not how often something is written, shown or kept."""
        part = self.model_dump(mode="json", exclude={*self._marked(HABIT), "validation"})
        return part | ({"held_out": self.held_out} if self.held_out else {})

    @property
    def held_out(self) -> int:
        """Pairs of the source that are not trained on."""
        return self.validation.pairs if self.validation and self.validation.source is None else 0

    @classmethod
    def may_change(cls) -> set[str]:
        """Options that a resumed run may have changed."""
        return cls._marked(HABIT, LIMIT)

    @classmethod
    def _marked(cls, *marks: Mark) -> set[str]:
        return {name for name, field in cls.model_fields.items() if any(mark in field.metadata for mark in marks)}


class EvaluationConfig(Strict):
    """How a trained adapter is judged."""

    benchmark: Annotated[ComponentSpec, OfKind("benchmark")]
    suites: list[str] | None = None
    """Suites of the benchmark; None for all of them."""
    metrics: list[Annotated[ComponentSpec, OfKind("metric")]] = Field(min_length=1)
    batch_size: PositiveInt = 8
    limit: PositiveInt | None = None
    """Cases of each suite; None for all of them."""
    seed: NonNegativeInt = 0
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Options of the pipeline's call, e.g. ``{num_inference_steps: 16}``."""

    @field_validator("suites")
    @classmethod
    def _named(cls, suites: list[str] | None) -> list[str] | None:
        for suite in suites or ():
            if problem := name_problem(suite):
                raise ValueError(problem)
        return suites


class ExperimentConfig(Strict):
    """One adapter: its parts, its training and its evaluation."""

    backbone: Annotated[ComponentSpec, OfKind("backbone")]
    encoder: Annotated[ComponentSpec, OfKind("encoder")]
    fusion: Annotated[ComponentSpec, OfKind("fusion")]
    decoupling: Annotated[ComponentSpec, OfKind("decoupling")]
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    source: Annotated[ComponentSpec, OfKind("source")]
    training: TrainingConfig
    evaluation: EvaluationConfig | None = None
    plugins: list[Path] = Field(default_factory=list[Path])
    """Plugin files that the components come from."""
    _name: str = PrivateAttr("experiment")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperimentConfig) and self.resolved() == other.resolved()

    @property
    def name(self) -> str:
        """What the config is called: the stem of its file. No part of its meaning."""
        return self._name

    def named(self, name: str) -> ExperimentConfig:
        """Give the same config under another name."""
        copy = self.model_copy()
        copy._name = name
        return copy

    def specs(self) -> list[ComponentSpec]:
        """List every component that the experiment names."""
        judged = [self.evaluation.benchmark, *self.evaluation.metrics] if self.evaluation else []
        validation = self.training.validation
        validated = [validation.source] if validation and validation.source else []
        return [self.backbone, self.encoder, self.fusion, self.decoupling, self.source, *validated, *judged]

    def resolved(self) -> dict[str, Any]:
        """Give everything as plain data: qualified names, and every default written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Write the resolved config; ``load_experiment`` reads it back to an equal one."""
        return dump(self.resolved())

    def hash(self) -> str:
        """Fingerprint (12 hex digits) of what the config means, however it is written."""
        return fingerprint({key: value for key, value in self.resolved().items() if key != "plugins"})

    def training_hash(self) -> str:
        """Fingerprint of what training depends on; arms with the same one share a training."""
        return fingerprint(self.training_part())

    def training_part(self) -> dict[str, Any]:
        """Give what training depends on: neither the evaluation nor what a policy does only at inference."""
        trained = {"backbone": self.backbone, "encoder": self.encoder, "fusion": self.fusion, "source": self.source}
        parts: dict[str, Any] = {
            kind: {"use": spec.use, **spec.config.training_part()} for kind, spec in trained.items()
        }
        parts["decoupling"] = self.decoupling.config.training_part()
        return parts | {"adapter": self.adapter.model_dump(mode="json"), "training": self.training.training_part()}


def fingerprint(data: Any) -> str:
    """Give 12 hex digits that depend on plain data alone, in any order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
