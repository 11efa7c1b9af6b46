"""Qwen-Image: double-stream blocks alone, prompts of different lengths, the autoencoder of a video model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynaip.contracts import BlockSite, ForwardPass
from dynaip.device import to_device
from dynaip.prompts import PromptLimit, token_count

from ...shared.latents import packed
from ..base import PipelineBackbone
from ..sites import double_site
from .config import QwenImageConfig


class QwenImageBackbone(PipelineBackbone[QwenImageConfig]):
    """Qwen-Image; also behind its img2img, inpaint and edit pipelines."""

    family = "qwen_image"
    title = "Qwen-Image"
    skeleton_pipeline = "QwenImagePipeline"
    transformer = "QwenImageTransformer2DModel"

    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """List the blocks, all double-stream."""
        return [double_site(number, block) for number, block in enumerate(cast(Any, transformer).transformer_blocks)]

    def read_pass(
        self,
        transformer: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None,
        pipe: Any = None,
    ) -> ForwardPass:
        """Read grid from the first shape (those behind it are images that are edited) and progress from the timestep."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        shapes: Any = kwargs["img_shapes"][0]
        rows, columns = (shapes[0] if isinstance(shapes, list) else shapes)[-2:]
        return ForwardPass(
            batch=hidden.shape[0],
            grid=(int(rows), int(columns)),
            progress=self.clock.progress(pipe, kwargs["timestep"], hidden, span=1),
            negative=context == "uncond",
            text_tokens=kwargs["encoder_hidden_states"].shape[1],
        )

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give ``prompt_embeds`` (B x X x C) and ``prompt_embeds_mask`` (B x X), padded to one length for every batch."""
        length = self.prompt_length(pipe)
        embeds, mask = pipe.encode_prompt(prompt=list(prompts), max_sequence_length=length)
        if mask is None:  # all prompts have the same length
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        missing = length - embeds.shape[1]
        return {"prompt_embeds": F.pad(embeds, (0, 0, 0, missing)), "prompt_embeds_mask": F.pad(mask, (0, missing))}

    @torch.no_grad()
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] into packed latents (B x T x C), each channel brought to mean 0 and deviation 1."""
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)[:, :, None]).latent_dist.mode()[:, :, 0]
        mean, deviation = (
            torch.tensor(values, device=latents.device, dtype=latents.dtype)[:, None, None]
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        return packed((latents - mean) / deviation)

    def shortened(self, text: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Cut padding off as far as the host knows the mask, and leave out a mask that hides nothing."""
        mask = text.get("prompt_embeds_mask")
        if mask is None or mask.device.type != "cpu":
            return text
        length = max(1, int(mask.sum(1).max()))
        cut = {name: values[:, :length] for name, values in text.items()}
        return {"prompt_embeds": cut["prompt_embeds"]} if bool(cut["prompt_embeds_mask"].all()) else cut

    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 (B x T x C) as the pipeline's own denoising step does."""
        text = self.shortened(text)
        mask = text.get("prompt_embeds_mask")
        return pipe.transformer(
            hidden_states=latents,
            timestep=self.timesteps_on(latents.device, timesteps),
            encoder_hidden_states=text["prompt_embeds"],
            encoder_hidden_states_mask=None if mask is None else to_device(mask, latents.device),
            img_shapes=[[(1, *self.tokens(pipe, size))]] * len(latents),
            return_dict=False,
        )[0]

    def prompt_limits(self, pipe: Any, longest: int | None = None) -> Sequence[PromptLimit]:
        """The instruction around the prompt is encoded, too; what stands before the prompt is not counted."""

        def count(prompt: str) -> int:
            text = pipe.prompt_template_encode.format(prompt)
            return token_count(pipe.tokenizer, text) - pipe.prompt_template_encode_start_idx

        most = min(longest or self.prompt_length(pipe), pipe.tokenizer_max_length)
        return [PromptLimit("the language model", most, count)]

    def text_shapes(self, pipe: Any) -> dict[str, Tensor]:
        """The mask is read by the host, so it is never without values."""
        made = super().text_shapes(pipe)
        ones = torch.ones(1, made["prompt_embeds"].shape[1], dtype=torch.long, device="cpu")
        return made | {"prompt_embeds_mask": ones}

    def text_stream(self, pipe: Any) -> tuple[Any, nn.Module, int]:
        """The instruction before the prompt is encoded, too, and then cut off."""
        return pipe.tokenizer, pipe.text_encoder, -pipe.prompt_template_encode_start_idx
