"""Training steps with encodings on disk, in memory and made anew, and how fast a loader reads them; nothing fails here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip.config import load_experiment
from dynaip.encodings.store import EncodingStore
from dynaip.runs import Run
from dynaip.training.data import BatchOrder, PairDataset, Quarantine
from dynaip.training.loader import BLOCK, Encoded
from dynaip.training.progress import StepReport
from dynaip.training.stored import StoredLoader, taken_apart
from dynaip.training.trainer import Trainer
from tests.benchmarks.bench_times import ASSETS, measured, told

WARM, STEPS, WORKERS, BATCH = 6, 20, 4, 8
FLUX_PAIRS = 48


class Steps:
    """More and more steps of one adapter of microworld; those after the first few are timed by both clocks."""

    def __init__(self, folder: Path, **cache: Any) -> None:
        changes = [f"training.{name}={value}" for name, value in cache.items()]
        config = load_experiment("microworld/dynaip", ["source.size=256", f"training.batch_size={BATCH}", *changes])
        self.trainer = Trainer.of(config, Run(folder), warn=lambda line: None)
        self.trainer.run.prepare(config.to_yaml())
        self.walls = list[float]()
        """Seconds of a step by the clock on the wall, a value a round."""

    def __call__(self) -> float:
        """Seconds of the processor that a step takes in this process: what workers do beside it is not counted."""
        trainer, ticks = self.trainer, list[tuple[float, float]]()
        settings = trainer.config.training.model_copy(update={"steps": trainer.step + WARM + STEPS})
        trainer.config = trainer.config.model_copy(update={"training": settings})
        first = trainer.step

        def tick(report: Any) -> None:
            if isinstance(report, StepReport):
                ticks.append((time.process_time(), time.perf_counter()))

        trainer.fit(tick)
        assert trainer.step == first + WARM + STEPS
        processor, wall = ((last - warm) / STEPS for warm, last in zip(ticks[WARM - 1], ticks[-1], strict=True))
        self.walls.append(wall)
        return processor


@pytest.mark.skipif(not (ASSETS / "adapter").is_dir(), reason="no trained models in this checkout")
def test_steps_with_encodings_from_everywhere(tmp_path: Path, machine: str) -> None:
    disk = {"cache": "disk", "cache_folder": tmp_path / "encodings"}
    memory, workers = "from memory", f"from disk by {WORKERS} workers"
    sides = {
        memory: Steps(tmp_path / "memory"),
        workers: Steps(tmp_path / "disk", **disk, workers=WORKERS),
        "from disk by none": Steps(tmp_path / "alone", **disk),
        "encoded anew": Steps(tmp_path / "anew", cache=False),
    }
    found = measured(sides)
    walls = {name: side.walls[1:] for name, side in sides.items()}
    for clock, seconds in (("seconds of the training's process", found), ("seconds by the clock", walls)):
        print(f"\ntraining steps of microworld, batches of {BATCH}, {clock}, on {machine}")
        told(seconds, workers, memory, 1.03)
        told(seconds, "from disk by none", memory, 1.1)
        told(seconds, workers, "encoded anew", 1.0)


def flux_pair(number: int) -> Encoded:
    """As large as a pair of FLUX at 512 pixels: 1024 latents, three CLIP levels of 257 tokens, 512 tokens of T5; in bf16."""
    half = {"dtype": torch.bfloat16}
    levels = {level: torch.randn(1, 257, 1024, **half) for level in ("low", "mid", "high")}
    text = {"prompt_embeds": torch.randn(512, 4096, **half), "pooled_prompt_embeds": torch.randn(768, **half)}
    return Encoded(str(number), torch.randn(1024, 64), levels, text, (512, 512))


class Nothing:
    """A source whose pairs are never asked for: all of them are encoded."""

    def __len__(self) -> int:
        return FLUX_PAIRS

    def sizes(self) -> None:
        return None


@pytest.mark.parametrize("workers", [0, WORKERS])
def test_pairs_a_second_from_disk(tmp_path: Path, workers: int) -> None:
    """Every byte is read and checked; a step of FLUX with four pairs takes 0.6 s on an H100: it asks for seven a second."""
    parts = {"latents": {"of": 1}, "levels": {"of": 1}, "text": {"of": 1}}
    store = EncodingStore(tmp_path, parts, [f"{block:08x}" for block in range(FLUX_PAIRS // BLOCK)])
    store.open()
    for block in range(FLUX_PAIRS // BLOCK):
        rows = {number: taken_apart(flux_pair(number)) for number in range(block * BLOCK, (block + 1) * BLOCK)}
        store.write(block, {part: {number: row[part] for number, row in rows.items()} for part in parts}, {})
    dataset: Any = PairDataset(Nothing())  # pyright: ignore[reportArgumentType]
    loader = StoredLoader(
        dataset, lambda *given: [], quarantine=Quarantine(tmp_path / "bad", FLUX_PAIRS, 0),
        order=BatchOrder(4, 0, FLUX_PAIRS), workers=workers, store=store,
    )  # fmt: skip
    bytes_of_a_pair, batches = flux_pair(0).size, loader.batches(0, 40)
    for _ in range(8):
        next(batches)
    started, number = time.perf_counter(), 0
    for batch in batches:
        number += len(batch.ids)
    speed = number / (time.perf_counter() - started)
    print(f"\n{workers} workers read {speed:.0f} pairs of FLUX a second from disk ({speed * bytes_of_a_pair / 1e9:.2f} GB/s); "
          "an H100 asks for 7")  # fmt: skip
