"""``dynaip train``: what it prints, where it writes, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.cli.app import main
from dynaip.config import load_experiment


@pytest.fixture
def tiny(experiment: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config file of a tiny experiment; the working directory is the test's own."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tiny.yaml"
    file.write_text(experiment(training={"steps": 2, "batch_size": 2, "log_every": 1}).to_yaml())
    return file


def test_trains_into_a_folder_named_after_the_config(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_experiment(tiny, ["training.seed=4"])
    folder = Path("runs") / f"tiny-{config.hash()}"
    absent = ["-s", "encoder.model=/nowhere/clip"]
    assert main(["train", str(tiny), "--seed", "4", "--run", str(folder), *absent]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main(["train", str(tiny), "--seed", "4"]) == 0, "the folder can be used once the config is mended"
    said = capsys.readouterr()
    assert f"adapter: {folder / 'adapter'}" in said.out
    assert load_experiment(folder / "config.yaml") == config
    for name in ("environment.json", "metrics.jsonl", "adapter/adapter.safetensors", "adapter/config.json"):
        assert (folder / name).is_file()
    assert main(["train", str(tiny), "--seed", "4"]) == 2
    refused = capsys.readouterr().err
    assert len(refused.strip().splitlines()) == 1
    assert "--resume" in refused
    assert main(["train", str(tiny), "--seed", "4", "--resume"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_stopped_training_exits_with_75(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynaip.errors import Interrupted
    from dynaip.training import trainer

    def stopped(*args: Any, **kwargs: Any) -> None:
        raise Interrupted("stopped at step 3; go on with --resume")

    monkeypatch.setattr(trainer, "train", stopped)
    assert main(["train", str(tiny)]) == 75
    assert "stopped at step 3; go on with --resume" in capsys.readouterr().err


def test_a_wrong_override_is_one_line(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tiny), "-s", "training.stepz=3"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "steps" in said
    assert not Path("runs").exists()
