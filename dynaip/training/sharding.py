"""The frozen base shared out among processes (FSDP2): each holds its part, and a block is whole while it computes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from dynaip.errors import InputError


def wants_shards(setting: bool | Literal["auto"], processes: int, *, needed: bool, quantised: bool) -> bool:
    """Whether the base is shared out: as ``training.shard_base`` says, or (auto) where it does not fit otherwise.

    Raises ``InputError`` where that is asked for and cannot be done.
    """
    if setting is True and processes < 2:
        raise InputError("training.shard_base: one process has nobody to share with: start several (accelerate launch)")
    if setting is True and quantised:
        raise InputError("training.shard_base: a quantised base cannot be shared out: leave backbone.quantization out")
    return setting is True or (setting == "auto" and needed and processes > 1 and not quantised)


def shard(transformer: nn.Module, blocks: Sequence[nn.Module], device: torch.device) -> None:
    """Leave each process its part of every block and of what is outside of them, on ``device``; once only.

    Adapters are no modules of the transformer and stay whole; hooks stay where they are.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(transformer, FSDPModule):
        return
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(transformer, mesh=mesh, reshard_after_forward=True)


@contextmanager
def apart(pipe: Any, on: bool) -> Generator[None]:
    """While pairs are encoded the base is no part of the pipeline, if it waits for its sharding in the host's memory."""
    if not on:
        yield
        return
    base, pipe.transformer = pipe.transformer, None
    try:
        yield
    finally:
        pipe.transformer = base


def to_device_but_base(pipe: Any, device: torch.device) -> None:
    """Send every other model of a pipeline to the device."""
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module) and name != "transformer":
            part.to(device)


def gathered_parameters(transformer: nn.Module, blocks: Sequence[nn.Module]) -> int:
    """Parameters that are whole at once: what is outside of blocks, and two blocks, since the next one comes meanwhile."""
    sizes = [sum(each.numel() for each in block.parameters()) for block in blocks]
    outside = sum(each.numel() for each in transformer.parameters()) - sum(sizes)
    return outside + 2 * max(sizes, default=0)
