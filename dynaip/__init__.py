"""DynaIP: a reference image personalises what an unmodified diffusion transformer paints."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dynaip.version import __version__ as __version__

if TYPE_CHECKING:
    from dynaip.adapter.model import DynaIP as DynaIP
    from dynaip.adapter.reference import Reference as Reference
    from dynaip.load import load as load
    from dynaip.registry import register as register

_ADDRESSES = {
    "DynaIP": "dynaip.adapter.model",
    "Reference": "dynaip.adapter.reference",
    "load": "dynaip.load",
    "register": "dynaip.registry",
}


def __getattr__(name: str) -> Any:
    # Nothing heavy is imported before it is asked for: `dynaip --help` needs no torch.
    if name not in _ADDRESSES:
        raise AttributeError(f"module 'dynaip' has no attribute {name!r}")
    from dynaip.quiet import quiet_imports

    with quiet_imports():
        value = getattr(import_module(_ADDRESSES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ADDRESSES})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the submodule dynaip.load would put it in the place of the function of that name.
        if not (name in _ADDRESSES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
