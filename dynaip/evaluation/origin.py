"""What a generated image depends on, as fingerprints: an image on disk is used again only if nothing of it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dynaip.adapter.files import describe
from dynaip.adapter.model import DynaIP
from dynaip.config.experiment import fingerprint
from dynaip.contracts import Backbone, Case

SMALL = 100_000
"""Parameters of the base up to this size tell one base from another (hashing all of FLUX would take minutes)."""


def origin(pipe: Any, backbone: Backbone, dyna: DynaIP | None, options: Mapping[str, Any]) -> Callable[[Case], str]:
    """Give a function from a case to the fingerprint of all that its image depends on (batch and device aside)."""
    transformer = pipe.transformer
    small = (value for value in transformer.parameters() if value.numel() <= SMALL and value.device.type != "meta")
    adapter: list[Any] | None = None
    if dyna is not None:
        about = {name: part for name, part in describe(dyna).items() if name not in ("backbone", "dynaip_version")}
        adapter = [about, type(dyna.policy).__qualname__, digest(dyna.state_dict().values())]
    settings = fingerprint([backbone.signature(transformer), digest(small), adapter, repr(sorted(options.items()))])

    def of(case: Case) -> str:
        references = [[hashlib.sha256(one.image.tobytes()).hexdigest(), one.region] for one in case.references]
        return fingerprint([settings, case.prompt, case.seed, case.size, references if dyna else None])

    return of


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of tensors' bytes, in order."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
