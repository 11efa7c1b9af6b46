"""Killed at any moment of encoding and of training, and gone on with: nothing is lost, and nothing is another bit.

``DYNAIP_KILLS=20`` kills as often; each kill is told with ``-s``. It is run by hand: copies are forked from a process whose torch
has threads, which may end one by a fault of its own. What every run of the tests kills is started anew (``test_killed.py``).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from dynaip.encodings.folder import collections
from dynaip.training.prepare import encode_pairs
from dynaip.training.trainer import train as train_config

KILLS = int(os.environ.get("DYNAIP_KILLS", "0"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KILLS, reason="DYNAIP_KILLS=20 kills twenty times"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, so that twenty start in no time"),
]

STEPS = max(24, 5 * KILLS)
PAIRS = 32 * max(2, KILLS)


def killed(work: Callable[[], Any], done: Callable[[], int], chance: random.Random) -> bool:
    """Kill a copy of this process at random while it works: so many marks after it began, and a moment later."""
    process = multiprocessing.get_context("fork").Process(target=work)
    marks, moment, end = done() + chance.randrange(4), chance.random() * 0.15, time.monotonic() + 240
    process.start()
    while process.is_alive() and done() < marks and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(moment)
    process.kill()  # nothing where it has ended by itself
    process.join()
    print(f"killed after {marks} marks and {1000 * moment:.0f} ms: {done()} are there")
    assert process.exitcode in (-signal.SIGKILL, 0)
    return process.exitcode != 0


def test_killed_at_random_moments_and_gone_on_with(
    experiment: Callable[..., Any], tmp_path: Path, same_weights: Any, lines: Callable[[Path], list[dict[str, Any]]]
) -> None:
    """Half of the kills meet the encoding, half the training that reads what it left; both end as an undisturbed pair does."""
    seed = random.SystemRandom().randrange(10_000) if KILLS > 2 else 7
    chance, run = random.Random(seed), tmp_path / "run"
    print(f"seed {seed}")

    def config(folder: str) -> Any:
        training = {
            "steps": STEPS, "batch_size": 2, "learning_rate": 1e-3, "checkpoint_every": 1, "log_every": 1,
            "cache": "disk", "cache_folder": str(tmp_path / folder), "validation": {"pairs": 2, "every": 7},
        }  # fmt: skip
        return experiment(training=training, source={"use": "microworld", "size": PAIRS, "pixels": 64})

    broken, whole = config("encodings"), config("others")
    encoding = sum(
        killed(
            lambda: encode_pairs(broken, warn=print),
            lambda: sum(one.shards for one in collections(tmp_path / "encodings")), chance,
        )
        for _ in range(KILLS // 2)
    )  # fmt: skip
    made = encode_pairs(broken, warn=print)
    again = encode_pairs(whole, warn=print)
    assert made.made <= again.made == made.blocks
    assert contents(tmp_path / "encodings") == contents(tmp_path / "others")

    training = sum(
        killed(
            lambda: train_config(broken, run, resume=run.exists(), warn=print),
            lambda: max((int(each.name[5:]) for each in run.glob("checkpoints/step-*")), default=0), chance,
        )
        for _ in range(KILLS - KILLS // 2)
    )  # fmt: skip
    train_config(broken, run, resume=run.exists(), warn=print)
    straight = train_config(whole, tmp_path / "straight", warn=print)
    assert same_weights(straight, run)
    assert lines(run / "samples.jsonl") == lines(straight / "samples.jsonl")
    told = [[(each["step"], each["loss"], each.get("validation_loss")) for each in lines(folder / "metrics.jsonl")]
            for folder in (run, straight)]  # fmt: skip
    assert told[0] == told[1]
    print(json.dumps({"seed": seed, "killed while encoding": encoding, "killed while training": training}))


def contents(folder: Path) -> dict[str, Any]:
    """What shards hold; the order of what their headers say is chance."""
    found: dict[str, Any] = {}
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "np") as shard:
            tensors = {name: shard.get_tensor(name).tobytes() for name in shard.keys()}  # noqa: SIM118
            found[file.relative_to(folder).as_posix()] = (shard.metadata(), tensors)
    return found
