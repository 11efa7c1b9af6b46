"""Microworld on the accelerator: the same losses, pictures and figures as on a CPU, and no waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dynaip
from dynaip import Reference
from dynaip.adapter import injection

STEPS, BATCH, THREADS = 200, 16, 4
ROOT = Path(__file__).parents[2]


def training(run: Path, device: str, seed: int) -> subprocess.Popen[bytes]:
    """A training of the embedded world's recipe, in a process of its own."""
    settings = {"training.steps": STEPS, "training.batch_size": BATCH, "training.seed": seed, "training.log_every": 1,
                "training.checkpoint_every": 1000, "training.threads": THREADS, "source.size": 400}  # fmt: skip
    given = [part for name, value in settings.items() for part in ("-s", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "dynaip.cli",
        "train",
        "microworld/dynaip",
        "-o",
        str(run),
        "--device",
        device,
        *given,
    ]
    return subprocess.Popen(command, cwd=ROOT)


def test_losses_follow_those_of_a_cpu(tmp_path: Path, device: torch.device) -> None:
    """Means over windows of 20 steps differ by less than those of two seeds do on a CPU."""
    sides = {"there": (device.type, 0), "here": ("cpu", 0), "other": ("cpu", 1)}
    running = {name: training(tmp_path / name, where, seed) for name, (where, seed) in sides.items()}
    assert {name: process.wait() for name, process in running.items()} == dict.fromkeys(sides, 0)
    windows: dict[str, np.ndarray] = {}
    for name in sides:
        rows = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses = np.array([json.loads(row)["loss"] for row in rows], dtype=float)
        assert len(losses) == STEPS
        assert np.isfinite(losses).all()
        windows[name] = losses.reshape(-1, 20).mean(axis=1)
    spread = np.abs(windows["here"] - windows["other"]).max()
    assert np.abs(windows["there"] - windows["here"]).max() <= spread
    assert windows["there"][-1] < windows["there"][0]


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path, device: torch.device) -> None:
    """With algorithms alone that give the same bits in every run."""
    from safetensors.torch import load_file

    settings = ["-s", "training.steps=8", "-s", "training.deterministic=true", "-s", "source.size=64"]
    for name in ("one", "other"):
        command = ["train", "microworld/dynaip", "-o", str(tmp_path / name), "--device", device.type, *settings]
        environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        subprocess.run([sys.executable, "-m", "dynaip.cli", *command], cwd=ROOT, check=True, env=environment)
    one, other = (load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("one", "other"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def reference(number: int = 0, **options: Any) -> Reference:
    pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Reference(Image.fromarray(pixels), **options)


def quarters() -> list[Reference]:
    boxes = [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]
    return [reference(number, region=box) for number, box in enumerate(boxes)]


def painted(where: str, *references: Reference, dtype: torch.dtype = torch.float32, **options: Any) -> torch.Tensor:
    """A picture of the shipped adapter in [0, 1], height x width x 3."""
    world = dynaip.load("microworld", device=where, dtype=dtype)
    image = world.generate("a large star at the left, on sea", *references, seed=3, **options)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


@pytest.mark.parametrize("way", ["one", "quarters"])
def test_pictures_are_those_of_a_cpu(device: torch.device, way: str) -> None:
    given = [reference()] if way == "one" else quarters()
    there, here = painted(device.type, *given), painted("cpu", *given)
    assert (there - here).abs().mean() < 0.01
    assert (there - painted(device.type)).abs().mean() > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_paints_nearly_the_same(device: torch.device, dtype: torch.dtype) -> None:
    assert (painted(device.type, reference(), dtype=dtype) - painted(device.type, reference())).abs().mean() < 0.1


def test_regions_gathered_into_one_call(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = painted(device.type, *quarters())
    monkeypatch.setattr(injection, "gathering_pays", lambda where: False)
    assert (gathered - painted(device.type, *quarters())).abs().mean() < 1e-3


@pytest.mark.parametrize("way", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloading(device: torch.device, way: str) -> None:
    world = dynaip.load("microworld", device="cpu", dtype=torch.float32)
    world.dyna.detach()
    getattr(world.pipe, way)(device=device)
    world.dyna.attach(world.pipe)
    image = world.generate("a large star at the left, on sea", reference(), seed=3)
    moved = torch.from_numpy(np.asarray(image).copy()).float() / 255
    assert (moved - painted(device.type, reference())).abs().mean() < 0.01


def test_compiled_blocks_paint_the_same(device: torch.device) -> None:
    world = dynaip.load("microworld", device=device, dtype=torch.float32)
    prompt = "a large star at the left, on sea"
    plain = np.asarray(world.generate(prompt, reference(), seed=3)).astype(float)
    bare = np.asarray(world.generate(prompt, seed=3)).astype(float)
    world.pipe.transformer.compile_repeated_blocks(fullgraph=True)
    compiled = np.asarray(world.generate(prompt, reference(), seed=3)).astype(float)
    torch.compiler.reset()
    assert np.abs(plain - compiled).mean() < 2
    assert np.abs(bare - compiled).mean() > 2


def waits(world: Any, *references: Reference) -> list[str]:
    """Where the host waited for the device while one picture was painted, after the first step."""
    seen: list[str] = []
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            torch.cuda.set_sync_debug_mode("warn")

    handle = world.pipe.transformer.register_forward_pre_hook(count)
    try:
        with warnings.catch_warnings(record=True) as caught, world.dyna.references(*references):
            warnings.simplefilter("always")
            world.pipe("a star", num_inference_steps=6, output_type="latent", max_sequence_length=24)
        seen = [f"{each.filename}:{each.lineno}" for each in caught if "synchron" in str(each.message)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        handle.remove()
    return seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch tells of waits on CUDA alone")
@pytest.mark.parametrize("way", ["one", "quarters"])
def test_no_step_waits_for_the_device(device: torch.device, way: str) -> None:
    world = dynaip.load("microworld", device=device)
    world.pipe.set_progress_bar_config(disable=True)
    given = [reference()] if way == "one" else quarters()
    waits(world, *given)
    assert len(waits(world, *given)) <= len(waits(world))


@pytest.mark.parametrize("what", ["attention", "routing", "decoupling", "granularity", "interventions"])
def test_analyses_run_on_the_device(device: torch.device, what: str, tmp_path: Path) -> None:
    from dynaip.cli.app import main

    torch.cuda.reset_peak_memory_stats()
    assert main(["analyze", "microworld", what, "-o", str(tmp_path), "-s", "cases=4"]) == 0
    assert list(tmp_path.glob("*.png"))
    assert torch.cuda.max_memory_allocated() > 2**20


def test_evaluation_scores_as_on_a_cpu(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    from dynaip.cli.app import main

    tables = []
    for where in (device.type, "cpu"):
        monkeypatch.setenv("DYNAIP_DEVICE", where)
        assert main(["evaluate", "microworld", "--limit", "16", "--suite", "single", "-o", str(tmp_path / where)]) == 0
        tables.append(pd.read_parquet(tmp_path / where / "scores.parquet"))
    there, here = (table["cp"].mean() for table in tables)
    error = tables[1]["cp"].std() / 4
    assert abs(there - here) <= 2 * error
