"""The parts of microworld as one ordinary diffusers `FluxPipeline`, and fast batched sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch import Tensor

from dynaip.atomic import usual_rights

from ..world.render import SIZE
from ..world.vocabulary import MAX_TOKENS
from . import tokens
from .flux import Base

STEPS, GUIDANCE = 16, 3.0
"""Sampling defaults: number of steps, and strength of true classifier-free guidance."""


def assemble(base: Base, vae: AutoencoderKL) -> FluxPipeline:
    """Put trained parts into a pipeline."""
    whole: Any = FluxPipeline  # its types name one tokenizer
    return whole(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
        vae=vae.eval(),
        text_encoder=base.clip.eval(),
        tokenizer=tokens.create(),
        text_encoder_2=base.t5.eval(),
        tokenizer_2=tokens.create(),
        transformer=base.transformer.eval(),
    )


def save(pipeline: FluxPipeline, folder: Path) -> None:
    """Write a pipeline folder in half precision; tokenizers under the name that every transformers knows."""
    pipeline.to(torch.float16)
    pipeline.save_pretrained(folder)
    pipeline.to(torch.float32)
    _rename(folder / "model_index.json")
    for name in ("tokenizer", "tokenizer_2"):
        _rename(folder / name / "tokenizer_config.json")
    usual_rights(folder)


def _rename(file: Path) -> None:
    file.write_text(file.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))


def load(folder: Path | str, device: torch.device | str = "cpu") -> FluxPipeline:
    """A pipeline folder -> pipeline in float32, without a progress bar."""
    pipeline = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(
    pipeline: FluxPipeline,
    prompts: Sequence[str],
    seed: int = 0,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    chunk: int = 64,
) -> Tensor:
    """One image per prompt, by the pipeline's own call. [B,3,128,128] float in [0, 1], on the CPU."""
    paint: Any = pipeline
    generator, parts = torch.Generator().manual_seed(seed), list[Tensor]()
    for start in range(0, len(prompts), chunk):
        some = list(prompts[start : start + chunk])
        shown = paint(
            some,
            negative_prompt=[""] * len(some),
            true_cfg_scale=guidance,
            height=SIZE,
            width=SIZE,
            num_inference_steps=steps,
            max_sequence_length=MAX_TOKENS,
            generator=generator,
            output_type="pt",
        ).images
        parts.append(shown.float().cpu())
    return torch.cat(parts)
