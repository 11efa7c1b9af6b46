"""The autoencoder that ships on fresh scenes."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from dynaip_plugins.microworld.bundle import ASSETS
from dynaip_plugins.microworld.measuring.figures import psnr
from dynaip_plugins.microworld.models import autoencoder
from dynaip_plugins.microworld.models.pixels import pixels, signed, unit
from dynaip_plugins.microworld.world.scenes import draw

shipped = pytest.mark.skipif(not (ASSETS / "oracle").is_dir(), reason="no weights in this checkout")


@shipped
def test_shipped_autoencoder_keeps_unseen_scenes() -> None:
    vae = AutoencoderKL.from_pretrained(ASSETS / "pipeline" / "vae", torch_dtype=torch.float32)
    images = pixels(draw(4243, 24, "test"))
    shown = autoencoder.decode(vae, autoencoder.encode(vae, images))
    assert psnr(shown, unit(images)) >= 25
    latents = autoencoder.encode(vae, images)
    assert abs(latents.mean()) < 0.1 and abs(latents.std() - 1) < 0.1
    assert signed(images).min() >= -1
