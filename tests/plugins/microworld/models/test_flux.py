"""The base against the pipeline's own functions."""

from __future__ import annotations

import torch
from diffusers import FluxPipeline

from dynaip_plugins.microworld.models import autoencoder, flux
from dynaip_plugins.shared.latents import packed, unpacked


def test_packing_is_that_of_the_pipeline() -> None:
    latents = torch.randn(2, autoencoder.LATENT_CHANNELS, 16, 16)
    wanted = FluxPipeline._pack_latents(latents, 2, autoencoder.LATENT_CHANNELS, 16, 16)
    assert torch.equal(packed(latents), wanted)
    assert torch.equal(unpacked(wanted, flux.GRID, flux.GRID), latents)
    assert torch.equal(flux.image_ids(), FluxPipeline._prepare_latent_image_ids(2, 8, 8, "cpu", torch.float32))
