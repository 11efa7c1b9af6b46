"""The base model: a tiny FLUX with its text encoders."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from ..world.vocabulary import MAX_TOKENS
from . import autoencoder, tokens

TEXT_WIDTH = 128
HEADS, HEAD_WIDTH, AXES = 4, 32, (4, 14, 14)
GRID = 8


class Base(nn.Module):
    """Transformer and text encoders, called the way FluxPipeline calls them."""

    def __init__(self, double_blocks: int = 4, single_blocks: int = 2) -> None:
        super().__init__()
        size = tokens.vocabulary_size()
        ends: dict[str, Any] = {"pad_token_id": tokens.PAD, "eos_token_id": tokens.END}
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size,
                hidden_size=TEXT_WIDTH,
                intermediate_size=2 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=HEADS,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokens.START,
                **ends,
            )
        )
        t5_config: Any = T5Config  # its types know less than it takes
        self.t5 = T5EncoderModel(
            t5_config(
                vocab_size=size,
                d_model=TEXT_WIDTH,
                d_kv=HEAD_WIDTH,
                d_ff=2 * TEXT_WIDTH,
                num_layers=2,
                num_heads=HEADS,
                relative_attention_num_buckets=16,
                relative_attention_max_distance=MAX_TOKENS,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                decoder_start_token_id=tokens.PAD,
                **ends,
            )
        )
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * autoencoder.LATENT_CHANNELS,
            num_layers=double_blocks,
            num_single_layers=single_blocks,
            attention_head_dim=HEAD_WIDTH,
            num_attention_heads=HEADS,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            guidance_embeds=False,
            axes_dims_rope=AXES,
        )

    def forward(self, latents_BTC: Tensor, time_B: Tensor, ids_BX: Tensor) -> Tensor:
        """Velocity of packed latents [B,64,16] at times in [0, 1] under token ids [B,24]."""
        return self.transformer(
            hidden_states=latents_BTC,
            timestep=time_B,
            encoder_hidden_states=self.t5(ids_BX).last_hidden_state,
            pooled_projections=self.clip(ids_BX).pooler_output,
            txt_ids=torch.zeros(ids_BX.shape[1], 3),
            img_ids=image_ids(),
            return_dict=False,
        )[0]


def image_ids(grid: int = GRID) -> Tensor:
    """Row and column of every image token, as FluxPipeline numbers them. [64,3]."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
