"""How a run is evaluated: an imported adapter has no config, so everything is named."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dynaip.cli.app import main
from dynaip.config import load_experiment
from dynaip.errors import InputError
from dynaip.evaluation.runs import evaluation_of, options_of


def test_a_run_without_config_needs_benchmark_and_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not say how it is evaluated: add --metric NAME$"):
        evaluation_of(tmp_path, {"benchmark": "microworld"})
    with pytest.raises(InputError, match=r"add --benchmark NAME and --metric NAME$"):
        evaluation_of(tmp_path, {})
    found = evaluation_of(
        tmp_path, {"benchmark": "microworld", "limit": 3}, ["evaluation.metrics=[{use: oracle}]", "evaluation.seed=4"]
    )
    assert (found.benchmark.name, [each.name for each in found.metrics], found.limit, found.seed) == (
        "microworld",
        ["oracle"],
        3,
        4,
    )
    with pytest.raises(InputError, match=r"no benchmark named 'microwold'\. Did you mean microworld"):
        evaluation_of("microworld", {"benchmark": "microwold"})
    with pytest.raises(InputError, match="metrics"):
        evaluation_of(tmp_path, {"benchmark": "microworld"}, ["evaluation.metrics=[]"])


def test_options_of_generation_are_those_of_the_runs_own_config(tmp_path: Path) -> None:
    assert options_of(tmp_path) == {}
    config = load_experiment("microworld/dynaip", ["evaluation.options={num_inference_steps: 7, true_cfg_scale: 1.5}"])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert options_of(tmp_path) == {"num_inference_steps": 7, "true_cfg_scale": 1.5}
    (tmp_path / "config.yaml").write_text(load_experiment("microworld/dynaip", ["evaluation=null"]).to_yaml())
    assert options_of(tmp_path) == {}


DAMAGED = (
    "",
    "training: [",
    "just words",
    "backbone: flux",
    "training: {steps: 6}",
    "\x00",
    "evaluation: {options: 3}",
)
COMMANDS = (["generate", "RUN", "a star"], ["evaluate", "RUN"], ["analyze", "RUN", "routing"])


@pytest.mark.parametrize(
    ("command", "text"),
    [*product(COMMANDS, DAMAGED), (COMMANDS[1], f"a: {'[' * 3000}")],
)
def test_a_damaged_config_of_a_run_is_refused_in_one_line(
    tmp_path: Path, text: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert main([str(tmp_path) if each == "RUN" else each for each in command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "config.yaml" in error


@pytest.fixture
def run(experiment: Callable[..., Any], tmp_path: Path) -> Path:
    """A run whose config says nothing of an evaluation."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(experiment().to_yaml())
    return tmp_path / "run"


GIVEN: list[tuple[dict[str, Any], list[str]]] = [
    ({"benchmark": "microworld", "metrics": ["oracle"]}, []),
    ({"benchmark": "microworld"}, ["evaluation.metrics=[oracle]"]),
    ({"metrics": ["oracle"]}, ["evaluation.benchmark=microworld"]),
    ({}, ["evaluation.benchmark=microworld", "evaluation.metrics=[oracle]"]),
    ({}, ["evaluation={benchmark: microworld, metrics: [oracle]}"]),
    ({"benchmark": "builtin:microworld", "metrics": ["builtin:oracle"], "limit": None}, []),
]


@pytest.mark.parametrize(("given", "overrides"), GIVEN)
def test_flags_and_overrides_name_what_a_run_does_not(run: Path, given: dict[str, Any], overrides: list[str]) -> None:
    found = evaluation_of(
        run, {**given, "seed": 3}, [*overrides, "evaluation.benchmark.single=7", "evaluation.limit=2"]
    )
    assert found.benchmark.dump()["single"] == 7
    assert [spec.use for spec in found.metrics] == ["builtin:oracle"]
    assert (found.seed, found.limit, found.suites) == (3, 2, None)


def test_what_a_run_names_itself_keeps_its_options() -> None:
    found = evaluation_of("microworld", {"metrics": ["clip"]})
    assert [spec.dump()["model"] for spec in found.metrics] == ["microworld"]
    assert evaluation_of("microworld", {"benchmark": "microworld"}) == evaluation_of("microworld", {})
    assert evaluation_of("microworld", {}, ["evaluation.suites=[multi4]"]).suites == ["multi4"]


def test_what_would_change_no_evaluation_is_refused(run: Path) -> None:
    for text in ("training.steps=3", "fusion=concat", "limit=3"):
        with pytest.raises(InputError, match=r"write -s evaluation\.NAME=VALUE"):
            evaluation_of(run, {"benchmark": "microworld", "metrics": ["oracle"]}, [text])
