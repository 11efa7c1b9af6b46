"""The tiny CLIP whose vision tower encodes references."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedModel

from dynaip.atomic import usual_rights

from ..world.render import SIZE
from ..world.vocabulary import MAX_TOKENS
from . import tokens

WIDTH, LAYERS, HEADS, PATCH = 96, 12, 3, 16
MEAN, DEVIATION = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def create() -> CLIPModel:
    """An untrained CLIP for 128 x 128 pixels: 64 patches of 16 x 16, twelve layers."""
    shared = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": HEADS, "hidden_act": "gelu"}
    ends = {"pad_token_id": tokens.PAD, "bos_token_id": tokens.START, "eos_token_id": tokens.END}
    text = {
        **shared,
        **ends,
        "vocab_size": tokens.vocabulary_size(),
        "num_hidden_layers": 2,
        "max_position_embeddings": MAX_TOKENS,
    }
    vision = {**shared, "num_hidden_layers": LAYERS, "image_size": SIZE, "patch_size": PATCH}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


def processor() -> CLIPImageProcessor:
    """Pixels of any size -> 128 x 128, in [-1, 1]."""
    return CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=MEAN,
        image_std=DEVIATION,
    )


def save_tower(model: PreTrainedModel, folder: Path) -> None:
    """Write a model in half precision with its image processor."""
    model.half().save_pretrained(folder)
    model.float()
    processor().save_pretrained(folder)
    usual_rights(folder)


def save(model: CLIPModel, folder: Path) -> None:
    """Write the model in half precision with its image processor and tokenizer."""
    save_tower(model, folder)
    tokens.create().save_pretrained(folder)
