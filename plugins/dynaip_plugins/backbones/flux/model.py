"""FLUX: where its blocks are, how a pass is read, and how one velocity prediction runs."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from dynaip.contracts import BlockSite, ForwardPass

from ...shared.latents import full
from ..base import PipelineBackbone
from ..sites import double_site, single_site
from .config import FluxConfig


class FluxBackbone(PipelineBackbone[FluxConfig]):
    """FLUX.1 dev, schnell, Krea and Kontext: 19 double-stream and 38 single-stream blocks."""

    family = "flux"
    title = "FLUX"
    pipeline = "FluxPipeline"
    transformer = "FluxTransformer2DModel"
    tokenizer = "tokenizer_2"
    readers = MappingProxyType({"tokenizer": "CLIP", "tokenizer_2": "T5"})

    def load(self, *, device: Any, dtype: Any) -> Any:
        """Load a FluxPipeline; without sizes it paints its native size, and no prompt is longer than its tokenizer says."""
        pipe = super().load(device=device, dtype=dtype)
        pipe.default_sample_size = pipe.vae.config.sample_size // pipe.vae_scale_factor
        _bound_prompts(pipe)
        return pipe

    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """List double-stream blocks, then single-stream blocks."""
        model = cast(Any, transformer)
        double = [double_site(number, block) for number, block in enumerate(model.transformer_blocks)]
        return double + [single_site(number, block, 1) for number, block in enumerate(model.single_transformer_blocks)]

    def read_pass(
        self,
        transformer: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None,
        pipe: Any = None,
    ) -> ForwardPass:
        """Read grid from the image ids, progress from the timestep, and the negative pass from the cache context."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return ForwardPass(
            batch=hidden.shape[0],
            grid=self.clock.grid(kwargs["img_ids"]),
            progress=self.clock.progress(pipe, kwargs["timestep"], hidden, span=1),
            negative=context == "uncond",
            condition=kwargs.get("pooled_projections"),
            text_tokens=kwargs["encoder_hidden_states"].shape[1],
        )

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give ``prompt_embeds`` (B x X x C) and ``pooled_prompt_embeds`` (B x C)."""
        embeds, pooled, _ = pipe.encode_prompt(
            prompt=list(prompts), prompt_2=None, max_sequence_length=self.prompt_length(pipe)
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 (B x T x C) as the pipeline's own denoising step does."""
        embeds, guided = text["prompt_embeds"], pipe.transformer.config.guidance_embeds
        grid = self.tokens(pipe, size)
        where = latents.device, latents.dtype
        ids = self.clock.ids((*grid, *where), lambda: pipe._prepare_latent_image_ids(len(latents), *grid, *where))
        self.clock.know_grid(ids, grid)
        return pipe.transformer(
            hidden_states=latents,
            timestep=self.timesteps_on(latents.device, timesteps),
            guidance=full(self.config.training_guidance, latents) if guided else None,
            pooled_projections=text["pooled_prompt_embeds"],
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3, device=latents.device, dtype=latents.dtype),
            img_ids=ids,
            return_dict=False,
        )[0]


def _bound_prompts(pipe: Any) -> None:
    """Pad prompts to the length that the tokenizer declares at most: FluxPipeline's own 512 fits FLUX.1-dev alone."""
    owner, longest = weakref.ref(pipe), getattr(pipe.tokenizer_2, "model_max_length", None)
    if longest is None or longest >= FluxBackbone.longest_prompt:
        return

    def encode_prompt(*args: Any, max_sequence_length: int = longest, **kwargs: Any) -> Any:
        held: Any = owner()
        length = min(max_sequence_length, longest)
        return type(held).encode_prompt(held, *args, max_sequence_length=length, **kwargs)

    pipe.encode_prompt = encode_prompt
