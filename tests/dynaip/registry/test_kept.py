"""What plugins of 0.1 import and say stays valid: the file below is written as its documents told."""

from __future__ import annotations

from pathlib import Path

import pytest

import dynaip.registry
from dynaip.config import ComponentSpec
from dynaip.registry import Registry, registry

WRITTEN = '''
from typing import Any, Literal

from pydantic import Field, PositiveInt

import dynaip
from dynaip.config import ComponentConfig, ComponentSpec, PolicyConfig
from dynaip.contracts import (
    AdapterFormat, Backbone, Benchmark, BlockSite, Branch, BranchWeights, Bundle, Case, CaseReference, DecouplingPolicy, Executor,
    FeatureFusion, ForeignAdapter, ForwardPass, FusedReference, Job, Metric, Pair, PairSource, Phase, ReportSection,
    SectionContent, VisualEncoder,
)
from dynaip.errors import ConfigError, InputError
from dynaip.registry import Component, hookimpl
from dynaip.report.section import AnalysisRequest
from dynaip.report.section import ReportSection as Section

REQUIRES_DYNAIP = ">=0.1,<0.2"
assert Section is ReportSection


class GatedConfig(ComponentConfig):
    """Options of gated."""

    hidden: PositiveInt | None = None
    """Width of the hidden layer."""


class FadedConfig(PolicyConfig):
    until: float = Field(0.5, gt=0, le=1)

    def training_part(self) -> dict[str, Any]:
        return {"image": 1.0, "text": 1.0}


class Gated(FeatureFusion):
    def __init__(self, config, *, widths, dim, condition_dim=None):
        super().__init__()
        self.config = config

    def forward(self, levels, *, coefficients=None, condition=None):
        return FusedReference(next(iter(levels.values())))


class Faded(DecouplingPolicy):
    def __init__(self, config):
        self.config = config

    def weights(self, phase, *, block, blocks, progress):
        return BranchWeights(1.0, 1.0)

    def branches(self, phase):
        return frozenset({"image", "text"})


class Told(ReportSection):
    def __init__(self, config):
        self.config = config

    def prepare(self, directory):
        pass

    def content(self, directory):
        return SectionContent("Told", "words")


@dynaip.register("report_section", "told", config=ComponentConfig)
class AlsoTold(Told):
    pass


@hookimpl
def dynaip_components():
    return [
        Component("fusion", "gated", "older:Gated", "older:GatedConfig", "one gate a level"),
        Component("decoupling", "faded", Faded, FadedConfig),
    ]
'''


def test_a_plugin_written_against_the_first_version_loads_and_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynaip.registry, "_current", [Registry()])
    (tmp_path / "older.py").write_text(WRITTEN)
    registry().load_file(tmp_path / "older.py")
    assert registry().failures == []
    fusion = ComponentSpec.parse("fusion", {"use": "gated", "hidden": 8})
    assert fusion.dump() == {"use": "older:gated", "hidden": 8}
    assert registry().build(fusion, widths={"low": 4}, dim=8, condition_dim=None).config.hidden == 8
    assert fusion.config.widened(9) is None
    policy = registry().build(ComponentSpec.parse("decoupling", {"use": "faded", "until": 0.25}))
    assert policy.config.training_part() == {"image": 1.0, "text": 1.0}
    assert registry().build(ComponentSpec.parse("report_section", "told")).content(tmp_path).title == "Told"
