"""The contracts: what every room of the house promises to the path that runs through it, a file a subject.

A component is built as ``Target(config, **context)``; ``config`` is an instance of the component's own config class
and ``context`` is what its contract's constructor names. Each name is imported when it is first asked for: what has
nothing to do with tensors (work, data, formats, sections) needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaip.contracts.adapter import Branch as Branch
    from dynaip.contracts.adapter import BranchWeights as BranchWeights
    from dynaip.contracts.adapter import DecouplingPolicy as DecouplingPolicy
    from dynaip.contracts.adapter import FeatureFusion as FeatureFusion
    from dynaip.contracts.adapter import FusedReference as FusedReference
    from dynaip.contracts.adapter import Phase as Phase
    from dynaip.contracts.adapter import VisualEncoder as VisualEncoder
    from dynaip.contracts.backbone import Backbone as Backbone
    from dynaip.contracts.backbone import BlockSite as BlockSite
    from dynaip.contracts.backbone import ForwardPass as ForwardPass
    from dynaip.contracts.backbone import Skeleton as Skeleton
    from dynaip.contracts.data import Benchmark as Benchmark
    from dynaip.contracts.data import Box as Box
    from dynaip.contracts.data import Case as Case
    from dynaip.contracts.data import CaseReference as CaseReference
    from dynaip.contracts.data import Metric as Metric
    from dynaip.contracts.data import Pair as Pair
    from dynaip.contracts.data import PairReference as PairReference
    from dynaip.contracts.data import PairSource as PairSource
    from dynaip.contracts.data import Segmenter as Segmenter
    from dynaip.contracts.formats import AdapterFormat as AdapterFormat
    from dynaip.contracts.formats import ForeignAdapter as ForeignAdapter
    from dynaip.contracts.section import AnalysisRequest as AnalysisRequest
    from dynaip.contracts.section import ReportSection as ReportSection
    from dynaip.contracts.section import SectionContent as SectionContent
    from dynaip.contracts.work import Bundle as Bundle
    from dynaip.contracts.work import Executor as Executor
    from dynaip.contracts.work import Job as Job

_SUBJECTS = {
    "adapter": (
        "Branch", "BranchWeights", "DecouplingPolicy", "FeatureFusion", "FusedReference", "Phase", "VisualEncoder",
    ),
    "backbone": ("Backbone", "BlockSite", "ForwardPass", "Skeleton"),
    "data": ("Benchmark", "Box", "Case", "CaseReference", "Metric", "Pair", "PairReference", "PairSource", "Segmenter"),
    "formats": ("AdapterFormat", "ForeignAdapter"),
    "section": ("AnalysisRequest", "ReportSection", "SectionContent"),
    "work": ("Bundle", "Executor", "Job"),
}  # fmt: skip
_HOMES = {name: subject for subject, names in _SUBJECTS.items() for name in names}
__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynaip.contracts' has no attribute {name!r}")
    value = getattr(import_module(f"dynaip.contracts.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
