"""Tiny random pipelines of the real classes: every family of models in one place, a few thousand parameters each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
TEXT = (
    "a an the small large star mug corgi bear at left top right on in sea snow beach beside and of system user assistant "
    "Describe image by detailing color shape size texture quantity text spatial relationships objects background , . :"
)
WORDS = (*TEXT.split(), "\n")
LAYERS_READ = 31
"""FLUX.2 reads the language model's layers 9, 18, 27 (klein) or 10, 20, 30 (dev)."""
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{{ message['content'][0]['text'] }}{% endif %}<|im_end|>\n{% endfor %}"
)


def tokenizer(length: int = 64, *, framed: bool = True) -> PreTrainedTokenizerFast:
    """Words as tokens; ``framed`` puts begin and end around a text, as CLIP does."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex(r"\n|[^\w\s]"), "isolated")]
    )
    if framed:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=list(SPECIAL[4:]), model_max_length=length, padding_side="right",
    )  # fmt: skip
    made.chat_template = CHAT
    return made


def vocabulary_size() -> int:
    """Number of tokens."""
    return len(SPECIAL) + len(WORDS)


def clip(kind: type[Any], width: int = 16, projection: int = 12) -> Any:
    """A CLIP text encoder."""
    return kind(
        CLIPTextConfig(
            vocab_size=vocabulary_size(), hidden_size=width, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=77, projection_dim=projection,
            bos_token_id=2, eos_token_id=3, pad_token_id=0,
        )
    )  # fmt: skip


def t5(width: int) -> T5EncoderModel:
    """A T5 text encoder."""
    return T5EncoderModel(
        T5Config(vocab_size=vocabulary_size(), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def vae(channels: int, **changes: Any) -> AutoencoderKL:
    """An autoencoder that makes 8 x 8 pixels one token."""
    given: dict[str, Any] = {
        "latent_channels": channels,
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 32,
        "mid_block_add_attention": False,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 1.5,
        "shift_factor": 0.1,
    }
    return AutoencoderKL(**given | changes)


def flux(**changes: Any) -> FluxPipeline:
    """FLUX.1: two double-stream blocks, one single-stream block."""
    given: dict[str, Any] = {
        "in_channels": 16, "num_layers": 2, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 24, "pooled_projection_dim": 16, "axes_dims_rope": (4, 6, 6), "guidance_embeds": True,
    }  # fmt: skip
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=vae(4),
        text_encoder=clip(CLIPTextModel),
        tokenizer=tokenizer(77),
        text_encoder_2=t5(24),
        tokenizer_2=tokenizer(24),
        transformer=FluxTransformer2DModel(**given | changes),
    )


def sd3(**changes: Any) -> StableDiffusion3Pipeline:
    """SD3 as it came out: no QK norm; three blocks."""
    given: dict[str, Any] = {
        "sample_size": 8, "in_channels": 16, "out_channels": 16, "num_layers": 3, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 32, "caption_projection_dim": 32, "pooled_projection_dim": 24,
        "pos_embed_max_size": 16,
    }  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**given | changes),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(16),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(77),
        text_encoder_2=clip(CLIPTextModelWithProjection),
        tokenizer_2=tokenizer(77),
        text_encoder_3=t5(32),
        tokenizer_3=tokenizer(24),
    )


def qwen_image(**changes: Any) -> QwenImagePipeline:
    """Qwen-Image: two blocks."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    given: dict[str, Any] = {
        "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4),
    }  # fmt: skip
    encoder = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": vocabulary_size(), "bos_token_id": 2, "eos_token_id": 3,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    )  # fmt: skip
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(encoder),
        tokenizer=tokenizer(1024, framed=False),
        transformer=QwenImageTransformer2DModel(**given | changes),
    )  # fmt: skip


def flux2_transformer(**changes: Any) -> Flux2Transformer2DModel:
    """FLUX.2: two double-stream blocks, one single-stream block."""
    given: dict[str, Any] = {
        "in_channels": 16, "num_layers": 2, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 24, "axes_dims_rope": (4, 4, 4, 4),
    }  # fmt: skip
    return Flux2Transformer2DModel(**given | changes)


def flux2_vae() -> AutoencoderKLFlux2:
    """An autoencoder with statistics that are not those of a fresh model."""
    made = AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=32, mid_block_add_attention=False,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    with torch.no_grad():
        made.bn.running_mean.normal_()
        made.bn.running_var.uniform_(0.5, 2.0)
    return made


def flux2_klein(**changes: Any) -> Flux2KleinPipeline:
    """FLUX.2 klein: no guidance embedding, prompts by Qwen3, passes of guidance with their names."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    encoder = Qwen3Config(
        vocab_size=vocabulary_size(), hidden_size=8, intermediate_size=8, num_hidden_layers=LAYERS_READ,
        num_attention_heads=2, num_key_value_heads=2, head_dim=4, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=Qwen3ForCausalLM(encoder),
        tokenizer=tokenizer(512, framed=False),
        transformer=flux2_transformer(**{"guidance_embeds": False} | changes),
    )


def flux2(**changes: Any) -> Flux2Pipeline:
    """FLUX.2 dev: a guidance embedding, prompts by Mistral 3."""
    from transformers import (
        Mistral3Config,
        Mistral3ForConditionalGeneration,
        MistralConfig,
        PixtralVisionConfig,
    )

    encoder = Mistral3Config(
        text_config=MistralConfig(
            vocab_size=vocabulary_size(), hidden_size=8, intermediate_size=8, num_hidden_layers=LAYERS_READ,
            num_attention_heads=2, num_key_value_heads=2, head_dim=4, bos_token_id=2, eos_token_id=3,
        ),
        vision_config=PixtralVisionConfig(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
        ),
        image_token_index=6,
    )  # fmt: skip
    return Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=Mistral3ForConditionalGeneration(encoder),
        # The tokenizer alone: its processor needs torchvision, and no prompt here holds an image.
        tokenizer=tokenizer(512, framed=False),
        transformer=flux2_transformer(**changes),
    )


FAMILIES: dict[str, tuple[str, Callable[[], DiffusionPipeline]]] = {
    "flux": ("flux", flux),
    "flux-schnell": ("flux", lambda: flux(guidance_embeds=False)),
    "sd3": ("sd3", sd3),
    "sd3.5-medium": ("sd3", lambda: sd3(qk_norm="rms_norm", dual_attention_layers=(0, 1))),
    "sd3.5-large": ("sd3", lambda: sd3(qk_norm="rms_norm")),
    "qwen_image": ("qwen_image", qwen_image),
    "flux2": ("flux2", flux2),
    "flux2-klein": ("flux2", flux2_klein),
}
"""Name of a model -> backbone and how a tiny one is made."""


def save(name: str, folder: Path) -> Path:
    """Make a tiny pipeline, spread its weights so that every part matters, and write it to ``folder``."""
    torch.manual_seed(7)
    pipe = FAMILIES[name][1]()
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    spread(pipe.transformer)
    pipe.save_pretrained(folder)
    for file in (folder / "model_index.json", *folder.glob("tokenizer*/*config.json")):
        file.write_text(file.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
    return folder


@torch.no_grad()
def spread(transformer: nn.Module) -> None:
    """Random weights large enough that text, image and attention are seen in the output."""
    for name, parameter in transformer.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.6 / parameter.shape[-1] ** 0.5)
        elif "norm" not in name:
            parameter.normal_(std=0.1)
