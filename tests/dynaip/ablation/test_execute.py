"""An ablation end to end on tiny models: own components, resume, failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dynaip.ablation.execute import ablate
from dynaip.config import load_ablation
from dynaip.errors import InputError

Write = Callable[..., Path]


def test_components_of_ones_own_take_part(ablation_file: Write, tmp_path: Path) -> None:
    arms = [
        {"fusion": "last", "name": "own_fusion"},
        {"fusion": "last", "encoder": "pixels", "name": "own_encoder"},
        {"decoupling": "half", "name": "own_policy"},
    ]
    config = load_ablation(ablation_file({"arms": arms, "baselines": ["base"]}))
    result = ablate(config, tmp_path / "out", report=False)
    assert not result.failed
    assert set(result.results["arm"]) == {"dynamic", "coupled", "own_fusion", "own_encoder", "own_policy", "base"}
    assert list(result.results.columns[:7]) == ["arm", "seed", "suite", "n", "cp", "pf", "cp_pf"]
    assert len(result.results) == 6 * 2
    assert len(list((tmp_path / "out" / "trainings").glob("*.yaml"))) == 3
    again = ablate(config, tmp_path / "out", report=False)
    pd.testing.assert_frame_equal(again.results, result.results)


def test_a_failed_arm_does_not_stop_the_others(ablation_file: Write, tmp_path: Path) -> None:
    arms = [{"adapter.blocks": [7], "name": "broken"}]
    config = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "fine"}, *arms]}))
    result = ablate(config, tmp_path / "out", report=False)
    assert [name.rpartition("-")[0] for name in result.failed] == ["broken"]
    assert set(result.results["arm"]) == {"fine"}
    status = next((tmp_path / "out" / "arms").glob("broken-*")) / "status.json"
    assert "does not fit the 2 double-stream blocks" in json.loads(status.read_text())["error"]


def test_another_plan_is_refused(ablation_file: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ablate(load_ablation(ablation_file({"axes": {}, "arms": [{"name": "one"}]})), out, report=False)
    with pytest.raises(InputError, match=r"another ablation .*two"):
        ablate(load_ablation(ablation_file({"axes": {}, "arms": [{"name": "two"}]})), out, report=False)


@pytest.mark.slow
def test_killed_hard_and_resumed_gives_the_same_results(ablation_file: Write, tmp_path: Path) -> None:
    file = ablation_file(steps=8)
    config = load_ablation(file)
    straight = ablate(config, tmp_path / "straight", report=False).results
    out = tmp_path / "killed"
    code = (
        "from pathlib import Path; from dynaip.config import load_ablation; from dynaip.ablation.execute import ablate;"
        f"ablate(load_ablation({str(file)!r}), Path({str(out)!r}), report=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("trainings/*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "results.csv").exists()
    resumed = ablate(config, out, report=False).results
    pd.testing.assert_frame_equal(resumed, straight)
