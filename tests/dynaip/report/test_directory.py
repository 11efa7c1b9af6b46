"""What is read from the files of an ablation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dynaip.report.directory import AblationDirectory, count_parameters


def test_arms_cases_and_scores(finished: Path) -> None:
    found = AblationDirectory.read(finished)
    assert [arm.name for arm in found.arms][:2] == ["hmoe-dynamic", "hmoe-coupled"]
    assert found.reference_arm == "hmoe-dynamic"
    assert found.arms[0].parameters == 15
    assert found.arms[0].steps == 300
    case = next(case for case in found.cases if case.suite == "multi2")
    assert case.references[1].region == (0.5, 0.0, 1.0, 1.0)
    assert case.references[0].image.is_file()
    assert len(found.scores) == 6 * 80
    assert found.scores[0]["arm"] == "hmoe-dynamic"


def test_baselines(finished: Path) -> None:
    base, shipped = [arm for arm in AblationDirectory.read(finished).arms if arm.baseline]
    assert base.bare
    assert base.steps is None
    assert base.parameters is None
    assert not shipped.bare
    assert shipped.parameters == 15


def test_a_baseline_that_lies_elsewhere(ablation: Path, tmp_path: Path) -> None:
    run = tmp_path / "older-run"
    (ablation / "arms" / "microworld-0123456789ab" / "adapter").rename(tmp_path / "moved")
    run.mkdir()
    (tmp_path / "moved").rename(run / "adapter")
    (run / "config.yaml").write_text("training: {steps: 1234}")
    plan = yaml.safe_load((ablation / "plan.yaml").read_text())
    next(arm for arm in plan["arms"] if arm["name"] == "microworld")["run"] = str(run)
    (ablation / "plan.yaml").write_text(yaml.safe_dump(plan))
    found = next(arm for arm in AblationDirectory.read(ablation).arms if arm.name == "microworld")
    assert found.adapter_folder == run / "adapter"
    assert found.steps == 1234


def test_without_a_plan_the_folders_count(ablation: Path) -> None:
    (ablation / "plan.yaml").unlink()
    assert {arm.name for arm in AblationDirectory.read(ablation).arms} >= {"hmoe-dynamic", "base", "broken"}


@pytest.mark.parametrize("content", [b"", b"\x05", json.dumps({}).encode() * 3])
def test_broken_weights_have_no_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(content)
    assert count_parameters(tmp_path / "adapter.safetensors") is None
