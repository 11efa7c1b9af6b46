"""An ablation end to end on tiny models: own components, resume, failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from html import escape
from pathlib import Path

import pandas as pd
import pytest

from dynaip.ablation.execute import ablate
from dynaip.ablation.folder import AblationFolder
from dynaip.ablation.plan import make_plan
from dynaip.config import load_ablation
from dynaip.errors import ArmFailed, InputError
from dynaip.runs import Run
from tests.forked import Forked

Write = Callable[..., Path]


@pytest.mark.usefixtures("forked_workers")
def test_components_of_ones_own_take_part(ablation_file: Write, tmp_path: Path) -> None:
    arms = [
        {"fusion": "last", "name": "own_fusion"},
        {"fusion": "last", "encoder": "pixels", "name": "own_encoder"},
        {"decoupling": "half", "name": "own_policy"},
    ]
    config = load_ablation(ablation_file({"arms": arms, "baselines": ["base"]}))
    result = ablate(config, tmp_path / "out")
    assert not result.failed
    assert set(result.results["arm"]) == {"dynamic", "coupled", "own_fusion", "own_encoder", "own_policy", "base"}
    assert list(result.results.columns[:7]) == ["arm", "seed", "suite", "n", "cp", "pf", "cp_pf"]
    assert len(result.results) == 6 * 2
    assert len(list((tmp_path / "out" / "trainings").glob("*.yaml"))) == 3
    assert not (tmp_path / "out" / "encodings").exists(), "what trainings shared is removed at the end"
    again = ablate(config, tmp_path / "out")
    pd.testing.assert_frame_equal(again.results, result.results)
    means = again.scores().groupby(["arm", "suite"])["cp"].mean()
    assert means.to_dict() == pytest.approx(result.results.set_index(["arm", "suite"])["cp"].to_dict())


@pytest.mark.usefixtures("forked_workers")
def test_a_failed_arm_does_not_stop_the_others(ablation_file: Write, tmp_path: Path) -> None:
    arms = [{"adapter.blocks": [7], "name": "broken"}]
    config = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "fine"}, *arms]}))
    result = ablate(config, tmp_path / "out")
    assert [name.rpartition("-")[0] for name in result.failed] == ["broken"]
    assert set(result.results["arm"]) == {"fine"}
    [(name, why)] = result.failed.items()
    log = tmp_path / "out" / "logs" / f"{make_plan(config).arms[1].training}.txt"
    assert log.is_file()
    said = f"{name}: {why} (its log: {log})"
    assert f"<p>failed: {escape(said)}</p>" in result._repr_html_()
    with pytest.raises(ArmFailed) as raised:
        result.scores()
    assert str(raised.value) == f"arm failed: {said}" == "".join(raised.value._render_traceback_())
    status = next((tmp_path / "out" / "arms").glob("broken-*")) / "status.json"
    assert "does not fit the 2 double-stream blocks" in json.loads(status.read_text())["error"]


@pytest.mark.usefixtures("forked_workers")
def test_another_plan_is_refused(ablation_file: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "one"}]}))
    ablate(one, out)
    with pytest.raises(InputError, match=r"another ablation .*two"):
        ablate(load_ablation(ablation_file({"axes": {}, "arms": [{"name": "two"}]})), out)
    changed = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "one"}]}), ["evaluation.limit=1"])
    with pytest.raises(InputError, match=r"arm one differs in evaluation.limit \(None there, 1 here\)"):
        ablate(changed, out)
    (out / "arms" / make_plan(one).arms[0].folder / "scores.parquet").unlink()
    again = ablate(one, out)
    assert not again.failed
    assert len(again.results) == 2


@pytest.mark.usefixtures("forked_workers")
def test_damaged_files_are_made_again_and_said(ablation_file: Write, tmp_path: Path) -> None:
    out = AblationFolder(tmp_path / "out")
    config = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "one"}]}))
    before = ablate(config, out.path).results
    arm = out.arm(make_plan(config).arms[0].folder)
    sample = sorted(arm.samples.rglob("*.png"))[0]
    whole = {path: path.read_bytes() for path in (sample, out.case_table, sorted(out.cases.rglob("*.png"))[0])}
    cut = {path: content[:-30] for path, content in whole.items()}
    broken = {arm.scores: b"PAR1 nothing PAR1", out.plan: b"arms: [", out.results: b"garbage"}
    for damage in (cut, broken):
        for file, content in damage.items():
            file.write_bytes(content)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            pd.testing.assert_frame_equal(ablate(config, out.path).results, before)
        for file in damage.keys() - {out.results}:  # which is written on every call
            assert any(f"{file} is damaged" in str(each.message) for each in heard), file
    assert {path: path.read_bytes() for path in whole} == whole
    out.plan.write_text("arms: [")
    other = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "two"}]}))
    with pytest.raises(InputError, match=r"plan.yaml is damaged, and other arms lie beside it"):
        ablate(other, out.path)


def test_mistakes_are_found_before_anything_is_written(ablation_file: Write, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"nowhere: no such folder, no bundle \(microworld\)"):
        ablate(load_ablation(ablation_file({"baselines": ["nowhere"]})), out)
    with pytest.raises(InputError, match=r"no executor named 'locl'\. Did you mean local"):
        ablate(load_ablation(ablation_file()), out, executor="locl")
    with pytest.raises(InputError, match="base would be called base like another arm"):
        ablate(load_ablation(ablation_file({"axes": {}, "arms": [{}], "baselines": ["base"]})), out)
    with pytest.raises(InputError, match=r"has no suite nowhere; there are"):
        ablate(load_ablation(ablation_file(), ["evaluation.suites=[nowhere]"]), out)
    assert not out.exists()


def test_two_ablations_in_one_folder(ablation_file: Write, tmp_path: Path) -> None:
    with Run(tmp_path / "out").locked(), pytest.raises(InputError, match="is in use by process"):
        ablate(load_ablation(ablation_file()), tmp_path / "out")


def kill_group(pid: int) -> None:
    """The ablation and its workers."""
    os.killpg(pid, signal.SIGKILL)


def kill_parent(pid: int) -> None:
    """The ablation alone: its workers notice and end, and whoever resumes waits for them."""
    os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_killed_hard_and_resumed_gives_the_same_results(
    ablation_file: Write, tmp_path: Path, kill: Callable[[int], None]
) -> None:
    file = ablation_file(steps=8)
    config = load_ablation(file)
    straight = ablate(config, tmp_path / "straight").results
    assert len(straight) == 2 * 2
    out = tmp_path / "killed"
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path; from dynaip.config import load_ablation; from dynaip.ablation.execute import ablate;"
        f"ablate(load_ablation({str(file)!r}), Path({str(out)!r}))"
    )
    process = Forked([sys.executable, str(script)], start_new_session=True)  # its workers start anew
    deadline = time.monotonic() + 120
    while not list(out.glob("trainings/*/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill(process.pid)
    process.wait()
    assert not (out / "results.csv").exists()
    resumed = ablate(config, out)
    assert not resumed.failed
    pd.testing.assert_frame_equal(resumed.results, straight)


def workers_of(out: Path) -> list[int]:
    """Processes that work on an ablation."""
    found = subprocess.run(["pgrep", "-f", f"dynaip.ablation {out}"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_ablation_that_ends_in_its_first_second_leaves_no_worker(
    ablation_file: Write, tmp_path: Path, number: signal.Signals
) -> None:
    """The workers are still importing; SIGTERM is passed on and ends as "resume me", SIGKILL cannot be."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dynaip.cli", "ablate", str(ablation_file()), "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not workers_of(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(60) == (75 if number == signal.SIGTERM else -number)
    deadline = time.monotonic() + 30
    while (left := workers_of(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def test_an_arm_that_is_killed_names_the_signal(ablation_file: Write, tmp_path: Path) -> None:
    out = AblationFolder(tmp_path / "out")
    config = load_ablation(ablation_file({"axes": {}, "arms": [{"name": "one"}]}))

    def kill(name: str, what: str) -> None:
        if what == "started":
            os.kill(workers_of(out.path)[0], signal.SIGKILL)

    [(name, why)] = ablate(config, out.path, on_change=kill).failed.items()
    assert "killed by SIGKILL" in why
    assert out.arm(name).error() == why
