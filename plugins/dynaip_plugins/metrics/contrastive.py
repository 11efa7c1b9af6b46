"""Shared by metrics: an image and text model with one space (CLIP, SigLIP), which compares images, references and prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer

from dynaip.contracts import Case, Metric
from dynaip.errors import InputError
from dynaip.models import resolve
from dynaip.prompts import PromptLimit, tell_cut, token_count
from dynaip.suggest import one_line

from ..shared.contrastive import ContrastiveConfig
from ..shared.preprocessing import own_preprocessing
from ..shared.pretrained import fingerprint, quiet, refuse_missing
from .kept import Kept, in_batches


class ContrastiveMetric(Metric):
    """Cosine x 100 between image and reference (mean over references), and between image and prompt."""

    columns: tuple[str, str]
    loader: Any
    """Class in transformers; its types know neither a loading report nor a revision that is not given."""
    name: str
    """Of the metric, for messages."""
    masked = True
    """Whether the text half is told which tokens are padding."""

    def __init__(self, config: ContrastiveConfig) -> None:
        self.config = config
        where, kind = resolve(config.model, "vision"), self.loader.__name__
        try:
            with quiet():
                model, report = self.loader.from_pretrained(
                    where, revision=config.revision, use_safetensors=True, output_loading_info=True
                )
                self.tokenizer: Any = AutoTokenizer.from_pretrained(where, revision=config.revision)
            size = model.config.vision_config.image_size
            self.preprocessing = own_preprocessing(where, config.revision, size).resized_to(size)
        except (OSError, ValueError, RuntimeError, SafetensorError, AttributeError, KeyError) as error:
            raise InputError(
                f"metric {self.name}: {config.model} cannot be loaded as a {kind} ({one_line(error)})"
            ) from error
        refuse_missing(report["missing_keys"], f"metric {self.name}: {config.model}", f"whole {kind}")
        self.model: Any = model.eval().requires_grad_(False)
        self.kept = Kept()

    def to(self, device: Any) -> ContrastiveMetric:
        """Move the model."""
        self.model.to(device)
        self.kept.forget()
        return self

    def about(self) -> dict[str, Any]:
        """Model, revision, weights, pixels, and how many tokens of a prompt are read."""
        return {
            "model": self.config.model,
            "revision": getattr(self.model.config, "_commit_hash", None) or self.config.revision or "",
            "weights": fingerprint(next(each for each in self.model.vision_model.parameters() if each.ndim > 1)),
            "preprocessing": self.preprocessing.described(),
            "tokens": self._longest,
        }

    @torch.no_grad()
    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Cosine x 100, from -100 to 100; NaN for the first column of a case without reference."""
        pictures = self._images(images)
        prompts = self._prompts([case.prompt for case in cases])
        # All references in one row, so that batches are full, then case by case again.
        every = self._images([reference.image for case in cases for reference in case.references], self.kept)
        references = every.split([len(case.references) for case in cases])
        image, text = self.columns
        return [
            {image: _cosine(one, many), text: _cosine(one, said[None])}
            for one, many, said in zip(pictures, references, prompts, strict=True)
        ]

    def _images(self, images: Sequence[Image.Image], kept: Kept | None = None) -> Tensor:
        def look(some: Sequence[Image.Image]) -> Any:
            return self.model.get_image_features(pixel_values=self.preprocessing.pixels([*some]).to(self.model.device))

        return self._embedded(images, look, kept)

    @property
    def _longest(self) -> int:
        return self.model.config.text_config.max_position_embeddings

    def _prompts(self, prompts: Sequence[str]) -> Tensor:
        limit = PromptLimit(f"the model of the metric {self.name}", self._longest, partial(token_count, self.tokenizer))
        tell_cut([limit], prompts)

        def read(some: Sequence[str]) -> Any:
            tokens = self.tokenizer(
                list(some), padding="max_length", max_length=self._longest, truncation=True, return_tensors="pt"
            ).to(self.model.device)
            mask = {"attention_mask": tokens.attention_mask} if self.masked else {}
            return self.model.get_text_features(input_ids=tokens.input_ids, **mask)

        return self._embedded(prompts, read, self.kept)

    def _embedded(self, given: Sequence[Any], embed: Callable[[Sequence[Any]], Any], kept: Kept | None) -> Tensor:
        """Embeddings in batches (N x C), on the CPU; those that are ``kept`` are not computed again."""

        def make(batch: Sequence[Any]) -> Tensor:
            return _plain(embed(batch)).float().cpu()

        found = in_batches(given, self.config.batch_size, make, kept)
        return torch.cat(found) if found else torch.empty(0, 1)


def _plain(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output


def _cosine(one: Tensor, many: Tensor) -> float:
    if not len(many):
        return float("nan")
    return float(torch.cosine_similarity(one[None], many).mean() * 100)
