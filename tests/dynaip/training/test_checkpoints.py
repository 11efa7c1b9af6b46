"""Checkpoints under faults: killed at any write, damaged, a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from dynaip.errors import DynaIPError
from dynaip.training import checkpoints
from dynaip.training.checkpoints import Checkpoint


def made(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": torch.full((4, 3), float(step))}, {"0.exp_avg": torch.ones(4)}, {"skipped": step})


def steps(root: Path) -> list[int]:
    return [checkpoints.step_of(folder) for folder in checkpoints.found(root)]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, made(5), keep=2)
    back = checkpoints.latest(tmp_path, warn=pytest.fail)
    assert back is not None
    assert (back.step, back.state["skipped"]) == (5, 5)
    assert torch.equal(back.adapter["w"], torch.full((4, 3), 5.0))
    assert torch.equal(back.optimizer["0.exp_avg"], torch.ones(4))


def test_the_oldest_go_and_two_stay_at_least(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path, made(step), keep=1)
    assert steps(tmp_path) == [3, 4]


def test_steps_beyond_six_digits_are_in_order(tmp_path: Path) -> None:
    for step in (999_998, 999_999, 1_000_000):
        checkpoints.save(tmp_path, made(step), keep=2)
    assert steps(tmp_path) == [999_999, 1_000_000]


def test_pruning_comes_after_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, made(step), keep=2)
    monkeypatch.setattr(checkpoints, "prune", lambda root, keep: os._exit(3))  # pyright: ignore
    assert exit_code(lambda: checkpoints.save(tmp_path, made(3), keep=2)) == 3
    assert steps(tmp_path) == [1, 2, 3]


def exit_code(action: Callable[[], Any]) -> int:
    """Do something in a forked process and give its exit code."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


OPERATIONS = ("mkdir", "write", "fsync", "replace", "rmtree")


def killed_at(number: int, root: Path) -> Callable[[], None]:
    return lambda: _killed_at(number, root)


def _killed_at(number: int, root: Path) -> None:
    """Save step 3, but die without any clean-up at the operation of that number; writes are cut in half first."""
    count = 0

    def deadly(real: Callable[..., Any], *, half: bool = False) -> Callable[..., Any]:
        def operate(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count < number:
                return real(*args, **kwargs)
            if half:
                real(*args, **kwargs)
                path = Path(args[0] if isinstance(args[0], Path) else args[1])
                os.truncate(path, path.stat().st_size // 2)
            os._exit(9)

        return operate

    checkpoints.save_file = deadly(checkpoints.save_file, half=True)
    Path.write_text = deadly(Path.write_text, half=True)  # pyright: ignore
    Path.mkdir = deadly(Path.mkdir)  # pyright: ignore
    for module, name in ((os, "fsync"), (os, "replace"), (checkpoints.shutil, "rmtree")):
        setattr(module, name, deadly(getattr(module, name)))
    checkpoints.save(root, made(3), keep=2)


def test_killed_at_any_operation_the_last_complete_one_loads(tmp_path: Path) -> None:
    codes: list[int] = []
    while not codes or codes[-1] == 9:
        root = tmp_path / str(len(codes))
        for step in (1, 2):
            checkpoints.save(root, made(step), keep=2)
        codes.append(exit_code(killed_at(len(codes) + 1, root)))
        back = checkpoints.latest(root, warn=pytest.fail)
        assert back is not None
        assert back.step in (2, 3)
        assert float(back.adapter["w"][0, 0]) == back.step
        checkpoints.save(root, made(4), keep=2)
        assert not list(root.glob(".*")), "what was broken off is cleaned up by the next commit"
    assert codes[-1] == 0
    assert len(codes) > 12, "every write, sync, rename and removal was tried"


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def emptied(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, zeroed, flipped, emptied])
@pytest.mark.parametrize("name", [*checkpoints.FILES, checkpoints.MANIFEST])
def test_damage_is_refused_and_the_one_before_used(tmp_path: Path, name: str, damage: Any) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path, made(step), keep=2)
    file = tmp_path / "step-000002" / name
    file.write_bytes(damage(file.read_bytes()))
    said: list[str] = []
    back = checkpoints.latest(tmp_path, warn=said.append)
    assert back is not None
    assert back.step == 1
    assert len(said) == 1
    assert "step-000002" in said[0]
    assert said[0].endswith("the one before is used")


def test_with_every_checkpoint_damaged_training_begins_anew_and_says_so(tmp_path: Path) -> None:
    for step in (1, 2):
        file = checkpoints.save(tmp_path, made(step), keep=2) / checkpoints.OPTIMIZER
        file.write_bytes(flipped(file.read_bytes()))
    said: list[str] = []
    assert checkpoints.latest(tmp_path, warn=said.append) is None
    assert [line.rpartition("; ")[2] for line in said] == [
        "the one before is used", "none is left, so training begins at step 0"
    ]  # fmt: skip


@pytest.mark.parametrize("manifest", ["{}", "[]", "null", '"text"'])
def test_a_manifest_that_vouches_for_nothing_is_refused(tmp_path: Path, manifest: str) -> None:
    folder = checkpoints.save(tmp_path, made(1), keep=2)
    (folder / checkpoints.MANIFEST).write_text(manifest)
    with pytest.raises(DynaIPError, match="cannot be read"):
        checkpoints.load(folder)


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.save(tmp_path, made(1), keep=2)
    (folder / checkpoints.OPTIMIZER).unlink()
    with pytest.raises(DynaIPError, match="cannot be read"):
        checkpoints.load(folder)


def test_refused_ones_are_not_counted_by_pruning(tmp_path: Path) -> None:
    for step in (1, 2, 9):
        checkpoints.save(tmp_path, made(step), keep=3)
    (tmp_path / "step-000009" / checkpoints.MANIFEST).write_text("{}")
    checkpoints.set_aside(tmp_path, 2)
    checkpoints.save(tmp_path, made(3), keep=2)
    assert steps(tmp_path) == [2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def full_in_python(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_in_rust(*args: Any, **kwargs: Any) -> Any:
    """What safetensors raises on a full disk (seen on a small tmpfs)."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("where", "name", "full"),
    [
        (checkpoints, "save_file", full_in_rust),
        (Path, "write_text", full_in_python),
        (os, "fsync", full_in_python),
        (Path, "mkdir", full_in_python),
        (os, "replace", full_in_python),
    ],
)
def test_a_full_disk_leaves_the_old_one_and_says_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, full: Any
) -> None:
    checkpoints.save(tmp_path, made(1), keep=2)
    big = Checkpoint(2, {"w": torch.zeros(500_000)}, {"0.m": torch.zeros(250_000)}, {})
    with monkeypatch.context() as patch:
        patch.setattr(where, name, full)
        with pytest.raises(DynaIPError, match=r"the disk is full; a checkpoint needs 3\.0 MB") as caught:
            checkpoints.save(tmp_path, big, keep=2)
    assert "\n" not in str(caught.value)
    assert steps(tmp_path) == [1]
    assert not list(tmp_path.glob(".*"))
    assert checkpoints.load(tmp_path / "step-000001").step == 1


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken disk"):
        checkpoints.save(tmp_path, made(1), keep=2)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    folder = checkpoints.save(tmp_path, made(1), keep=2)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / checkpoints.STATE).read_text())["step"] == 1


def test_an_optimizer_comes_back_bit_for_bit(tmp_path: Path) -> None:
    def stepped(optimizer: torch.optim.AdamW, weight: torch.Tensor, times: int) -> None:
        for time in range(times):
            weight.grad = torch.full_like(weight, 0.1 * (time + 1))
            optimizer.step()

    first = torch.nn.Parameter(torch.ones(3))
    one = torch.optim.AdamW([first], lr=0.1)
    stepped(one, first, 3)
    second = torch.nn.Parameter(first.detach().clone())
    other = torch.optim.AdamW([second], lr=0.1)
    folder = checkpoints.save(tmp_path, Checkpoint(3, {"w": first}, checkpoints.optimizer_tensors(one), {}), keep=2)
    checkpoints.restore_optimizer(other, checkpoints.load(folder).optimizer)
    stepped(one, first, 2)
    stepped(other, second, 2)
    assert torch.equal(first, second)
