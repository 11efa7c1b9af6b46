"""What diffusers asks of every pipeline and transformer in its own test mixins, with an adapter attached and acting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import DynaIP, Reference
from dynaip.contracts import Backbone

Load = Callable[..., tuple[Backbone, Any]]
Make = Callable[..., Any]
MODELS = ["flux", "sd3", "qwen_image", "flux2-klein"]
every = pytest.mark.parametrize("name", MODELS)
TRUE: dict[str, Any] = {"true_cfg_scale": 3.0, "negative_prompt": "a corgi"}
GUIDANCE: dict[str, dict[str, Any]] = {
    "flux": TRUE,
    "sd3": {"guidance_scale": 3.0, "negative_prompt": "a corgi"},
    "qwen_image": TRUE,
    "flux2-klein": {"guidance_scale": 3.0},
}


def picture(seed: int = 7) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 48, 3), dtype=np.uint8))


def run(pipe: Any, name: str, *references: Any, **options: Any) -> Tensor:
    """Latents of a guided run under references of the adapter that is attached, if there is one."""
    given: dict[str, Any] = {
        "prompt": "a small star at left on sea", "height": 32, "width": 48, "num_inference_steps": 2,
        "max_sequence_length": 16, "output_type": "latent", "generator": torch.Generator().manual_seed(1),
    }  # fmt: skip
    given |= GUIDANCE[name] | options
    pipe.set_progress_bar_config(disable=True)
    dyna = DynaIP.on(pipe)
    if dyna is None:
        return pipe(**given).images
    with dyna.references(*references):
        return pipe(**given).images


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@every
def test_parts_are_used_again_by_other_pipelines(fresh: Load, attached: Make, name: str) -> None:
    """``components`` and ``from_pipe``: the adapter goes where the transformer goes."""
    backbone, pipe = fresh(name)
    dyna = attached(backbone, pipe)
    expected = run(pipe, name, Reference(picture()))
    assert torch.equal(run(type(pipe)(**pipe.components), name, Reference(picture())), expected)
    painting = {"flux": "Flux", "sd3": "StableDiffusion3", "qwen_image": "QwenImage"}.get(name)
    if painting:
        other = getattr(diffusers, f"{painting}Img2ImgPipeline").from_pipe(pipe)
        assert DynaIP.on(other) is dyna
        image = {"image": picture(3), "strength": 1.0}
        assert not torch.allclose(run(other, name, Reference(picture()), **image), run(other, name, **image), atol=1e-3)
        assert torch.equal(run(type(pipe).from_pipe(other), name, Reference(picture())), expected)


@every
def test_prompts_encoded_elsewhere(fresh: Load, attached: Make, name: str) -> None:
    """Without text encoders, from ``encode_prompt`` alone: the same image."""
    backbone, pipe = fresh(name)
    attached(backbone, pipe)
    plain = {"guidance_scale": 1.0} | ({"negative_prompt": None} if name != "flux2-klein" else {})
    expected = run(pipe, name, Reference(picture()), **plain)
    with torch.no_grad():
        further = {"flux": {"prompt_2": None}, "sd3": {"prompt_2": None, "prompt_3": None}}.get(name, {})
        made = pipe.encode_prompt(prompt="a small star at left on sea", max_sequence_length=16, **further)
    names = {
        "flux": ("prompt_embeds", "pooled_prompt_embeds"),
        "sd3": ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
        "qwen_image": ("prompt_embeds", "prompt_embeds_mask"),
        "flux2-klein": ("prompt_embeds",),
    }[name]
    without = {part: None for part in pipe.components if part.startswith(("text_encoder", "tokenizer"))}
    bare = type(pipe)(**pipe.components | without)
    given = dict(zip(names, made, strict=False))
    close(run(bare, name, Reference(picture()), prompt=None, **plain, **given), expected)


@every
def test_ways_of_running_the_transformer(fresh: Load, attached: Make, name: str) -> None:
    """Other processors of the same kind, fused projections, checkpointing, group offload: the same image."""
    backbone, pipe = fresh(name)
    attached(backbone, pipe)
    expected, model = run(pipe, name, Reference(picture())), pipe.transformer
    if hasattr(model, "set_attn_processor"):
        model.set_attn_processor({place: type(each)() for place, each in model.attn_processors.items()})
    assert torch.equal(run(pipe, name, Reference(picture())), expected)
    if hasattr(model, "fuse_qkv_projections") and name != "sd3":  # without QK norm its query cannot be met then
        model.fuse_qkv_projections()
        close(run(pipe, name, Reference(picture())), expected)
        model.unfuse_qkv_projections()
    model.enable_gradient_checkpointing()
    model.train()
    close(run(pipe, name, Reference(picture())), expected)
    model.eval()
    here = torch.device("cpu")
    model.enable_group_offload(onload_device=here, offload_device=here, offload_type="leaf_level")
    close(run(pipe, name, Reference(picture())), expected)


@every
def test_storage_in_fewer_bits_and_other_types(fresh: Load, attached: Make, name: str) -> None:
    """The pipeline goes to another type, or keeps its weights in float8: references act on."""
    backbone, pipe = fresh(name)
    dyna = attached(backbone, pipe)
    pipe.to(torch.bfloat16)
    off = run(pipe, name)
    assert off.dtype == torch.bfloat16
    assert not torch.equal(run(pipe, name, Reference(picture())), off)
    assert all(parameter.dtype == torch.float32 for parameter in dyna.parameters())
    pipe.to(torch.float32)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    off, personal = run(pipe, name), run(pipe, name, Reference(picture()))
    assert torch.isfinite(personal).all()
    assert not torch.allclose(personal, off, atol=1e-3)


@pytest.mark.parametrize("name", ["flux", "qwen_image"])
def test_cached_blocks(fresh: Load, attached: Make, name: str) -> None:
    """A cache that never hits changes nothing; each pass of guidance has its own."""
    backbone, pipe = fresh(name)
    base = run(pipe, name, num_inference_steps=3)
    attached(backbone, pipe)
    expected = run(pipe, name, Reference(picture()), num_inference_steps=3)
    pipe.transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=1e-9))
    close(run(pipe, name, Reference(picture()), num_inference_steps=3), expected)
    pipe.transformer.disable_cache()
    assert torch.equal(run(pipe, name, num_inference_steps=3), base)


@every
def test_lora_files_of_a_pipeline(fresh: Load, attached: Make, name: str, tmp_path: Path) -> None:
    """Two LoRAs loaded and weighed by the pipeline after attaching equal those loaded before; unloaded, all is as it was."""
    peft = pytest.importorskip("peft", reason="LoRA in diffusers needs peft")
    backbone, pipe = fresh(name)
    base = run(pipe, name)
    dyna = attached(backbone, pipe)
    plain = run(pipe, name, Reference(picture()))
    _, author = fresh(name)
    for seed, style in enumerate(("one", "two")):
        torch.manual_seed(seed)
        settings = peft.LoraConfig(r=2, target_modules=["to_q", "add_q_proj", "to_out.0"], init_lora_weights=False)
        author.transformer.add_adapter(settings, style)
        layers = peft.utils.get_peft_model_state_dict(author.transformer, adapter_name=style)
        type(pipe).save_lora_weights(tmp_path, transformer_lora_layers=layers, weight_name=f"{style}.safetensors")
        pipe.load_lora_weights(tmp_path, weight_name=f"{style}.safetensors", adapter_name=style)
    _, before = fresh(name)
    for style in ("one", "two"):
        before.load_lora_weights(tmp_path, weight_name=f"{style}.safetensors", adapter_name=style)
    for each in (pipe, before):
        each.set_adapters(["one", "two"], [0.5, 0.8])
    after, off = run(pipe, name, Reference(picture())), run(pipe, name)
    close(run(before, name), off)
    attached(backbone, before)
    close(run(before, name, Reference(picture())), after)
    assert not torch.allclose(after, plain, atol=1e-3)
    assert not torch.allclose(after, off, atol=1e-3)
    pipe.disable_lora()
    close(run(pipe, name, Reference(picture())), plain)
    pipe.unload_lora_weights()
    close(run(pipe, name, Reference(picture())), plain)
    dyna.detach()
    close(run(pipe, name), base)
