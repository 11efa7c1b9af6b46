"""FLUX.2: four position ids a token, latents normalised by the autoencoder's statistics, parallel single-stream blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import format_input
from torch import Tensor, nn

from dynaip.contracts import BlockSite, ForwardPass
from dynaip.errors import InputError
from dynaip.prompts import PromptLimit, token_count

from ...shared.latents import full
from ..base import PipelineBackbone
from ..sites import double_site, single_site
from .config import Flux2Config


class Flux2Backbone(PipelineBackbone[Flux2Config]):
    """FLUX.2 dev and klein, with images to edit or without."""

    family = "flux2"
    title = "FLUX.2"
    skeleton_pipeline = "Flux2KleinPipeline"
    transformer = "Flux2Transformer2DModel"
    guidance = "guidance_scale"

    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """List double-stream blocks, then single-stream blocks, whose output projection serves attention and MLP at once."""
        model = cast(Any, transformer)
        double = [double_site(number, block) for number, block in enumerate(model.transformer_blocks)]
        return double + [single_site(number, block, 0) for number, block in enumerate(model.single_transformer_blocks)]

    def read_pass(
        self,
        transformer: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None,
        pipe: Any = None,
    ) -> ForwardPass:
        """Read grid from the ids (tokens of images that are edited carry a time above 0) and progress from the timestep."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if kwargs.get("num_ref_tokens"):
            raise InputError(
                "FLUX.2 with a cache of the edited image puts its tokens first; use Flux2KleinPipeline for it"
            )
        return ForwardPass(
            batch=hidden.shape[0],
            grid=self.clock.grid(kwargs["img_ids"]),
            progress=self.clock.progress(pipe, kwargs["timestep"], hidden, span=1),
            negative=context == "uncond",
            text_tokens=kwargs["encoder_hidden_states"].shape[1],
        )

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give ``prompt_embeds`` (B x X x C): three layers of the language model beside each other."""
        embeds, _ = pipe.encode_prompt(prompt=list(prompts), max_sequence_length=self.prompt_length(pipe))
        return {"prompt_embeds": embeds}

    @torch.no_grad()
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] into packed latents (B x T x C): the distribution's mode, by the pipeline's own norm."""
        vae = pipe.vae
        latents = pipe._encode_vae_image(pixels.to(vae.device, vae.dtype), generator=None)
        return pipe._pack_latents(latents)

    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 (B x T x C) as the pipeline's own denoising step does."""
        embeds, guided = text["prompt_embeds"], pipe.transformer.config.guidance_embeds
        rows, columns = self.tokens(pipe, size)
        ids = self.clock.ids(
            ("image", len(latents), rows, columns, latents.device),
            lambda: pipe._prepare_latent_ids(torch.empty(len(latents), 1, rows, columns)).to(latents.device),
        )
        words = self.clock.ids(
            ("text", *embeds.shape[:2], embeds.device), lambda: pipe._prepare_text_ids(embeds).to(embeds.device)
        )
        self.clock.know_grid(ids, (rows, columns))
        return pipe.transformer(
            hidden_states=latents,
            timestep=self.timesteps_on(latents.device, timesteps),
            guidance=full(self.config.training_guidance, latents) if guided else None,
            encoder_hidden_states=embeds,
            txt_ids=words,
            img_ids=ids,
            return_dict=False,
        )[0]

    def prompt_limits(self, pipe: Any, longest: int | None = None) -> Sequence[PromptLimit]:
        """The conversation around the prompt is read and counted, too."""
        dev = getattr(pipe, "system_message", None)

        def count(prompt: str) -> int:
            chat: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
            if dev is None:  # klein
                options = {"add_generation_prompt": True, "enable_thinking": False}
                return token_count(pipe.tokenizer, pipe.tokenizer.apply_chat_template(chat, tokenize=False, **options))
            found = pipe.tokenizer.apply_chat_template(
                format_input([prompt], dev), add_generation_prompt=False, tokenize=True, return_dict=True
            )
            return len(found["input_ids"][0])

        return [PromptLimit("the language model", longest or self.prompt_length(pipe), count)]

    def text_stream(self, pipe: Any) -> tuple[Any, nn.Module, int]:
        """The stream is the language model's whole input; dev's tokenizer is part of a processor."""
        return getattr(pipe.tokenizer, "tokenizer", pipe.tokenizer), pipe.text_encoder, 0
