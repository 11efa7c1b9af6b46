"""What a training is made of before its first step: processes and devices, pairs, and room in memory."""

from __future__ import annotations

import os
from typing import Any

from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from accelerate.state import AcceleratorState  # pyright: ignore[reportMissingTypeStubs]

from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig, TrainingConfig
from dynaip.contracts import Backbone
from dynaip.device import choose
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.sizes import check_size
from dynaip.training.data import Order, PairDataset, Quarantine
from dynaip.training.encoding import encode
from dynaip.training.loader import PairLoader
from dynaip.training.memory import free_memory, make_room, step_memory
from dynaip.training.progress import Warn
from dynaip.training.remarks import Remarks
from dynaip.training.sizes import settled


def pairs_of(config: ExperimentConfig) -> PairDataset:
    """Build the config's source, with the size of its targets settled; nothing else is loaded."""
    spec = settled(config)
    return PairDataset(registry().build(spec), spec)


def accelerator_for(settings: TrainingConfig) -> Any:
    """Device placement and mixed precision, also where an earlier training of this process had another precision."""
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
    return Accelerator(cpu=on_cpu(), mixed_precision="no" if settings.precision == "fp32" else settings.precision)


def on_cpu() -> bool:
    """Whether the device rule says so: said aloud, or processes of a CPU do not find each other.

    One process trains on the device with the number that was named; several have their own numbers from their launcher.
    """
    device = choose()
    if ":" in str(device) and "LOCAL_RANK" not in os.environ:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    return device.type == "cpu"


def loader_for(
    config: ExperimentConfig, run: Run, accelerator: Any, models: tuple[Any, Backbone, DynaIP], pairs: PairDataset,
    warn: Warn,
) -> PairLoader:  # fmt: skip
    settings, (pipe, backbone, _) = config.training, models
    return PairLoader(
        pairs,
        lambda pairs: encode(pairs, *models),
        quarantine=Quarantine(run.quarantine, len(pairs), settings.max_bad_share),
        order=Order(
            settings.batch_size, settings.seed, len(pairs), accelerator.process_index, accelerator.num_processes
        ),
        workers=settings.workers,
        cache=settings.cache_size if settings.cache else 0,
        warn=warn,
        remarks=Remarks(warn, run.notes, backbone.prompt_limits(pipe)),
        check=lambda name, size: judge(config, models, size, name, warn),
    )


def judge(
    config: ExperimentConfig, models: tuple[Any, Backbone, DynaIP], size: tuple[int, int], name: str, warn: Warn
) -> None:
    """Refuse a size that the base cannot paint, and make room for a step on targets of this size."""
    check_size(config.backbone.config, size, name)
    settings, (pipe, backbone, dyna) = config.training, models
    multiple: Any = getattr(config.backbone.config, "size_multiple", lambda: 16)()
    words = max((limit.longest for limit in backbone.prompt_limits(pipe)), default=0)
    tokens = settings.batch_size * (size[0] * size[1] // multiple**2 + words)
    weights = next(pipe.transformer.parameters())
    width = weights.element_size() if settings.precision == "fp32" else 2

    def need(checkpointing: bool) -> int:
        return step_memory(dyna.model_signature, tokens=tokens, bytes_each=width, checkpointing=checkpointing)

    make_room(settings, pipe.transformer, need, free_memory(weights.device), warn)
