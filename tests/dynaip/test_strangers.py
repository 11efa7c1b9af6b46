"""A stranger's run executes nothing: a plugin file that leaves a mark lies beside it, and every way in is tried."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import dynaip
import dynaip.registry
from dynaip.adapter.model import DynaIP
from dynaip.cli.app import main
from dynaip.config import load_experiment
from dynaip.models import local_folder
from dynaip.registry import Registry

MARK = "the-file-was-run"
EVIL = f"""
from pathlib import Path
from dynaip.registry import hookimpl

Path(__file__).with_name("{MARK}").touch()

@hookimpl
def dynaip_components():
    return []
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that works, but for the plugin file that its config names."""
    monkeypatch.setattr(dynaip.registry, "_current", [Registry()])
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "stranger"
    shutil.copytree(local_folder("microworld", "adapter"), folder / "adapter")
    (folder / "evil.py").write_text(EVIL)
    config = load_experiment("microworld/dynaip", ["evaluation.limit=1", "evaluation.suites=[single]"]).resolved()
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"plugins": ["evil.py"]}))
    return folder


def ran(folder: Path) -> bool:
    return bool(list(folder.rglob(MARK)))


RUNS = [
    ["generate", "RUN", "a star on a beach", "--steps", "1"],
    ["evaluate", "RUN"],
    ["analyze", "RUN", "routing"],
    ["train", "microworld/dynaip", "-o", "RUN", "--resume"],
]
WAYS = [(each, hub) for each in RUNS for hub in (False, True) if not (hub and each[0] == "train")]


@pytest.mark.parametrize(("arguments", "hub"), WAYS, ids=lambda way: way[0] if isinstance(way, list) else f"hub={way}")
def test_a_run_that_names_plugin_files_is_refused_and_they_are_not_run(
    stranger: Path, arguments: list[str], hub: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(stranger))
    run = "somebody/adapter" if hub else str(stranger)
    assert main([run if each == "RUN" else each for each in arguments]) == 2
    assert not ran(stranger)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--plugin {stranger / 'evil.py'}" in error


def test_an_adapter_is_loaded_without_a_look_at_what_lies_beside(stranger: Path) -> None:
    DynaIP.from_pretrained(stranger)
    assert not ran(stranger)


def test_a_run_that_training_starts_from_is_not_run(stranger: Path, tmp_path: Path) -> None:
    size = ["-s", "training.steps=1", "-s", "training.batch_size=1", "-s", f"training.initial={stranger}"]
    assert main(["train", "microworld/dynaip", *size, "-o", str(tmp_path / "own")]) == 0
    assert not ran(stranger)


def test_neither_an_ablation_nor_its_report_runs_what_a_baseline_names(stranger: Path, tmp_path: Path) -> None:
    ablation = {
        "base": "microworld/dynaip",
        "axes": {"training.seed": [0]},
        "baselines": [str(stranger)],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(ablation))
    assert main(["ablate", "own.yaml", "--limit", "1", "-s", "training.steps=1", "-o", "out"]) == 2
    assert not ran(stranger)


def test_a_report_runs_nothing_that_an_ablation_names(stranger: Path, tmp_path: Path) -> None:
    arm = tmp_path / "out" / "arms" / "one-0123"
    shutil.copytree(stranger, arm)
    plan = {"name": "x", "arms": [{"name": "one", "folder": "one-0123"}], "plugins": ["arms/one-0123/evil.py"]}
    (tmp_path / "out" / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert main(["report", "out"]) == 0
    assert not ran(tmp_path)


def test_an_import_runs_nothing_beside_the_file(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(stranger / "adapter" / "adapter.safetensors"), "--from", "xlabs", "-o", "own"]) == 2
    assert not ran(stranger)


Named = Callable[[Path], list[str]]


@pytest.mark.parametrize(
    "arguments",
    [
        lambda folder: ["generate", str(folder), "a star", "--steps", "1", "--plugin", str(folder / "evil.py")],
        lambda folder: ["check", str(folder / "config.yaml")],
    ],
    ids=["named on the command line", "named in a config that is given as one"],
)
def test_what_the_user_names_is_run(stranger: Path, arguments: Named) -> None:
    assert main(arguments(stranger)) == 0
    assert ran(stranger)
