"""The base against the pipeline's own functions."""

from __future__ import annotations

import torch
from diffusers import FluxPipeline

from dynaip_plugins.microworld.models import autoencoder, flux, tokens
from dynaip_plugins.shared.latents import packed, unpacked


def test_packing_is_that_of_the_pipeline() -> None:
    latents = torch.randn(2, autoencoder.LATENT_CHANNELS, 16, 16)
    wanted = FluxPipeline._pack_latents(latents, 2, autoencoder.LATENT_CHANNELS, 16, 16)
    assert torch.equal(packed(latents), wanted)
    assert torch.equal(unpacked(wanted, flux.GRID, flux.GRID), latents)
    assert torch.equal(flux.image_ids(), FluxPipeline._prepare_latent_image_ids(2, 8, 8, "cpu", torch.float32))


def test_the_training_pass_is_that_of_the_pipelines_own_modules() -> None:
    """Rotations that are made once and masks that are given change nothing."""
    torch.manual_seed(0)
    base = flux.Base(double_blocks=2, single_blocks=1, heads=2).eval()
    latents, time = torch.randn(3, 64, 4 * autoencoder.LATENT_CHANNELS), torch.tensor([0.1, 0.5, 0.9])
    ids = tokens.encode(tokens.create(), ["a large red star", "", "a small fish at the left, on sea"])
    with torch.no_grad():
        wanted = base.transformer(
            hidden_states=latents,
            timestep=time,
            encoder_hidden_states=base.t5(ids).last_hidden_state,
            pooled_projections=base.clip(ids).pooler_output,
            txt_ids=torch.zeros(ids.shape[1], 3),
            img_ids=flux.image_ids(),
            return_dict=False,
        )[0]
        found, middle = base(latents, time, ids)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    assert middle.shape == (3, 64, 2 * flux.HEAD_WIDTH)
