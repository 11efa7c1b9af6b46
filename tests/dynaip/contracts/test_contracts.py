"""Contracts by subject: every public name is where it was, and those without tensors come without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import dynaip.contracts

NAMES = [
    "AdapterFormat", "AnalysisRequest", "Backbone", "Benchmark", "BlockSite", "Box", "Branch", "BranchWeights",
    "Bundle", "Case", "CaseReference", "DecouplingPolicy", "Executor", "FeatureFusion", "ForeignAdapter",
    "ForwardPass", "FusedReference", "Job", "Metric", "Pair", "PairSource", "Phase", "ReportSection",
    "SectionContent", "VisualEncoder",
]  # fmt: skip


def test_every_name_can_be_imported_from_the_package() -> None:
    assert [name for name in NAMES if not hasattr(dynaip.contracts, name)] == []
    assert set(NAMES) <= set(dir(dynaip.contracts)) & set(dynaip.contracts.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Fusion'"):
        _ = dynaip.contracts.Fusion


@pytest.mark.parametrize(
    "code",
    [
        "import dynaip.contracts.work, dynaip.contracts.section",
        "import dynaip.contracts.data, dynaip.contracts.formats",
        "from dynaip.contracts import Bundle, Executor, Job, ReportSection, SectionContent",
        # A bundle and the sections of a report are built, and checked against their contracts.
        "from dynaip.registry import registry\n"
        "from dynaip.config import ComponentSpec\n"
        "for kind in ('bundle', 'report_section', 'executor'):\n"
        "    for each in registry().components(kind):\n"
        "        assert registry().build(ComponentSpec.parse(kind, each.qualified))",
    ],
)
def test_what_has_no_tensors_needs_no_torch(code: str) -> None:
    code += "\nimport sys\nassert not {'torch', 'diffusers', 'pandas', 'matplotlib'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
