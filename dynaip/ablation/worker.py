"""One process of an ablation: train one adapter, then evaluate every arm that it serves (or evaluate a baseline).

``python -m dynaip.ablation.worker DIRECTORY GROUP`` is what executors run; ``work`` does the same in this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

from dynaip.ablation.plan import BASE
from dynaip.atomic import write_text
from dynaip.config import EvaluationConfig, ExperimentConfig, load_experiment
from dynaip.errors import RESUME_ME, DynaIPError, Interrupted
from dynaip.quiet import quiet_libraries
from dynaip.registry import registry
from dynaip.suggest import one_line

GROUPS = "groups"
"""Folder with one JSON file a group: what a worker has to do."""


SCORES = "scores.parquet"
PARQUET_END = b"PAR1"
"""What a complete parquet file ends with."""


def work(directory: Path, group: str) -> int:
    """Do one group; give the exit code: 0 if all its arms have scores, 75 if it was asked to stop, 1 otherwise.

    Waits while a worker that outlived its ablation still holds the group, and then does what that one has left.
    """
    task = json.loads((directory / GROUPS / f"{group}.json").read_text(encoding="utf-8"))
    with _held(directory / GROUPS / f"{group}.lock"):
        arms = [arm for arm in task["arms"] if not finished(directory / "arms" / arm["folder"])]
        return _do(directory, task, arms) if arms else 0


@contextmanager
def _held(lock: Path) -> Generator[None]:
    """Hold a file's lock; the kernel lets go of it however this process ends."""
    with lock.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _do(directory: Path, task: Mapping[str, Any], arms: list[Mapping[str, Any]]) -> int:
    try:
        for file in task.get("plugins", ()):
            registry().load_file(file)
        if task["training"]:
            _train(directory, task["training"], int(task["steps"]))
    except Interrupted as error:
        _fail(directory, arms, str(error), "waiting")
        return RESUME_ME
    except DynaIPError as error:
        _fail(directory, arms, str(error))
        return 1
    except Exception as error:  # whatever breaks a training breaks its arms alone
        traceback.print_exc()
        _fail(directory, arms, one_line(error))
        return 1
    return _evaluate_all(directory, task, arms)


def _train(directory: Path, training: str, steps: int) -> None:
    from dynaip.training.trainer import Preparation, StepReport, train

    config = load_experiment(directory / "trainings" / f"{training}.yaml")

    def tell(report: StepReport | Preparation) -> None:
        if isinstance(report, StepReport) and report.step % 50 == 0:
            print(f"step {report.step}/{steps} loss {report.loss:.4f}", flush=True)

    train(config, directory / "trainings" / training, resume=True, on_progress=tell)


def _evaluate_all(directory: Path, task: Mapping[str, Any], arms: list[Mapping[str, Any]]) -> int:
    failed = 0
    shelf: dict[str, Any] = {}
    for arm in arms:
        folder = directory / "arms" / arm["folder"]
        started = time.monotonic()
        set_state(folder, "running")
        try:
            _evaluate(directory, task, arm, shelf)
            set_state(folder, "finished", seconds=round(time.monotonic() - started, 2), steps=_steps(task, arm, folder))
        except Exception as error:  # one arm never stops the others
            traceback.print_exc()
            set_state(folder, "failed", error=one_line(error) if not isinstance(error, DynaIPError) else str(error))
            failed += 1
    return 1 if failed else 0


def _evaluate(directory: Path, task: Mapping[str, Any], arm: Mapping[str, Any], shelf: dict[str, Any]) -> None:
    """Evaluate one arm as a run of its own: config, adapter with the arm's policy, samples, scores."""
    from dynaip.adapter.model import DynaIP
    from dynaip.evaluation.scoring import evaluate

    folder = directory / "arms" / arm["folder"]
    config = load_experiment(folder / "config.yaml")
    if task["training"]:
        lend_adapter(directory / "trainings" / task["training"] / "adapter", folder / "adapter", config)
    pipe, backbone = _pipeline(config, shelf, task)
    dyna = None
    if arm.get("run") != BASE:
        dyna = DynaIP.from_pretrained(arm.get("run") or folder).attach(pipe)
    try:
        print(f"evaluate {arm['name']}", flush=True)
        evaluate(cast(EvaluationConfig, config.evaluation), pipe, backbone, dyna, folder)
    finally:
        if dyna is not None:
            dyna.detach()


def _pipeline(config: ExperimentConfig, shelf: dict[str, Any], task: Mapping[str, Any]) -> Any:
    """Load the pipeline once for all arms of a group."""
    import torch

    if task.get("threads"):
        torch.set_num_threads(int(task["threads"]))
    if "pipe" not in shelf:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        shelf["backbone"] = registry().build(config.backbone)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        shelf["pipe"] = shelf["backbone"].load(device=device, dtype=dtype)
    return shelf["pipe"], shelf["backbone"]


def lend_adapter(trained: Path, folder: Path, config: ExperimentConfig) -> None:
    """Copy a trained adapter into an arm, with the arm's own decoupling policy in its config."""
    from dynaip.adapter.files import CONFIG, WEIGHTS

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(trained / WEIGHTS, folder / WEIGHTS)
    about = json.loads((trained / CONFIG).read_text(encoding="utf-8"))
    about["decoupling"] = config.decoupling.dump()
    write_text(folder / CONFIG, json.dumps(about, indent=2) + "\n")


def _steps(task: Mapping[str, Any], arm: Mapping[str, Any], folder: Path) -> int | None:
    """Training steps behind an arm; for a baseline adapter what its own config tells."""
    if task["training"]:
        return int(task["steps"])
    if arm.get("run") == BASE:
        return None
    from dynaip.models import local_folder

    file = local_folder(str(arm["run"]), "adapter") / "config.yaml"
    return load_experiment(file).training.steps if file.is_file() else None


def state(folder: Path) -> str:
    """State of an arm: finished, failed, running, waiting or missing."""
    try:
        return str(json.loads((folder / "status.json").read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError):
        return "missing"


def finished(folder: Path) -> bool:
    """Whether an arm has its scores; a damaged table counts as none, and is made again from the images."""
    if state(folder) != "finished" or not (folder / SCORES).is_file():
        return False
    with (folder / SCORES).open("rb") as table:
        table.seek(max(0, os.fstat(table.fileno()).st_size - len(PARQUET_END)))
        return table.read() == PARQUET_END


def set_state(folder: Path, name: str, **details: Any) -> None:
    """Write an arm's ``status.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "status.json", json.dumps({"state": name, **details}) + "\n")


def _fail(directory: Path, arms: list[Mapping[str, Any]], error: str, name: str = "failed") -> None:
    print(error, file=sys.stderr, flush=True)
    for arm in arms:
        set_state(directory / "arms" / arm["folder"], name, error=error)


def end_with_parent() -> None:
    """Ask this process to stop (as SIGTERM does) when the ablation that started it is gone, e.g. killed hard."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    quiet_libraries()
    end_with_parent()
    sys.exit(work(Path(sys.argv[1]), sys.argv[2]))
