"""Values of the page: looks, durations, stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dynaip.registry import registry
from dynaip.report.directory import AblationDirectory
from dynaip.report.view import duration, flatten, looks, parts, stages, suites


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (4.25, "4.2 s"), (42.4, "42 s"), (185, "3 min 5 s"), (4321, "1 h 12 min")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_baselines_look_hollow_and_grey(finished: Path) -> None:
    found = looks(AblationDirectory.read(finished).arms)
    assert found["base"].baseline
    assert found["base"].colour == found["microworld"].colour
    assert len({look.colour for look in found.values() if not look.baseline}) == 5


def test_rows_are_ordered_with_baselines_last(finished: Path) -> None:
    single = suites(AblationDirectory.read(finished))[0]
    names = [row.arm for row in single.rows]
    assert names == ["hmoe-dynamic", "concat-dynamic", "hmoe-coupled", "concat-coupled", "microworld", "base"]
    assert single.rows[0].best
    assert single.rows[0].cases == 40


def test_stages_name_the_arms_that_a_training_serves(ablation: Path) -> None:
    plan = yaml.safe_load((ablation / "plan.yaml").read_text())
    for arm in plan["arms"][:2]:
        arm["training"] = "aaa"
    (ablation / "plan.yaml").write_text(yaml.safe_dump(plan))
    timings = {"trainings": {"aaa": 125.0, "bbb": None}, "arms": {"x": 1.0}, "total": 200.0}
    (ablation / "timings.json").write_text(json.dumps(timings))
    found = dict(stages(AblationDirectory.read(ablation)))
    assert found["training for hmoe-dynamic, hmoe-coupled"] == 125.0
    assert found["total"] == 200.0
    assert not any("arms" in name for name in found)


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": ["x", 3]}) == [("a · b", 1), ("a · c · d", 2), ("e", "x 3")]


def test_suites_say_how_many_subjects_their_scenes_have(finished: Path) -> None:
    assert [suite.subjects for suite in suites(AblationDirectory.read(finished))] == [
        "1 subject a scene",
        "2 subjects a scene",
    ]


def test_the_parts_of_the_arms_are_told_in_the_registrys_words(small: Path) -> None:
    for name, fusion in (("hmoe-dynamic", {"use": "builtin:hmoe"}), ("concat-coupled", "elsewhere:gone")):
        file = next((small / "arms").glob(f"{name}-*")) / "config.yaml"
        file.write_text(yaml.safe_dump({"fusion": fusion, "decoupling": "builtin:dynamic"}))
    for name in ("hmoe-coupled", "concat-dynamic"):
        (next((small / "arms").glob(f"{name}-*")) / "config.yaml").write_text("training: {steps: 300}")
    found = parts(AblationDirectory.read(small))
    assert [(part.name, part.role) for part in found] == [
        ("hmoe", "a fusion strategy"),
        ("dynamic", "a decoupling policy"),
    ]
    assert found[0].summary == registry().find("fusion", "hmoe").component.summary
