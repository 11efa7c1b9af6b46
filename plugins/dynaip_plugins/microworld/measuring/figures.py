"""Figures of a folder of models, from its saved files alone, on scenes with identities that no training saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxPipeline
from torch import Tensor

from dynaip.atomic import write_json, write_text

from ..models import autoencoder, pipeline
from ..models.oracle import Oracle
from ..models.pixels import pixels, unit
from ..world.scenes import Scene, draw, labels, prompt, region
from ..world.vocabulary import IDENTITY, PROMPTED
from . import adapter
from .card import model_card

MEASURE_SEED = 9001
TRAININGS = "trainings.json"
"""Where a build notes how its models were trained."""
NOTES = "notes.md"
"""What else there is to say of a folder of models; closes its card."""
Figures = dict[str, float]


def answers(oracle: Oracle, images: Tensor, scenes: Sequence[Scene]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the oracle reads for every subject of every scene, and what is right; each [n]."""
    cases = [(row, k) for row, scene in enumerate(scenes) for k in range(len(scene.subjects))]
    read = oracle.read(images[[row for row, _ in cases]], [region(scenes[row], k) for row, k in cases])
    found = [labels(scenes[row], k) for row, k in cases]
    return read, {name: torch.tensor([one[name] for one in found]) for name in found[0]}


def agreement(oracle: Oracle, images: Tensor, scenes: Sequence[Scene]) -> Figures:
    """Share of right answers by attribute."""
    read, right = answers(oracle, images, scenes)
    return {name: round((read[name] == right[name]).float().mean().item(), 4) for name in right}


def psnr(shown: Tensor, images: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB. Both [B,3,H,W] in [0, 1]."""
    error = (shown - images).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return round((-10 * error.log10()).mean().item(), 2)


def prompt_following(figures: Figures) -> float:
    """PF of text alone: prompted attributes shown, averaged over attributes; `count` is reported beside it."""
    return round(sum(figures[name] for name in PROMPTED) / len(PROMPTED), 4)


def measure_readers(vae: AutoencoderKL, oracle: Oracle, count: int) -> dict[str, object]:
    """The oracle on renders and on reconstructions, and the autoencoder's PSNR."""
    scenes = draw(MEASURE_SEED, count, "test")
    images = pixels(scenes)
    shown = autoencoder.decode(vae, autoencoder.encode(vae, images))
    return {
        "scenes": count,
        "oracle_on_renders": agreement(oracle, unit(images), scenes),
        "oracle_on_reconstructions": agreement(oracle, shown, scenes),
        "autoencoder_psnr": psnr(shown, unit(images)),
    }


def measure_base(
    pipe: FluxPipeline, oracle: Oracle, subjects: int, dense: bool, count: int, **sampling: float
) -> dict[str, object]:
    """Prompt following of the base on its own: test identities, one image per scene."""
    scenes = draw(MEASURE_SEED + subjects, count, "test", {subjects: 1.0})
    images = pipeline.sample(pipe, [prompt(scene, dense) for scene in scenes], seed=MEASURE_SEED, **sampling)
    figures = agreement(oracle, images, scenes)
    said = [*PROMPTED, "count", *(IDENTITY if dense else ())]
    result: dict[str, object] = {"scenes": count, "pf": prompt_following(figures)}
    if dense:
        result["identity"] = round(sum(figures[name] for name in IDENTITY) / len(IDENTITY), 4)
    return {**result, **{name: figures[name] for name in said}}


def measure(folder: Path, count: int = 200) -> dict[str, object]:
    """Everything, from the saved files alone."""
    oracle = Oracle.from_pretrained(folder / "oracle")
    pipe = pipeline.load(folder / "pipeline")
    report: dict[str, object] = {
        "scenes": count,
        "sampling": {"steps": pipeline.STEPS, "true_cfg_scale": pipeline.GUIDANCE},
        "readers": measure_readers(pipe.vae, oracle, max(count, 4)),
    }
    for subjects in (1, 2, 3, 4):
        report[f"base_{subjects}_plain"] = measure_base(pipe, oracle, subjects, False, count)
        if subjects <= 2:
            report[f"base_{subjects}_dense"] = measure_base(pipe, oracle, subjects, True, count)
    if (folder / "adapter").is_dir():
        report["adapter"] = adapter.measure(folder, count)
    return report


def write(folder: Path, count: int = 200) -> dict[str, object]:
    """Measure a folder of models; write `figures.json` and `MODEL_CARD.md` into it."""
    report = measure(folder, count)
    write_json(folder / "figures.json", report, indent=1)
    known = folder / TRAININGS
    trainings = json.loads(known.read_text()) if known.exists() else None
    notes = folder / NOTES
    closing = f"\n{notes.read_text()}" if notes.exists() else ""
    write_text(folder / "MODEL_CARD.md", model_card(report, trainings) + closing)
    return report
