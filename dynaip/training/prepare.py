"""Encoding the pairs of a config onto disk, without training: by one process, or by as many as are started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig
from dynaip.contracts import Backbone
from dynaip.device import choose
from dynaip.encodings.folder import collections
from dynaip.errors import Interrupted
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.signals import noting
from dynaip.training.encoding import base_type, freeze
from dynaip.training.progress import OnProgress, Preparation, Warn, to_stderr
from dynaip.training.setup import loader_for, pairs_of
from dynaip.training.stored import StoredLoader


@dataclass(frozen=True)
class Prepared:
    """What an encoding did."""

    folder: Path
    pairs: int
    bad: int
    blocks: int
    """Blocks of pairs."""
    made: int
    """Blocks that this process encoded; the others were there, or were made by others meanwhile."""
    bytes: int
    """What the collections of these pairs take."""


@dataclass(frozen=True)
class _Alone:
    """What of an accelerator the loader asks for, in a process that belongs to no group."""

    device: torch.device
    is_main_process: bool = True
    process_index: int = 0
    num_processes: int = 1


def encode_pairs(
    config: ExperimentConfig, *, on_progress: OnProgress | None = None, warn: Warn = to_stderr
) -> Prepared:
    """Encode every pair that is not encoded yet, into the folder that the config names.

    Any number of processes may do so at once: each goes on with what is still missing. Raises ``Interrupted`` after
    SIGTERM; what is written stays, and the next call goes on with the rest.
    """
    settings = config.training.model_copy(update={"cache": "disk"})
    config = config.model_copy(update={"training": settings})
    pairs, models = pairs_of(config), frozen_models(config)
    # Bad pairs are told at the end; a training lists them in its run.
    with TemporaryDirectory(prefix="dynaip-") as folder, noting() as asked:
        loader = loader_for(config, Run(Path(folder)), _Alone(choose()), models, pairs, warn)
        assert isinstance(loader, StoredLoader)

        def tell(done: int, total: int) -> None:
            if on_progress:
                on_progress(Preparation(done, total))
            if asked():
                raise Interrupted(f"stopped after {done} of {total} blocks; start it again and it goes on")

        loader.fill_all(on_progress=tell)
    held = [one for one in collections(loader.store.folder) if one.path in loader.store.places.values()]
    return Prepared(
        loader.store.folder, len(pairs), len(loader.quarantine.bad), len(loader.store.blocks), loader.made,
        sum(one.bytes for one in held),
    )  # fmt: skip


def frozen_models(config: ExperimentConfig) -> tuple[Any, Backbone, DynaIP]:
    """Pipeline, backbone and adapter to encode with, on the device; the transformer takes no part and no room there."""
    device = choose()
    backbone: Backbone = registry().build(config.backbone)
    pipe = backbone.load(device="cpu", dtype=base_type(config.training.precision, device))
    freeze(pipe)
    dyna = DynaIP.build(config, pipe.transformer)
    pipe.transformer = None
    for name, module in pipe.components.items():
        if isinstance(module, nn.Module) and name != "transformer":
            module.to(device)
    dyna.fusion.to(device)
    dyna.encoder.to(device)
    return pipe, backbone, dyna
