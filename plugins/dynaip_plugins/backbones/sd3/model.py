"""Stable Diffusion 3: maps of latents instead of tokens, and both passes of guidance in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from dynaip.contracts import BlockSite, ForwardPass
from dynaip.errors import InputError

from ...shared.latents import packed, unpacked
from ..base import PipelineBackbone
from ..sites import double_site
from .config import SD3Config

CLIP_TOKENS = 77
"""The text stream holds CLIP's tokens, then T5's."""


class SD3Backbone(PipelineBackbone[SD3Config]):
    """Stable Diffusion 3 and 3.5, with and without QK norm; the second attention of dual blocks is left as it is."""

    family = "sd3"
    title = "SD3"
    pipeline = "StableDiffusion3Pipeline"
    transformer = "SD3Transformer2DModel"
    guidance = "guidance_scale"
    tokenizer = "tokenizer_3"
    readers = MappingProxyType({"tokenizer": "CLIP", "tokenizer_2": "CLIP", "tokenizer_3": "T5"})
    longest_prompt = 256

    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """List the blocks, all double-stream; the last one gives its text away and has an image branch alone."""
        blocks = cast(Any, transformer).transformer_blocks
        return [
            double_site(number, block, "BTHd" if block.attn.norm_q is None else "BHTd")
            for number, block in enumerate(blocks)
        ]

    def read_pass(
        self,
        transformer: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None,
        pipe: Any = None,
    ) -> ForwardPass:
        """Read grid from the map of latents, progress from the timestep (0 to 1000), and the rows that are negative."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        patch = cast(Any, transformer).config.patch_size
        skipped = negative_rows(kwargs, len(hidden), pipe) if context is None else 0
        pooled = kwargs.get("pooled_projections")
        return ForwardPass(
            batch=hidden.shape[0] - skipped,
            grid=(hidden.shape[-2] // patch, hidden.shape[-1] // patch),
            progress=self.clock.progress(pipe, kwargs["timestep"], hidden, span=1000),
            negative=context == "uncond",
            condition=None if pooled is None else pooled[skipped:],
            text_tokens=kwargs["encoder_hidden_states"].shape[1],
            negative_rows=skipped,
            skipped_blocks=frozenset(kwargs.get("skip_layers") or ()),
        )

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give ``prompt_embeds`` (B x X x C, CLIP's tokens before T5's) and ``pooled_prompt_embeds`` (B x C)."""
        embeds, _, pooled, _ = pipe.encode_prompt(
            prompt=list(prompts),
            prompt_2=None,
            prompt_3=None,
            do_classifier_free_guidance=False,
            max_sequence_length=self.prompt_length(pipe),
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 (B x T x C) as the pipeline's own denoising step does."""
        predicted = pipe.transformer(
            hidden_states=unpacked(latents, *self.tokens(pipe, size)),
            timestep=self.timesteps_on(latents.device, timesteps, span=1000),
            encoder_hidden_states=text["prompt_embeds"],
            pooled_projections=text["pooled_prompt_embeds"],
            return_dict=False,
        )[0]
        return packed(predicted)

    def channels_of_token(self, pipe: Any) -> int:
        """The transformer takes a map of latents, of which a token holds a square."""
        return int(pipe.transformer.config.patch_size) ** 2

    def text_shapes(self, pipe: Any) -> dict[str, Tensor]:
        """CLIP's tokens, then T5's."""
        made = super().text_shapes(pipe)
        embeds = made["prompt_embeds"]
        return made | {"prompt_embeds": embeds.new_empty(1, CLIP_TOKENS + embeds.shape[1], embeds.shape[2])}

    def text_stream(self, pipe: Any) -> tuple[Any, nn.Module, int]:
        """T5's tokens come behind CLIP's; without T5 the words are CLIP's."""
        if pipe.text_encoder_3 is None:
            return pipe.tokenizer, pipe.text_encoder, 0
        return pipe.tokenizer_3, pipe.text_encoder_3, CLIP_TOKENS


def negative_rows(kwargs: Mapping[str, Any], rows: int, pipe: Any) -> int:
    """Number of leading rows that are the negative pass: pipelines that guide run [negative, positive] in one batch.

    Called by hand, every row is a positive one. Raises ``InputError`` for a pipeline whose rows are not known.
    """
    # The extra pass without some layers is a positive one.
    if pipe is None or kwargs.get("skip_layers") is not None:
        return 0
    name, guides = type(pipe).__name__, getattr(pipe, "do_classifier_free_guidance", None)
    if getattr(pipe, "do_perturbed_attention_guidance", False):
        raise InputError(
            f"{name} runs perturbed rows in the batch of its negative and positive ones, which references cannot tell apart: "
            "set pag_scale=0, or use StableDiffusion3Pipeline (its skip_guidance_layers are served)"
        )
    if guides is None and rows > 1:
        raise InputError(
            f"{name} does not tell whether it guides, so that its negative rows are not known: use StableDiffusion3Pipeline, "
            "or give the pipeline the property do_classifier_free_guidance"
        )
    return rows // 2 if guides else 0
