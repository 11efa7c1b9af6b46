"""The parts of the models against independent truths, and the shipped weights against fresh scenes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxPipeline

from dynaip.errors import InputError
from dynaip.training.plain_attention import PlainAttention, plain_attention
from dynaip_plugins.microworld import autoencoder, base, hints, measure, tokens
from dynaip_plugins.microworld.bundle import ASSETS, MicroworldBundle
from dynaip_plugins.microworld.oracle import QUESTIONS, Oracle, masks
from dynaip_plugins.microworld.pool import draw, pixels, signed, unit
from dynaip_plugins.microworld.render import backgrounds
from dynaip_plugins.microworld.vocabulary import ATTRIBUTES
from dynaip_plugins.microworld.world import labels

shipped = pytest.mark.skipif(not (ASSETS / "oracle").is_dir(), reason="no weights in this checkout")


def test_plain_attention_equals_the_fused_kernel() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64).unbind(0)
    fused = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(plain_attention(q, k, v), fused)
    with PlainAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(query=q, key=k, value=v), fused)
        masked = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.eye(9, dtype=torch.bool))
    torch.testing.assert_close(masked, v)
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    wanted = layer(q[0], k[0], v[0], need_weights=False)[0]
    with PlainAttention():
        torch.testing.assert_close(layer(q[0], k[0], v[0], need_weights=False)[0], wanted)


def test_packing_is_that_of_the_pipeline() -> None:
    latents = torch.randn(2, autoencoder.LATENT_CHANNELS, 16, 16)
    packed = FluxPipeline._pack_latents(latents, 2, autoencoder.LATENT_CHANNELS, 16, 16)
    assert torch.equal(base.pack(latents), packed)
    assert torch.equal(base.unpack(packed), latents)
    assert torch.equal(base.image_ids(), FluxPipeline._prepare_latent_image_ids(2, 8, 8, "cpu", torch.float32))


def test_hints_name_the_subject_that_covers_a_token() -> None:
    """Against the rendered pixels: a token that a subject owns shows it, a free one the background."""
    scenes = draw(6, 40, mixture={2: 1.0})
    made = hints.make_hints(scenes)
    empty = backgrounds(scenes)
    changed = np.abs(pixels(scenes).permute(0, 2, 3, 1).numpy() - empty).sum(-1) > 8
    covered = torch.from_numpy(changed).view(40, 8, 8, 8, 8).float().mean((2, 4)).flatten(1)
    assert covered[made.owners >= 0].mean() > 0.6 and covered[made.owners < 0].mean() < 0.12
    targets = made.of(torch.tensor([7]))[0]
    for token, owner in enumerate(made.owners[7].tolist()):
        if owner < 0:
            assert (targets[token] == hints.NOBODY).all()
        else:
            found = labels(scenes[7], owner)
            assert targets[token].tolist() == [found[name] for name in ATTRIBUTES]


def test_flow_loss_of_a_model_that_knows_the_answer_is_zero() -> None:
    """For data that is all zero, x_t = t eps, so the velocity eps - x_0 is x_t / t."""

    def knows(latents: torch.Tensor, time: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return latents / time[:, None, None]

    ids = tokens.encode(tokens.create(), ["a star"] * 4)
    loss = base.flow_loss(knows, torch.zeros(4, 64, 16), ids, torch.Generator().manual_seed(0))
    assert loss < 1e-4


def test_masks_cover_their_boxes() -> None:
    shown = masks([(0, 0, 0.5, 1), (0.25, 0.5, 1, 0.75)], 8)
    assert shown.shape == (2, 1, 8, 8)
    assert shown[0, 0, :, :4].all() and not shown[0, 0, :, 4:].any()
    assert shown[1].sum() == 6 * 2 and shown[1, 0, 4:6, 2:].all()


def test_oracle_survives_its_folder(tmp_path) -> None:
    torch.manual_seed(0)
    oracle = Oracle((4, 8, 8, 8)).eval()
    oracle.save_pretrained(tmp_path)
    again = Oracle.from_pretrained(tmp_path)
    images, boxes = torch.rand(3, 3, 64, 64), [(0.0, 0.0, 1.0, 1.0)] * 3
    first, second = oracle.probabilities(images, boxes), again.probabilities(images, boxes)
    for name, answers in QUESTIONS.items():
        assert first[name].shape == (3, len(answers))
        torch.testing.assert_close(first[name], second[name], atol=2e-3, rtol=0)
        torch.testing.assert_close(first[name].sum(-1), torch.ones(3))


def test_psnr_of_a_known_error() -> None:
    images = torch.zeros(2, 3, 8, 8)
    assert measure.psnr(images + 0.1, images) == pytest.approx(20.0, abs=0.01)


def test_prompt_following_is_the_mean_over_prompted_attributes() -> None:
    assert measure.prompt_following({"category": 1, "background": 0.5, "place": 1, "size": 0, "main": 0}) == 0.625


def test_bundle_names_its_parts_and_says_what_is_missing(tmp_path) -> None:
    bundle = MicroworldBundle(root=tmp_path)
    (tmp_path / "vision").mkdir()
    assert bundle.folder("vision") == tmp_path / "vision"
    with pytest.raises(KeyError, match="pipeline, vision, oracle, adapter"):
        bundle.folder("vae")
    with pytest.raises(InputError, match="dynaip microworld build"):
        bundle.folder("oracle")


@shipped
def test_shipped_oracle_reads_unseen_identities() -> None:
    oracle = Oracle.from_pretrained(ASSETS / "oracle")
    scenes = draw(4242, 150, "test")
    figures = measure.agreement(oracle, unit(pixels(scenes)), scenes)
    assert min(figures.values()) >= 0.98, figures


@shipped
def test_shipped_autoencoder_keeps_unseen_scenes() -> None:
    vae = AutoencoderKL.from_pretrained(ASSETS / "pipeline" / "vae", torch_dtype=torch.float32)
    images = pixels(draw(4243, 24, "test"))
    shown = autoencoder.decode(vae, autoencoder.encode(vae, images))
    assert measure.psnr(shown, unit(images)) >= 30
    latents = autoencoder.encode(vae, images)
    assert abs(latents.mean()) < 0.1 and abs(latents.std() - 1) < 0.1
    assert signed(images).min() >= -1


@shipped
def test_shipped_pipeline_is_an_ordinary_flux_pipeline() -> None:
    """Loaded by diffusers alone, it makes one image and repeats it from the same seed."""
    pipe = FluxPipeline.from_pretrained(ASSETS / "pipeline", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    made = [
        pipe(
            "a large star at the left, on snow",
            height=64,
            width=64,
            num_inference_steps=4,
            max_sequence_length=24,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
        ).images
        for _ in range(2)
    ]
    assert made[0].shape == (1, 3, 64, 64) and torch.equal(*made)
    assert math.isfinite(made[0].sum()) and made[0].std() > 0.05


@shipped
def test_shipped_weights_are_small_and_half() -> None:
    files = list(ASSETS.rglob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) < 16e6
    assert not list(ASSETS.rglob("*.bin")) and not list(ASSETS.rglob("*.pt"))
