"""How a run is evaluated: an imported adapter has no config, so everything is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.cli.app import main
from dynaip.config import load_experiment
from dynaip.errors import InputError
from dynaip.evaluation.runs import evaluation_of, options_of


def test_a_run_without_config_needs_benchmark_and_metrics(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="benchmark and metrics have to be named"):
        evaluation_of(tmp_path, {"benchmark": "microworld"})
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "training: [",
        "just words",
        "backbone: flux",
        "training: {steps: 6}",
        "\x00",
        f"a: {'[' * 3000}",
        "evaluation: {options: 3}",
    ],
)
@pytest.mark.parametrize("command", [["generate", "RUN", "a star"], ["evaluate", "RUN"], ["analyze", "RUN", "routing"]])
def test_a_damaged_config_of_a_run_is_refused_in_one_line(
    tmp_path: Path, text: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert main([str(tmp_path) if each == "RUN" else each for each in command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "config.yaml" in error
