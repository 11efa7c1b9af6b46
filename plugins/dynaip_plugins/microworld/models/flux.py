"""The base model: a tiny FLUX with its text encoders."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from ..world.vocabulary import MAX_TOKENS
from . import autoencoder, tokens

TEXT_WIDTH = 128
TEXT_HEADS = 4
HEADS, HEAD_WIDTH, AXES = 5, 32, (4, 14, 14)
GRID = 8


class Base(nn.Module):
    """Transformer and text encoders, called the way FluxPipeline calls them."""

    def __init__(
        self,
        double_blocks: int = 4,
        single_blocks: int = 2,
        heads: int = HEADS,
        latent_channels: int = autoencoder.LATENT_CHANNELS,
    ) -> None:
        super().__init__()
        size = tokens.vocabulary_size()
        ends: dict[str, Any] = {"pad_token_id": tokens.PAD, "eos_token_id": tokens.END}
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size,
                hidden_size=TEXT_WIDTH,
                intermediate_size=2 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=TEXT_HEADS,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokens.START,
                **ends,
            )
        )
        t5_config, t5_model = cast(Any, T5Config), cast(Any, T5EncoderModel)  # their types know less than they take
        t5 = t5_config(
            vocab_size=size,
            d_model=TEXT_WIDTH,
            d_kv=HEAD_WIDTH,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            num_heads=TEXT_HEADS,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=MAX_TOKENS,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            decoder_start_token_id=tokens.PAD,
            **ends,
        )
        # Fused kernels give no gradient to a bias of position on every device; at 24 tokens two products are as fast.
        self.t5: T5EncoderModel = t5_model._from_config(t5, attn_implementation="eager")
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * latent_channels,
            num_layers=double_blocks,
            num_single_layers=single_blocks,
            attention_head_dim=HEAD_WIDTH,
            num_attention_heads=heads,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            guidance_embeds=False,
            axes_dims_rope=AXES,
        )

        ids = torch.cat([torch.zeros(MAX_TOKENS, 3), image_ids()])
        cos, sin = self.transformer.pos_embed(ids)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("causal", causal_mask(), persistent=False)
        self.register_buffer("open", torch.zeros(1, 1, 1, MAX_TOKENS), persistent=False)

    @classmethod
    def of(cls, pipeline: FluxPipeline) -> Base:
        """The transformer and text encoders of a pipeline, where they are."""
        config = pipeline.transformer.config
        base = cls(config.num_layers, config.num_single_layers, config.num_attention_heads, config.in_channels // 4)
        base.transformer, base.clip, base.t5 = pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2
        return base.to(pipeline.transformer.device).eval()

    def forward(self, latents_BTC: Tensor, time_B: Tensor, ids_BX: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity of packed latents [B,64,32] at times in [0, 1] under token ids [B,24], and the image tokens [B,64,d]
        between double and single blocks.

        The pass of `FluxTransformer2DModel`, but that positions are turned into rotations once, and that masks are given:
        transformers would make them anew, in a way that a captured graph cannot repeat.
        """
        flux, rotary = self.transformer, (self.cos, self.sin)
        image = flux.x_embedder(latents_BTC)
        text = flux.context_embedder(self.t5(ids_BX, attention_mask=self.open).last_hidden_state)
        pooled = self.clip(ids_BX, attention_mask=self.causal).pooler_output
        condition = flux.time_text_embed(time_B * 1000, pooled)
        given = {"temb": condition, "image_rotary_emb": rotary}
        for block in flux.transformer_blocks:
            text, image = block(hidden_states=image, encoder_hidden_states=text, **given)
        middle = image
        for block in flux.single_transformer_blocks:
            text, image = block(hidden_states=image, encoder_hidden_states=text, **given)
        return flux.proj_out(flux.norm_out(image, condition)), middle


def causal_mask() -> Tensor:
    """Which tokens of a prompt each token of a CLIP text encoder sees: those up to itself. [1,1,24,24] bool."""
    return torch.ones(1, 1, MAX_TOKENS, MAX_TOKENS, dtype=torch.bool).tril()


def image_ids(grid: int = GRID) -> Tensor:
    """Row and column of every image token, as FluxPipeline numbers them. [64,3]."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
