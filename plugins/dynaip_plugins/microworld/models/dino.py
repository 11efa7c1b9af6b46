"""A tiny DINOv2 that is trained on pictures alone: a second tower, whose layers need not hold what CLIP's do."""

from __future__ import annotations

from transformers import Dinov2Config, Dinov2Model

from ..world.render import SIZE

WIDTH, LAYERS, HEADS, PATCH = 96, 6, 3, 16


def create() -> Dinov2Model:
    """An untrained DINOv2 for 128 x 128 pixels: 64 patches of 16 x 16, six layers."""
    return Dinov2Model(
        Dinov2Config(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            image_size=SIZE,
            patch_size=PATCH,
            use_mask_token=False,
        )
    )
