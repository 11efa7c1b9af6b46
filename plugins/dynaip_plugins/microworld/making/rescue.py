"""A base whose training was cut off, from the moving average of its last checkpoint: ``python -m … FOLDER`` of a build."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from ..models import pipeline
from .flux import Learner
from .stages import CHECKPOINTS


def rescue(out: Path) -> None:
    """Write ``out / "pipeline"`` from the base's checkpoint and the autoencoder of a build."""
    work = out / CHECKPOINTS
    state = torch.load(work / "base.ckpt", weights_only=True, map_location="cpu")
    learner = Learner()
    learner.load_state_dict(state["model"])
    for parameter, average in zip(learner.parameters(), state["average"], strict=True):
        parameter.data.copy_(average)
    vae = AutoencoderKL.from_pretrained(work / "vae")
    pipeline.save(pipeline.assemble(learner.base, vae), out / "pipeline")


if __name__ == "__main__":
    rescue(Path(sys.argv[1]))
