"""What an ablation left, from its files alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dynaip.ablation.execute import why_crashed
from dynaip.ablation.folder import FAILED, FINISHED, WAITING, AblationFolder
from dynaip.ablation.plan import Plan, make_plan
from dynaip.ablation.results import collect, failed, timings
from dynaip.atomic import write_json, write_table
from dynaip.config import load_ablation


@pytest.fixture
def plan(ablation_file: Callable[..., Path]) -> Plan:
    return make_plan(load_ablation(ablation_file({"baselines": ["base"]})))


def test_arms_with_other_metrics_keep_their_columns(plan: Plan, tmp_path: Path) -> None:
    folder = AblationFolder(tmp_path)
    one, two, base = (folder.arm(arm.folder) for arm in plan.arms)
    row = {"suite": "single", "seed": 0}
    write_table(one.scores, pd.DataFrame([{"case": "a", **row, "leak": 0.5, "pf": 0.5, "cp": 0.2},
                                          {"case": "b", **row, "leak": 0.1, "pf": 1.0, "cp": 0.4}]))  # fmt: skip
    write_table(two.scores, pd.DataFrame([{"case": "a", **row, "sharpness": 3.0}]))
    one.mark(FINISHED)
    two.mark(FINISHED)
    base.mark(FAILED, error="out\nof memory")
    table = collect(plan, folder)
    assert list(table.columns) == ["arm", "seed", "suite", "n", "cp", "pf", "cp_pf", "mean_cp_pf", "leak", "sharpness"]
    assert table["cp_pf"].tolist()[0] == pytest.approx(0.3 * 0.75)
    assert table["mean_cp_pf"].tolist()[0] == pytest.approx((0.1 + 0.4) / 2)
    assert table["n"].tolist() == [2, 1]
    assert failed(plan, folder) == {plan.arms[2].folder: "out of memory"}
    base.mark(WAITING)
    assert failed(plan, folder) == {plan.arms[2].folder: "it is waiting"}


def test_timings_go_on_from_earlier_calls(plan: Plan, tmp_path: Path) -> None:
    folder = AblationFolder(tmp_path)
    training = folder.training(plan.trainings[0].hash)
    training.path.mkdir(parents=True)
    training.metrics.write_text('{"step": 1, "seconds": 2.04}\n{"step": 2, "seconds": 7.26}\n{"step"')
    folder.arm(plan.arms[0].folder).mark(FINISHED, seconds=3.5)
    folder.arm(plan.arms[1].folder).mark(FINISHED, seconds="soon")
    found = timings(plan, folder, 10.0)
    assert found["trainings"] == {plan.trainings[0].hash: 7.3}
    assert list(found["arms"].values()) == [3.5, None, None]
    assert found["total"] == 10.0
    write_json(folder.timings, found)
    assert timings(plan, folder, 5.0)["total"] == 15.0
    folder.timings.write_text("{")
    assert timings(plan, folder, 5.0)["total"] == 5.0


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (-9, "", "the process was killed by SIGKILL, as the system does when memory runs out"),
        (137, "step 5\n", "by SIGKILL, as the system does when memory runs out; the last line of its log: step 5"),
        (-11, "", "the process was killed by SIGSEGV"),
        (1, "first\nlast\n\n", "last"),
        (3, "", "the process ended with exit code 3 and without a word"),
    ],
)  # fmt: skip
def test_why_a_worker_is_gone(tmp_path: Path, code: int, log: str, words: str) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert why_crashed(code, tmp_path / "log.txt").endswith(words)
    if log == "":
        assert why_crashed(code, tmp_path / "none.txt") == words
