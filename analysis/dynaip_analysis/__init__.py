"""Looks through the windows that the path already has: attention, routing, granularity, decoupling."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaip_analysis.interventions import Intervention as Intervention
    from dynaip_analysis.interventions import intervene as intervene
    from dynaip_analysis.recorder import AttentionRequest as AttentionRequest
    from dynaip_analysis.recorder import JointRequest as JointRequest
    from dynaip_analysis.recorder import Recording as Recording
    from dynaip_analysis.recorder import estimate as estimate
    from dynaip_analysis.recorder import record as record

_ADDRESSES = {
    "AttentionRequest": "recorder",
    "Intervention": "interventions",
    "JointRequest": "recorder",
    "Recording": "recorder",
    "estimate": "recorder",
    "intervene": "interventions",
    "record": "recorder",
}


def __getattr__(name: str) -> Any:
    # Nothing heavy is imported before it is asked for: `dynaip --help` needs no torch.
    if name not in _ADDRESSES:
        raise AttributeError(f"module 'dynaip_analysis' has no attribute {name!r}")
    value = getattr(import_module(f"dynaip_analysis.{_ADDRESSES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ADDRESSES})
