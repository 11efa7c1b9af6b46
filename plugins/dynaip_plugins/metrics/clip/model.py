"""CLIP-I: cosine x 100 between image and reference (mean over references); CLIP-T: between image and prompt (DreamBench)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from dynaip.contracts import Case, Metric
from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.prompts import PromptLimit, tell_cut, token_count
from dynaip.suggest import one_line
from dynaip_plugins.shared.pixels import normalisation, normalised
from dynaip_plugins.shared.pretrained import refuse_missing

from .config import ClipMetricConfig

LOADER: Any = CLIPModel
"""Its types know neither a loading report nor a revision that is not given."""


class ClipMetric(Metric):
    """Scores any images with any CLIP."""

    columns = ("clip_i", "clip_t")

    def __init__(self, config: ClipMetricConfig) -> None:
        self.config = config
        where = resolve(config.model, "vision")
        try:
            model, report = LOADER.from_pretrained(
                where, revision=config.revision, use_safetensors=True, output_loading_info=True
            )
            self.tokenizer: Any = AutoTokenizer.from_pretrained(where, revision=config.revision)
            self.mean, self.std = normalisation(where, config.revision)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"metric clip: {config.model} cannot be loaded as a CLIPModel ({one_line(error)})"
            ) from error
        refuse_missing(report["missing_keys"], f"metric clip: {config.model}", "whole CLIPModel")
        self.model: Any = model.eval()

    def to(self, device: Any) -> ClipMetric:
        """Move the model."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Cosine x 100, from -100 to 100; NaN for CLIP-I of a case without reference."""
        pictures = self._images(images)
        prompts = self._prompts([case.prompt for case in cases])
        # All references in one row, so that batches are full, then case by case again.
        every = self._images([reference.image for case in cases for reference in case.references])
        references = every.split([len(case.references) for case in cases])
        return [
            {"clip_i": _cosine(one, many), "clip_t": _cosine(one, text[None])}
            for one, many, text in zip(pictures, references, prompts, strict=True)
        ]

    def _images(self, images: Sequence[Image.Image]) -> Tensor:
        found, size = [], self.model.config.vision_config.image_size
        for start in range(0, len(images), self.config.batch_size):
            pixels = normalised(images[start : start + self.config.batch_size], size, "crop", self.mean, self.std)
            found.append(_embedding(self.model.get_image_features(pixel_values=pixels.to(self.model.device))))
        return torch.cat(found).cpu() if found else torch.empty(0, self.model.config.projection_dim)

    def _prompts(self, prompts: Sequence[str]) -> Tensor:
        longest = self.model.config.text_config.max_position_embeddings
        tell_cut([PromptLimit("the CLIP of the metric", longest, partial(token_count, self.tokenizer))], prompts)
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        return _embedding(
            self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        ).cpu()


def _embedding(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output


def _cosine(one: Tensor, many: Tensor) -> float:
    if not len(many):
        return float("nan")
    return float(torch.cosine_similarity(one[None], many).mean() * 100)
