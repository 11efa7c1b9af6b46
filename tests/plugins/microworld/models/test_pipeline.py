"""The pipeline that ships, loaded by diffusers alone."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import FluxPipeline

from dynaip_plugins.microworld.bundle import ASSETS

shipped = pytest.mark.skipif(not (ASSETS / "oracle").is_dir(), reason="no weights in this checkout")


@shipped
def test_shipped_pipeline_is_an_ordinary_flux_pipeline() -> None:
    """Loaded by diffusers alone, it makes one image and repeats it from the same seed."""
    pipe = FluxPipeline.from_pretrained(ASSETS / "pipeline", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    made = [
        pipe(
            "a large star at the left, on snow",
            height=128,
            width=128,
            num_inference_steps=4,
            max_sequence_length=24,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
        ).images
        for _ in range(2)
    ]
    assert made[0].shape == (1, 3, 128, 128) and torch.equal(*made)
    assert math.isfinite(made[0].sum()) and made[0].std() > 0.05
