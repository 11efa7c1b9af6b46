"""Figures of a folder of models, from its saved files alone, on scenes with identities that no training saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxPipeline
from torch import Tensor

from dynaip.atomic import write_json, write_text

from ..models import autoencoder, pipeline
from ..models.oracle import Oracle
from ..models.pixels import unit
from ..world.render import paint
from ..world.scenes import prompt
from ..world.table import COLUMNS, Table, boxes_of, draw_table
from ..world.vocabulary import ATTRIBUTES, BANDS, DENSE, PROMPTED
from . import adapter
from .card import model_card
from .outline import agreement as rerendered
from .outline import outlines
from .probes import probe

MEASURE_SEED = 9001
OUTLINE_SEED = 31_000
TRAININGS = "trainings.json"
"""Where a build notes how its models were trained."""
NOTES = "notes.md"
"""What else there is to say of a folder of models; closes its card."""
Figures = dict[str, float]
SAID_BANDS = {band: names for band, names in BANDS.items() if set(names) <= set(DENSE)}
"""Bands of identity that dense prompts say."""


def agreement(oracle: Oracle, images: Tensor, table: Table) -> tuple[Figures, Tensor]:
    """Share of right answers by attribute over all subjects, and what was read of each: attributes [n,A]."""
    rows, slots = torch.nonzero(table.present, as_tuple=True)
    read = oracle.read(images[rows], boxes_of(table, rows, slots))
    right = dict(zip(ATTRIBUTES, table.values[rows, slots].unbind(-1), strict=True)) | {"count": table.count[rows] - 1}
    shares = {name: round((read[name] == right[name]).float().mean().item(), 4) for name in right}
    return shares, torch.stack([read[name] for name in ATTRIBUTES], 1)


def outline_figures(oracle: Oracle, images: Tensor, table: Table) -> Figures:
    """What the renderer says of images: overlap with the nearest outline, share whose own category fits best, how well the
    rest agrees, and where oracle and outline name different categories."""
    found = outlines(images, table)
    _, read = agreement(oracle, images, table)
    category = read[:, COLUMNS["category"]]
    return {
        "outline_iou": round(found.best.mean().item(), 4),
        "own_category": round(found.right.float().mean().item(), 4),
        "psnr_inside": round(rerendered(images, found, read).mean().item(), 2),
        "oracle_disagrees": round((category != found.category).float().mean().item(), 4),
    }


def psnr(shown: Tensor, images: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB. Both [B,3,H,W] in [0, 1]."""
    error = (shown - images).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return round((-10 * error.log10()).mean().item(), 2)


def prompt_following(figures: Figures) -> float:
    """PF of text alone: prompted attributes shown, averaged over attributes; `count` is reported beside it."""
    return round(sum(figures[name] for name in PROMPTED) / len(PROMPTED), 4)


def measure_readers(vae: AutoencoderKL, oracle: Oracle, count: int) -> dict[str, object]:
    """The oracle on renders and on reconstructions, the autoencoder's PSNR, and the outlines of both."""
    table = draw_table(MEASURE_SEED, count, "test").to(vae.device)
    images = paint(table)
    shown = autoencoder.decode(vae, autoencoder.encode(vae, images))
    return {
        "scenes": count,
        "oracle_on_renders": agreement(oracle, unit(images), table)[0],
        "oracle_on_reconstructions": agreement(oracle, shown, table)[0],
        "autoencoder_psnr": psnr(shown, unit(images)),
    }


def measure_outlines(pipe: FluxPipeline, oracle: Oracle, subjects: int, count: int) -> dict[str, Figures]:
    """Outlines of held-out scenes as rendered, through the autoencoder, and painted by the base from dense prompts."""
    table = draw_table(OUTLINE_SEED + subjects, count, "test", {subjects: 1.0}).to(pipe.vae.device)
    images = paint(table)
    painted = pipeline.sample(pipe, [prompt(scene, True) for scene in table.scenes()], seed=OUTLINE_SEED)
    ways = {
        "rendered": unit(images),
        "through the autoencoder": autoencoder.decode(pipe.vae, autoencoder.encode(pipe.vae, images)),
        "painted": painted.to(images.device),
    }
    return {f"{subjects} {way}": outline_figures(oracle, shown, table) for way, shown in ways.items()}


def measure_base(
    pipe: FluxPipeline, oracle: Oracle, subjects: int, dense: bool, count: int, **sampling: Any
) -> dict[str, object]:
    """Prompt following of the base on its own: test identities, one image per scene."""
    table = draw_table(MEASURE_SEED + subjects, count, "test", {subjects: 1.0})
    prompts = [prompt(scene, dense) for scene in table.scenes()]
    images = pipeline.sample(pipe, prompts, seed=MEASURE_SEED, **sampling)
    figures, _ = agreement(oracle, images.to(pipe.vae.device), table.to(pipe.vae.device))
    said = [*PROMPTED, "count", *(DENSE if dense else ())]
    result: dict[str, object] = {"scenes": count, "pf": prompt_following(figures)}
    if dense:
        result["identity"] = round(sum(figures[name] for name in DENSE) / len(DENSE), 4)
        result |= {
            band: round(sum(figures[n] for n in said_of) / len(said_of), 4) for band, said_of in SAID_BANDS.items()
        }
    return {**result, **{name: figures[name] for name in said}}


def measure(folder: Path, count: int = 200, device: str = "cpu") -> dict[str, object]:
    """Everything, from the saved files alone."""
    oracle = Oracle.from_pretrained(folder / "oracle").to(device)
    pipe = pipeline.load(folder / "pipeline", device)
    report: dict[str, object] = {
        "scenes": count,
        "sampling": {"steps": pipeline.STEPS, "true_cfg_scale": pipeline.GUIDANCE},
        "readers": measure_readers(pipe.vae, oracle, max(count, 4)),
        "outlines": {k: v for n in (1, 2) for k, v in measure_outlines(pipe, oracle, n, max(2, count // 2)).items()},
        "probes": probe(folder / "vision", device, scale=min(1.0, count / 200)),
    }
    if (folder / "dino").is_dir():
        report["dino_probes"] = probe(folder / "dino", device, scale=min(1.0, count / 200))
    for subjects in (1, 2, 3, 4):
        report[f"base_{subjects}_plain"] = measure_base(pipe, oracle, subjects, False, count)
        if subjects <= 2:
            report[f"base_{subjects}_dense"] = measure_base(pipe, oracle, subjects, True, count)
    if (folder / "adapter").is_dir():
        report["adapter"] = adapter.measure(folder, count, device)
    return report


def write(folder: Path, count: int = 200, device: str = "cpu") -> dict[str, object]:
    """Measure a folder of models; write `figures.json` and `MODEL_CARD.md` into it."""
    report = measure(folder, count, device)
    write_json(folder / "figures.json", report, indent=1)
    known = folder / TRAININGS
    trainings = json.loads(known.read_text()) if known.exists() else None
    notes = folder / NOTES
    closing = f"\n{notes.read_text()}" if notes.exists() else ""
    write_text(folder / "MODEL_CARD.md", model_card(report, trainings) + closing)
    return report
