"""One training step without values: what it computes, and what it keeps for its backward pass, counted on meta tensors.

The step is the trainer's own, on the pipeline's skeleton: hooks, fusion, attention and loss are those that train.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from dynaip.adapter.model import DynaIP, Specs
from dynaip.config import ExperimentConfig
from dynaip.contracts import Skeleton, VisualEncoder
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip.training.objective import flow_matching_loss

LOWERED: set[Any] = {
    F.linear,
    torch.matmul,
    torch.bmm,
    torch.baddbmm,
    torch.einsum,
    torch.addmm,
    Tensor.matmul,
    Tensor.__matmul__,
}
"""Products that run in the base's type on an accelerator."""


@dataclass(frozen=True)
class Traced:
    """What one batch of a training step takes."""

    kept: int
    """Bytes kept for the backward pass without gradient checkpointing."""
    kept_again: int
    """The same with it: inputs of all blocks, and one block at a time."""
    forward: int
    """Floating-point operations."""
    backward: int

    def flops(self, checkpointing: bool) -> int:
        """Floating-point operations of forward and backward pass; checkpointing runs the blocks forward twice."""
        return self.forward * (2 if checkpointing else 1) + self.backward


def skeleton_of(config: ExperimentConfig) -> tuple[Skeleton, DynaIP]:
    """Pipeline and adapter of a config without weights; ``InputError`` where their layout is not known here."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.training.precision]
    made = registry().build(config.backbone).skeleton()
    model = getattr(config.backbone.config, "model", config.backbone.use)
    if made is None:
        raise InputError(
            f"backbone.model: the layout of {model} is not known here: give a folder with its config files, or fetch them"
        )
    pipe = made.pipe
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.to(dtype)
    with torch.device("meta"):
        dyna = DynaIP(Specs.of(config), _backbone(config).signature(pipe.transformer), encoder=_encoder(config))
    text = {name: each.to(dtype) if each.is_floating_point() else each for name, each in made.text.items()}
    return replace(made, text=text), dyna.attach(pipe)


def _backbone(config: ExperimentConfig) -> Any:
    return registry().build(config.backbone)


def _encoder(config: ExperimentConfig) -> VisualEncoder:
    """The encoder without weights, or else, where it brings no skeleton, as it is."""
    kind = registry().target("encoder", config.encoder.use)
    made = kind.skeleton(config.encoder.config) if hasattr(kind, "skeleton") else None
    return made if made is not None else registry().build(config.encoder)


def trace(skeleton: Skeleton, dyna: DynaIP, size: tuple[int, int], batch: int, *, references: int = 1) -> Traced:
    """Run one batch of targets of (height, width) pixels through forward and backward pass, on meta tensors.

    Every sample has so many ``references``.
    """
    pipe, backbone = skeleton.pipe, dyna.backbone
    dtype = next(pipe.transformer.parameters()).dtype
    like: dict[str, Any] = {"device": "meta"}
    clean = torch.empty(batch, skeleton.tokens(size), skeleton.channels, **like)
    text = {name: each.expand(batch, *each.shape[1:]).clone() for name, each in skeleton.text.items()}
    grid, widths = dyna.encoder.grid, dyna.encoder.widths
    rows = [sample for sample in range(batch) for _ in range(references)]
    features = {level: torch.empty(len(rows), grid[0] * grid[1], width, **like) for level, width in widths.items()}
    keep, timesteps = torch.ones(batch, dtype=torch.bool, **like), torch.full((batch,), 0.5)
    counter, kept = FlopCounterMode(display=False), _Kept(pipe, dyna)
    with _AsOnDevice(dtype), counter, kept.listening():
        with dyna.train().training_pass(features, keep, rows=rows) as made:
            velocity = backbone.velocity(pipe, clean.to(dtype), timesteps, text, size)
            loss = flow_matching_loss(velocity, clean, clean)
            extra = made.fused.auxiliary_loss if made.fused else None
            loss = loss if extra is None else loss + extra
            forward = counter.get_total_flops()
            loss.backward()
    for parameter in dyna.parameters():
        parameter.grad = None
    return Traced(kept.total, kept.checkpointed, forward, counter.get_total_flops() - forward)


class _AsOnDevice(TorchFunctionMode):
    """On meta tensors, what an accelerator does: products in the base's type, attention that keeps no weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and kwargs.get("attn_mask") is None:
            return _flash(*args, **kwargs)
        if func in LOWERED:
            args = tuple(self._lowered(each) for each in args)
        return func(*args, **kwargs)

    def _lowered(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(self.dtype)
        if isinstance(value, tuple | list):
            return type(value)(self._lowered(each) for each in cast("list[Any]", value))
        return value


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None, **_: Any) -> Tensor:
    key, value = key.to(query.dtype), value.to(query.dtype)
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)[0]


class _Kept:
    """Counts the bytes that autograd keeps, storage by storage, in all and by block."""

    def __init__(self, pipe: Any, dyna: DynaIP) -> None:
        self.blocks = [site.block for site in dyna.backbone.blocks(pipe.transformer)]
        weights = [*pipe.transformer.parameters(), *pipe.transformer.buffers(), *dyna.parameters()]
        self.weights = {_id(each) for each in weights}
        self.seen: dict[int, Any] = {}
        self.inputs: dict[int, Any] = {}
        self.total = self.at_entry = self.largest = self.inside = 0

    @property
    def checkpointed(self) -> int:
        """Bytes that are kept where blocks are run again: all outside of them, their inputs, and the largest block."""
        return self.total - self.inside + sum(size for _, size in self.inputs.values()) + self.largest

    @contextmanager
    def listening(self) -> Generator[None]:
        """Count while the context is open."""
        hooks = [block.register_forward_pre_hook(self._enter, with_kwargs=True) for block in self.blocks]
        hooks += [block.register_forward_hook(self._leave) for block in self.blocks]
        unpack: Callable[[Any], Any] = lambda tensor: tensor  # noqa: E731
        try:
            with saved_tensors_hooks(self._pack, unpack):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _pack(self, tensor: Tensor) -> Tensor:
        key = _id(tensor)
        if tensor.is_meta and key not in self.weights and key not in self.seen:
            self.seen[key] = tensor  # held, so that no other storage gets its place
            self.total += tensor.untyped_storage().nbytes()
        return tensor

    def _enter(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.at_entry = self.total
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and value.is_meta:
                self.inputs.setdefault(_id(value), (value, value.untyped_storage().nbytes()))

    def _leave(self, block: nn.Module, args: Any, output: Any) -> None:
        own = self.total - self.at_entry
        self.inside += own
        self.largest = max(self.largest, own)


def _id(tensor: Tensor) -> int:
    return cast(Any, tensor.untyped_storage())._cdata
