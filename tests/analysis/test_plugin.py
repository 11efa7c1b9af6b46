"""What the analyses are to the house: folders that say what they hold, and eyes that look through the adapter's windows alone."""

from __future__ import annotations

import ast
from pathlib import Path

import dynaip_analysis
from dynaip.registry import registry
from dynaip_analysis.plugin import dynaip_components

ROOT = Path(dynaip_analysis.__path__[0])


def test_every_folder_with_a_section_is_a_component() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/section.py")} - {"bench"}
    found = {component.name: component for component in dynaip_components()}
    assert set(found) == folders == {"attention", "routing", "granularity", "decoupling", "interventions", "judges"}
    for name, component in found.items():
        target = registry().target("report_section", name)
        assert (target.name, target.__module__) == (name, f"dynaip_analysis.{name}.section")
        assert registry().config_class("report_section", name).__module__ == f"dynaip_analysis.{name}.config"
        assert component.summary


def test_nothing_reaches_into_the_hooks() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("injector", "_injector", "injection", "marks")
    ]
    assert not wrong, f"look through observe, observe_passes, open_blocks and block_scale instead: {wrong}"


def test_public_names_are_there_when_they_are_asked_for() -> None:
    public = {"AttentionRequest", "Intervention", "JointRequest", "Recording", "Workbench", "estimate", "explore",
              "intervene", "record", "row", "seen_by", "sheet"}  # fmt: skip
    assert public <= set(dir(dynaip_analysis))
    assert all(getattr(dynaip_analysis, name).__name__ == name for name in public)
