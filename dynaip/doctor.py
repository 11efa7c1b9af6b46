"""What works on this machine: versions, devices, attention tried on a small case, extras, plugins, folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.device import VARIABLE, choose, names
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip.registry.dependencies import missing_packages
from dynaip.runs import environment
from dynaip.suggest import one_line

if TYPE_CHECKING:
    import torch

GIB = 2**30
DISTRIBUTION = "dynaip"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    part: str
    name: str
    found: str
    works: bool = True
    needed: bool = False
    """Whether a default needs it: then ``dynaip doctor`` exits with 1 where it does not work."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at."""

    checks: list[Check] = field(default_factory=list[Check])

    @property
    def healthy(self) -> bool:
        """Whether everything works that a default needs."""
        return all(check.works for check in self.checks if check.needed)

    def plain(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}


def examine() -> Diagnosis:
    """Look at this machine; nothing is downloaded, and nothing is left behind."""
    return Diagnosis([*_versions(), *_devices(), *_attention(), *_extras(), *_plugins(), *_folders()])


def _versions() -> list[Check]:
    told = environment()
    found = [Check("version", name, version, needed=True) for name, version in told["versions"].items()]
    python = Check("version", "python", f"{told['python']} on {told['platform']}, {told['machine']['cores']} cores")
    return [python, *found]


def _devices() -> list[Check]:
    import torch

    checks = [Check("device", name, _memory(torch.device(name))) for name in names()]
    try:
        chosen = str(choose())
    except InputError as error:
        return [*checks, Check("device", VARIABLE, str(error), works=False, needed=True)]
    return [*checks, Check("device", "auto", f"is {chosen}", needed=True)]


def _memory(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.1f} GiB, {torch.get_num_threads()} threads"
    return "memory is not told"


def _attention() -> list[Check]:
    """Torch's kernels, forward and backward, on the device that ``auto`` stands for, and diffusers' backends, forward."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from dynaip.adapter.differentiable import differentiable_attention

    try:
        device = choose()
    except InputError:
        device = torch.device("cpu")

    def kernel(backend: SDPBackend) -> Callable[[], None]:
        def run() -> None:
            with sdpa_kernel(backend):
                _attend(device, torch.nn.functional.scaled_dot_product_attention)

        return run

    def training() -> None:
        with differentiable_attention(device):
            _attend(device, torch.nn.functional.scaled_dot_product_attention)

    own = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH]
    checks = [_tried(f"torch {backend.name.lower().removesuffix('_attention')}", kernel(backend)) for backend in own]
    return [_tried("as training uses it", training, needed=True), *checks, *_backends(device)]


def _attend(device: torch.device, attend: Callable[..., Any]) -> None:
    """A forward and a backward pass over 64 queries, held against the softmax written out."""
    import torch

    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, 2, 64, 64, generator=generator).to(device, dtype).requires_grad_() for _ in range(3)
    )
    wanted = (query.float() @ key.float().mT / 8).softmax(-1) @ value.float()
    given = attend(query, key, value)
    expected, found = (torch.autograd.grad(each.float().square().sum(), query)[0] for each in (wanted, given))
    if not torch.allclose(given.float(), wanted, atol=0.05) or not torch.allclose(found, expected, atol=0.5):
        raise ValueError("its result is not that of the softmax written out")


def _backends(device: torch.device) -> list[Check]:
    """Diffusers' backends that people name with ``--attention-backend``."""
    import torch
    from diffusers.models.attention_dispatch import (
        AttentionBackendName,
        _check_attention_backend_requirements,  # pyright: ignore[reportPrivateUsage]
    )

    from dynaip.adapter.backends import dispatched

    def forward(name: str) -> Callable[[], None]:
        def run() -> None:
            _check_attention_backend_requirements(AttentionBackendName(name))
            query, key, value = (torch.randn(1, 2, 64, 64, device=device, dtype=torch.bfloat16) for _ in range(3))
            with torch.no_grad():
                if not bool(torch.isfinite(dispatched(query, key, value, name)).all()):
                    raise ValueError("its result is not finite")

        return run

    return [
        _tried(f"--attention-backend {name}", forward(name)) for name in ("native", "flash", "xformers", "sage", "flex")
    ]


def _tried(name: str, run: Callable[[], None], *, needed: bool = False) -> Check:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel that does not fit here says why in several warnings
            run()
    except Exception as error:
        return Check("attention", name, f"not here: {one_line(error).partition('. ')[0]}", works=False, needed=needed)
    return Check("attention", name, "works", needed=needed)


def _extras() -> list[Check]:
    try:
        extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except ModuleNotFoundError:  # a checkout that nobody installed
        return [Check("extra", DISTRIBUTION, "not installed: extras are not known", works=False)]
    missing = {extra: missing_packages(DISTRIBUTION, extra) for extra in sorted(extras)}
    return [
        Check("extra", extra, f'pip install "{DISTRIBUTION}[{extra}]" (missing: {", ".join(packages)})', works=False)
        if packages
        else Check("extra", extra, "there")
        for extra, packages in missing.items()
    ]


def _plugins() -> list[Check]:
    known = registry()
    failed = [
        Check("plugin", each.plugin, f"failed at {each.stage}: {each.error}", works=False) for each in known.failures
    ]
    counted: dict[str, int] = {}
    for entry in known.components():
        counted[entry.plugin] = counted.get(entry.plugin, 0) + 1
    there = [
        Check("plugin", name, f"{count} components", needed=name == "builtin")
        for name, count in sorted(counted.items())
    ]
    lacking = [] if "builtin" in counted else [Check("plugin", "builtin", "not found", works=False, needed=True)]
    return [*there, *lacking, *failed]


def _folders() -> list[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    reach = "offline: nothing is fetched" if HF_HUB_OFFLINE else "fetches what a config names"
    return [
        Check("folder", "hub", f"{reach}; cache {HF_HUB_CACHE}"),
        Check("folder", "free disk", f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB in {Path.cwd()}"),
    ]
