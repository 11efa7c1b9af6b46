"""What a training is made of before its first step: processes and devices, pairs, and room in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState  # pyright: ignore[reportMissingTypeStubs]
from accelerate.state import AcceleratorState  # pyright: ignore[reportMissingTypeStubs]

from dynaip.adapter.files import start_from
from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig, TrainingConfig
from dynaip.contracts import Backbone
from dynaip.device import choose, make_current
from dynaip.encodings.folder import default_folder
from dynaip.paths import at_home
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.sizes import check_size
from dynaip.training.data import BatchOrder, PairDataset, Quarantine
from dynaip.training.encoding import base_type, encode, freeze
from dynaip.training.loader import PairLoader
from dynaip.training.processes import share_of
from dynaip.training.progress import Warn
from dynaip.training.remarks import Remarks
from dynaip.training.sharding import to_device_but_base
from dynaip.training.shared import SharedLoader, shared_folder
from dynaip.training.sizes import settled
from dynaip.training.stored import StoredLoader, store_for
from dynaip.training.validation import Validation, held_out, spread


def pairs_of(config: ExperimentConfig) -> PairDataset:
    """Build the config's source, with the size of its targets settled; nothing else is loaded."""
    spec = settled(config)
    return PairDataset(registry().build(spec), spec)


def accelerator_for(settings: TrainingConfig, run: Run) -> Any:
    """Device placement and mixed precision, also where an earlier training of this process had another precision."""
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
    half = "no" if settings.precision == "fp32" else settings.precision
    trackers: Any = [*settings.trackers] or None
    return Accelerator(cpu=on_cpu(), mixed_precision=half, log_with=trackers, project_dir=str(run.path / "trackers"))


def validation_for(
    config: ExperimentConfig, run: Run, accelerator: Any, models: tuple[Any, Backbone, DynaIP], loader: PairLoader,
    warn: Warn,
) -> Validation | None:  # fmt: skip
    """What the config's validation measures: pairs that the training's ``loader`` leaves out, or those of another source."""
    settings = config.training.validation
    if settings is None:
        return None
    if settings.source is None:
        pairs = held_out(loader.dataset.source, settings.pairs).pairs
    else:
        # Kept by the validation itself, so that a loader keeps none beside it but on disk.
        changes = {"validation": None, "cache": config.training.cache == "disk" and "disk"}
        training = config.training.model_copy(update=changes)
        other = config.model_copy(update={"source": settings.source, "training": training})
        loader = loader_for(other, run, accelerator, models, pairs_of(other), warn)
        pairs = spread(len(loader.dataset), settings.pairs)
    training = config.training
    return Validation(settings, training.seed, loader, pairs, training.references, accelerator, training.batch_size)


def models_for(config: ExperimentConfig, device: torch.device, *, sharded: bool) -> tuple[Any, Backbone, DynaIP]:
    """The frozen pipeline, its backbone, and an adapter in it on the device; a base that is to be sharded stays on the host."""
    settings, backbone = config.training, cast(Backbone, registry().build(config.backbone))
    pipe = backbone.load(device="cpu" if sharded else device, dtype=base_type(settings.precision, device))
    freeze(pipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        dyna = DynaIP.build(config, pipe.transformer)
    if settings.initial:
        start_from(dyna, settings.initial)
    dyna.attach(pipe)
    if sharded:
        to_device_but_base(pipe, device)
        dyna.encoder.to(device)
    # The adapter's backbone has the clock that passes are read by: another one would ask the device in every step.
    return pipe, dyna.backbone, dyna.to(device)


def on_cpu() -> bool:
    """Whether the device rule says so: said aloud, or processes of a CPU do not find each other.

    One process trains on the device with the number that was named; several have their own numbers from their launcher.
    """
    device = choose()
    if ":" in str(device) and "LOCAL_RANK" not in os.environ:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
        make_current(device)
    return device.type == "cpu"


def leave_together() -> None:
    """End the group of processes: one that ended first would abort those that still listen to it."""
    state = PartialState()
    if state.num_processes > 1:
        state.wait_for_everyone()
        state.destroy_process_group()


def loader_for(
    config: ExperimentConfig, run: Run, accelerator: Any, models: tuple[Any, Backbone, DynaIP], pairs: PairDataset,
    warn: Warn,
) -> PairLoader:  # fmt: skip
    """The loader of a training's pairs, as its config orders them for this process; unusable ones are quarantined."""
    settings, (pipe, backbone, _), first = config.training, models, accelerator.is_main_process

    def check(name: str, size: tuple[int, int]) -> None:
        check_size(config.backbone.config, size, name)

    groups = None if pairs.sizes is None else pairs.sizes[1]
    held = held_out(pairs.source, settings.held_out) if settings.held_out else None
    kind: Callable[..., PairLoader] = PairLoader
    stored: dict[str, Any] = {}
    if settings.cache == "disk":
        folder = at_home(settings.cache_folder or default_folder()).absolute()
        store = store_for(config, folder, pairs.source, pairs.spec or config.source, models)
        limit = None if settings.cache_limit is None else settings.cache_limit * 1e9
        kind, stored = StoredLoader, {"store": store, "limit": limit, "share": share_of(folder, accelerator)}
    elif settings.cache is True and (common := shared_folder()) and accelerator.num_processes == 1:
        store = store_for(config, common.absolute(), pairs.source, pairs.spec or config.source, models)
        kind, stored = SharedLoader, {"store": store}
    return kind(
        pairs,
        partial(encode, pipe=pipe, backbone=backbone, dyna=models[2], levels=settings.cache_levels),
        quarantine=Quarantine(run.quarantine, len(pairs), settings.max_bad_share),
        order=BatchOrder(
            settings.batch_size,
            settings.seed,
            len(pairs),
            accelerator.process_index,
            accelerator.num_processes,
            groups=groups if held is None else held.groups(groups, len(pairs)),
            blocks=pairs.source.blocks(),
        ),
        workers=settings.workers,
        cache=settings.cache_size if settings.cache is True else 0,
        warn=warn,
        remarks=Remarks(warn, run.notes, backbone.prompt_limits(pipe)) if first else Remarks(lambda line: None),
        check=check,
        **stored,
    )
