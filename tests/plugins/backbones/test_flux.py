"""FLUX: grids and passes read right, latents and velocity as the pipeline itself makes them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxKontextPipeline, FluxPipeline
from PIL import Image
from torch import Tensor, nn

from dynaip.errors import InputError
from dynaip_plugins.backbones.flux.config import FluxConfig
from dynaip_plugins.backbones.flux.model import FluxBackbone


@pytest.fixture
def backbone(tiny_flux_folder: Path) -> FluxBackbone:
    return FluxBackbone(FluxConfig(model=str(tiny_flux_folder)))


def passed(ids: Tensor, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "hidden_states": torch.zeros(2, len(ids), 16),
        "timestep": torch.tensor([0.25, 0.25]),
        "pooled_projections": torch.ones(2, 128),
        "encoder_hidden_states": torch.zeros(2, 24, 128),
        "img_ids": ids,
    }
    return given | changes


def test_prompts_are_as_long_as_the_tokenizer_says(backbone: FluxBackbone, tiny_flux: Any) -> None:
    """The pipeline's own default of 512 text tokens would be another picture than the base was trained to paint."""
    options = {"num_inference_steps": 1, "height": 32, "width": 32, "output_type": "latent"}

    def paint(**given: Any) -> Tensor:
        return tiny_flux("a star", generator=torch.Generator().manual_seed(0), **options, **given).images

    longest = tiny_flux.tokenizer_2.model_max_length
    short = FluxPipeline(**tiny_flux.components)("a star", generator=torch.Generator().manual_seed(0),
                                                 max_sequence_length=longest, **options).images  # fmt: skip
    assert torch.equal(paint(), short)
    assert torch.equal(paint(max_sequence_length=512), short)
    assert not torch.equal(paint(max_sequence_length=8), short)
    with torch.no_grad():
        assert tiny_flux.encode_prompt("a star", None)[0].shape[1] == longest == backbone.prompt_length(tiny_flux)


def test_a_pass_is_read(backbone: FluxBackbone, tiny_flux: Any) -> None:
    ids = FluxPipeline._prepare_latent_image_ids(2, 3, 5, torch.device("cpu"), torch.float32)
    call = backbone.read_pass(tiny_flux.transformer, (), passed(ids), "cond")
    assert (call.batch, call.grid, call.progress, call.negative, call.text_tokens) == (2, (3, 5), 0.75, False, 24)
    assert torch.equal(call.condition, torch.ones(2, 128))
    assert backbone.read_pass(tiny_flux.transformer, (), passed(ids), "uncond").negative
    assert not backbone.read_pass(tiny_flux.transformer, (), passed(ids), None).negative
    positional = {name: value for name, value in passed(ids).items() if name != "hidden_states"}
    assert backbone.read_pass(tiny_flux.transformer, (torch.zeros(4, 15, 16),), positional, None).batch == 4


def test_tokens_of_kontexts_reference_are_left_out(backbone: FluxBackbone, tiny_flux: Any) -> None:
    own = FluxKontextPipeline._prepare_latent_image_ids(1, 4, 6, torch.device("cpu"), torch.float32)
    other = FluxKontextPipeline._prepare_latent_image_ids(1, 8, 8, torch.device("cpu"), torch.float32)
    other[..., 0] = 1
    assert backbone.read_pass(tiny_flux.transformer, (), passed(torch.cat([own, other])), None).grid == (4, 6)


def test_blocks_are_where_the_model_has_them(backbone: FluxBackbone, tiny_flux: Any) -> None:
    sites = backbone.blocks(tiny_flux.transformer)
    assert [site.kind for site in sites] == ["double", "double", "single"]
    for site in sites:
        assert tiny_flux.transformer.get_submodule(site.name) is site.block
        assert site.heads == 4
    assert sites[0].queries["text"] is sites[0].attention.norm_added_q


def test_signature_and_foreign_models(backbone: FluxBackbone, tiny_flux: Any) -> None:
    assert backbone.signature(tiny_flux.transformer) == {
        "family": "flux",
        "width": 128,
        "heads": 4,
        "double_blocks": 2,
        "single_blocks": 1,
        "condition_width": 128,
    }
    with pytest.raises(InputError, match="Linear is no FLUX transformer"):
        backbone.signature(nn.Linear(2, 2))


def test_latents_are_the_pipelines_own(backbone: FluxBackbone, tiny_flux: Any) -> None:
    """Decoding what was encoded gives what the autoencoder alone gives back, non-square too."""
    pixels = torch.rand(2, 3, 32, 64) * 2 - 1
    tokens = backbone.encode_images(tiny_flux, pixels)
    assert tokens.shape == (2, 4 * 8, 4 * tiny_flux.vae.config.latent_channels)
    latents = tiny_flux._unpack_latents(tokens, 32, 64, tiny_flux.vae_scale_factor)
    latents = latents / tiny_flux.vae.config.scaling_factor + tiny_flux.vae.config.shift_factor
    with torch.no_grad():
        expected = tiny_flux.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(latents, expected)


def test_velocity_is_the_pipelines_own_step(backbone: FluxBackbone, tiny_flux: Any) -> None:
    """The arguments of the transformer, and its answer, as in a run of the pipeline."""
    calls: list[tuple[dict[str, Any], Tensor]] = []
    handle = tiny_flux.transformer.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((kwargs, output[0])), with_kwargs=True
    )
    prompts = ["a small star at the left, on sea", "a large mug at the top, on snow"]
    backbone.generate(tiny_flux, prompts, seeds=[1, 2], size=(32, 64), num_inference_steps=1, output_type="latent")
    handle.remove()
    given, output = calls[0]
    text = backbone.encode_prompts(tiny_flux, prompts)
    with torch.no_grad():
        velocity = backbone.velocity(tiny_flux, given["hidden_states"], given["timestep"], text, (32, 64))
    torch.testing.assert_close(velocity, output)
    assert torch.equal(text["prompt_embeds"], given["encoder_hidden_states"])


def test_generate_is_the_pipelines_call(backbone: FluxBackbone, tiny_flux: Any) -> None:
    """One seed a prompt, the native size, the tokenizer's length; each image as if it were alone."""
    prompts = ["a small star at the left, on sea", "a large mug at the top, on snow"]
    options: dict[str, Any] = {"num_inference_steps": 2, "true_cfg_scale": 2.0, "negative_prompt": ""}
    images = backbone.generate(tiny_flux, prompts, seeds=[5, 6], output_type="pt", **options)
    assert tuple(images.shape) == (2, 3, 64, 64)
    tiny_flux.set_progress_bar_config(disable=True)
    for row in range(2):
        alone = tiny_flux(
            prompts[row],
            generator=torch.Generator().manual_seed(5 + row),
            max_sequence_length=24,
            output_type="pt",
            **options,
        ).images
        torch.testing.assert_close(images[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    assert isinstance(backbone.generate(tiny_flux, prompts[:1], seeds=[1], num_inference_steps=1)[0], Image.Image)


def test_the_callers_progress_bar_comes_back(backbone: FluxBackbone, tiny_flux: Any) -> None:
    tiny_flux.set_progress_bar_config(desc="mine")
    backbone.generate(tiny_flux, ["a star"], seeds=[1], num_inference_steps=1, output_type="latent")
    assert tiny_flux._progress_bar_config == {"desc": "mine"}


def test_guidance_models_are_trained_under_the_configs_guidance(tiny_flux: Any) -> None:
    backbone = FluxBackbone(FluxConfig(training_guidance=3.5))
    seen: dict[str, Any] = {}

    class Model(nn.Module):
        config = type("Config", (), {"guidance_embeds": True})

        def forward(self, **kwargs: Any) -> tuple[Tensor]:
            seen.update(kwargs)
            return (kwargs["hidden_states"],)

    pipe = type(
        "Pipe",
        (),
        {
            "transformer": Model(),
            "vae_scale_factor": 4,
            "_prepare_latent_image_ids": staticmethod(FluxPipeline._prepare_latent_image_ids),
        },
    )()
    text = {"prompt_embeds": torch.zeros(2, 24, 8), "pooled_prompt_embeds": torch.zeros(2, 8)}
    backbone.velocity(pipe, torch.zeros(2, 64, 16), torch.tensor([0.1, 0.9]), text, (64, 64))
    assert seen["guidance"].tolist() == [3.5, 3.5]
    assert set(seen) <= set(inspect.signature(tiny_flux.transformer.forward).parameters)


def test_prompt_length(backbone: FluxBackbone, tiny_flux: Any) -> None:
    assert backbone.prompt_length(tiny_flux) == 24
    assert FluxBackbone(FluxConfig(max_sequence_length=7)).prompt_length(tiny_flux) == 7
    tiny_flux.tokenizer_2.model_max_length = 10**30
    assert backbone.prompt_length(tiny_flux) == 512


def test_wrong_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded as a FLUX pipeline") as caught:
        FluxBackbone(FluxConfig(model=str(tmp_path))).load(device="cpu", dtype=torch.float32)
    assert "\n" not in str(caught.value)
