"""Looks through the windows that the path already has: attention, routing, granularity, decoupling."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaip_analysis.bench.seen import seen_by as seen_by
    from dynaip_analysis.bench.workbench import Workbench as Workbench
    from dynaip_analysis.drawing.widgets import explore as explore
    from dynaip_analysis.drawing.widgets import row as row
    from dynaip_analysis.drawing.widgets import sheet as sheet
    from dynaip_analysis.interventions.intervention import Intervention as Intervention
    from dynaip_analysis.interventions.intervention import intervene as intervene
    from dynaip_analysis.recording.recorder import AttentionRequest as AttentionRequest
    from dynaip_analysis.recording.recorder import JointRequest as JointRequest
    from dynaip_analysis.recording.recorder import Recording as Recording
    from dynaip_analysis.recording.recorder import estimate as estimate
    from dynaip_analysis.recording.recorder import record as record

_ADDRESSES = {
    "AttentionRequest": "recording.recorder",
    "Intervention": "interventions.intervention",
    "JointRequest": "recording.recorder",
    "Recording": "recording.recorder",
    "Workbench": "bench.workbench",
    "estimate": "recording.recorder",
    "explore": "drawing.widgets",
    "intervene": "interventions.intervention",
    "record": "recording.recorder",
    "row": "drawing.widgets",
    "seen_by": "bench.seen",
    "sheet": "drawing.widgets",
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
