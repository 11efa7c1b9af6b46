"""Layouts of public models, as their config files give them: what is computed before a training needs no download.

A part is (library, class, its options where they differ from the class's own defaults).
"""

from __future__ import annotations

from typing import Any

Part = tuple[str, str, dict[str, Any]]
Layout = dict[str, Part]

_CLIP_L: Part = (
    "transformers", "CLIPTextModel",
    {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 49408},
)  # fmt: skip
_CLIP_L_PROJECTED: Part = ("transformers", "CLIPTextModelWithProjection", {**_CLIP_L[2], "projection_dim": 768})
_CLIP_G: Part = (
    "transformers", "CLIPTextModelWithProjection",
    {
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
        "vocab_size": 49408, "projection_dim": 1280,
    },
)  # fmt: skip
_T5: Part = (
    "transformers", "T5EncoderModel",
    {
        "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128,
        "feed_forward_proj": "gated-gelu",
    },
)  # fmt: skip
_QWEN_VL: Part = (
    "transformers", "Qwen2_5_VLForConditionalGeneration",
    {
        "text_config": {
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "vocab_size": 152064, "bos_token_id": 2, "eos_token_id": 3,
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        },
    },
)  # fmt: skip
_MISTRAL: Part = (
    "transformers", "Mistral3ForConditionalGeneration",
    {
        "text_config": {
            "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
        },
        "vision_config": {
            "model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
            "num_attention_heads": 16, "patch_size": 14, "image_size": 1540,
        },
    },
)  # fmt: skip


def _qwen3(hidden: int, inner: int, tied: bool) -> Part:
    options = {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": tied,
    }  # fmt: skip
    return "transformers", "Qwen3ForCausalLM", options


def _vae(**options: Any) -> Part:
    shape: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2, "latent_channels": 16, "sample_size": 1024,
        "use_quant_conv": False, "use_post_quant_conv": False,
    }  # fmt: skip
    return "diffusers", "AutoencoderKL", shape | options


def _flux(guided: bool) -> Layout:
    transformer = {"guidance_embeds": guided}
    return {
        "transformer": ("diffusers", "FluxTransformer2DModel", transformer),
        "text_encoder": _CLIP_L,
        "text_encoder_2": _T5,
        "vae": _vae(scaling_factor=0.3611, shift_factor=0.1159),
    }


def _sd3(**transformer: Any) -> Layout:
    options = {"sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "attention_head_dim": 64,
               "joint_attention_dim": 4096, "pooled_projection_dim": 2048}  # fmt: skip
    return {
        "transformer": ("diffusers", "SD3Transformer2DModel", options | transformer),
        "text_encoder": _CLIP_L_PROJECTED,
        "text_encoder_2": _CLIP_G,
        "text_encoder_3": _T5,
        "vae": _vae(scaling_factor=1.5305, shift_factor=0.0609),
    }


def _flux2(encoder: Part, **transformer: Any) -> Layout:
    return {
        "transformer": ("diffusers", "Flux2Transformer2DModel", transformer),
        "text_encoder": encoder,
        "vae": ("diffusers", "AutoencoderKLFlux2", {}),
    }


_KLEIN_4B = _flux2(
    _qwen3(2560, 9728, tied=True), num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680,
    guidance_embeds=False,
)  # fmt: skip
_KLEIN_9B = _flux2(
    _qwen3(4096, 12288, tied=False), num_layers=8, num_single_layers=24, num_attention_heads=32,
    joint_attention_dim=12288, guidance_embeds=False,
)  # fmt: skip
_MEDIUM = {
    "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 384,
    "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13)),
}  # fmt: skip
_LARGE = {
    "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}  # fmt: skip
LAYOUTS: dict[str, Layout] = {
    "black-forest-labs/FLUX.1-dev": _flux(True),
    "black-forest-labs/FLUX.1-Krea-dev": _flux(True),
    "black-forest-labs/FLUX.1-Kontext-dev": _flux(True),
    "black-forest-labs/FLUX.1-schnell": _flux(False),
    "stabilityai/stable-diffusion-3-medium-diffusers": _sd3(
        num_layers=24, num_attention_heads=24, caption_projection_dim=1536, pos_embed_max_size=192
    ),
    "stabilityai/stable-diffusion-3.5-medium": _sd3(**_MEDIUM),
    "stabilityai/stable-diffusion-3.5-large": _sd3(**_LARGE),
    "Qwen/Qwen-Image": {
        "transformer": (
            "diffusers", "QwenImageTransformer2DModel",
            {"in_channels": 64, "out_channels": 16, "num_layers": 60, "num_attention_heads": 24, "joint_attention_dim": 3584},
        ),
        "text_encoder": _QWEN_VL,
        "vae": ("diffusers", "AutoencoderKLQwenImage", {}),
    },
    "black-forest-labs/FLUX.2-dev": _flux2(_MISTRAL),
    "black-forest-labs/FLUX.2-klein-base-4B": _KLEIN_4B,
    "black-forest-labs/FLUX.2-klein-4B": _KLEIN_4B,
    "black-forest-labs/FLUX.2-klein-base-9B": _KLEIN_9B,
    "black-forest-labs/FLUX.2-klein-9B": _KLEIN_9B,
}  # fmt: skip
"""Hub id -> layout."""
