"""When a run may go on, and when it is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dynaip.adapter.files import CONFIG, WEIGHTS
from dynaip.errors import InputError
from dynaip.runs import Run
from dynaip.training import checkpoints
from dynaip.training.checkpoints import Checkpoint
from dynaip.training.resume import check_folder, finished, note_trained


@pytest.mark.parametrize("step", [6, 1_000_006])
def test_a_run_is_finished_with_the_adapter_of_its_newest_checkpoint(tmp_path: Path, step: int) -> None:
    run = Run(tmp_path)
    assert not finished(run, 6)
    older, newest = ({"w": torch.full((3,), value)} for value in (1.0, 2.0))
    checkpoints.save(run.checkpoints, Checkpoint(step, newest, {}, {}), keep=2)
    (run.checkpoints / "step-by-step").mkdir()
    assert not finished(run, 6), "there is no adapter"
    run.adapter.mkdir()
    (run.adapter / CONFIG).write_text("{}")
    for weights, right in ((older, False), (newest | {"v": torch.ones(1)}, False), (newest, True)):
        save_file(weights, run.adapter / WEIGHTS)
        assert finished(run, 6) is right
    assert not finished(run, 2_000_000)
    for name, data in ((WEIGHTS, b"torn"), (CONFIG, b'{"format')):
        whole = (run.adapter / name).read_bytes()
        (run.adapter / name).write_bytes(data)
        assert not finished(run, 6), f"{name} is damaged"
        (run.adapter / name).write_bytes(whole)


def test_an_adapter_whose_steps_were_noted_needs_no_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.adapter.mkdir()
    (run.adapter / CONFIG).write_text("{}")
    save_file({"w": torch.ones(3)}, run.adapter / WEIGHTS)
    assert not finished(run, 6)
    note_trained(run, 6)
    assert finished(run, 6)
    assert not finished(run, 7)
    checkpoints.save(run.checkpoints, Checkpoint(8, {"w": torch.zeros(3)}, {}, {}), keep=2)
    assert not finished(run, 6), "it was trained on since"
    save_file({"w": torch.zeros(3)}, run.adapter / WEIGHTS)
    assert finished(run, 8), "and these are the newest weights"
    for text in ("", "[]", "{}", '{"steps": 9}', '{"steps": 9, "adapter": "other"}'):
        run.trained.write_text(text)
        assert not finished(run, 9)


@pytest.mark.parametrize("name", ["checkpoints/step-000012", "checkpoints", "adapter", "samples"])
def test_a_file_where_a_folder_has_to_be_is_named(tmp_path: Path, experiment: Any, name: str) -> None:
    run, config = Run(tmp_path), experiment()
    run.prepare(config.to_yaml())
    check_folder(run, config, resume=True)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is a file") as caught:
        check_folder(run, config, resume=True)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "quarantine.jsonl"])
def test_a_folder_where_a_file_has_to_be_is_named(tmp_path: Path, experiment: Any, name: str) -> None:
    run, config = Run(tmp_path), experiment()
    run.prepare(config.to_yaml())
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is a folder"):
        check_folder(run, config, resume=True)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"training: [", b"just words"])
def test_a_damaged_config_of_a_run_is_one_line_that_names_it(tmp_path: Path, experiment: Any, text: bytes) -> None:
    run, config = Run(tmp_path), experiment()
    run.prepare(config.to_yaml())
    run.config.write_bytes(text)
    with pytest.raises(InputError, match=r"config\.yaml") as caught:
        check_folder(run, config, resume=True)
    assert "\n" not in str(caught.value)


def test_the_plugin_files_that_a_run_names_are_not_loaded(tmp_path: Path, experiment: Any) -> None:
    run, config = Run(tmp_path), experiment()
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    run.prepare(config.to_yaml().replace("plugins: []", f"plugins: [{evil}]"))
    assert str(evil) in run.config.read_text()
    with pytest.raises(InputError, match="--plugin"):
        check_folder(run, config, resume=True)
    assert not (tmp_path / "mark").exists()


def test_how_pairs_are_kept_may_change(tmp_path: Path, experiment: Any) -> None:
    run = Run(tmp_path)
    run.prepare(experiment().to_yaml())
    small = {"steps": 9, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "log_every": 1}
    check_folder(run, experiment(training=small | {"cache": False, "cache_size": 7, "workers": 2}), resume=True)
    with pytest.raises(InputError, match=r"training\.batch_size was 4 and is now 5"):
        check_folder(run, experiment(training=small | {"batch_size": 5}), resume=True)
