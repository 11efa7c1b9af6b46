"""Every backbone through one list of promises, on tiny random models of the real classes, saved and loaded again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.contracts import Backbone, Branch
from tests.tiny_models import FAMILIES
from tests.waiting import Waits

Load = Callable[[str], tuple[Backbone, Any]]
Make = Callable[..., Any]
SIZE = (32, 48)
PROMPTS = ["a small star at left on sea", "a large mug on snow"]
ONE_STEP: dict[str, Any] = {"num_inference_steps": 1, "output_type": "latent", "guidance_scale": 1.0}
every = pytest.mark.parametrize("name", list(FAMILIES))


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def edge(pipe: Any) -> int:
    return 2 * pipe.vae_scale_factor


def first_call(backbone: Backbone, pipe: Any, prompts: list[str] = PROMPTS, **options: Any) -> tuple[Any, Tensor]:
    """What the pipeline itself gives to the transformer in a run of one step, and what came out."""
    calls: list[tuple[dict[str, Any], Tensor]] = []
    handle = pipe.transformer.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((dict(kwargs), output[0])), with_kwargs=True
    )
    backbone.generate(pipe, prompts, seeds=[1, 2][: len(prompts)], size=SIZE, **ONE_STEP | options)
    handle.remove()
    return calls[0]


def as_tokens(values: Tensor) -> Tensor:
    """SD3's maps as patches of 2 x 2, counted here once more; tokens stay."""
    if values.ndim == 3:
        return values
    rows = [
        values[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
        for row in range(values.shape[2] // 2)
        for column in range(values.shape[3] // 2)
    ]
    return torch.stack(rows, dim=1)


@every
def test_signature_is_read_from_the_model(loaded: Load, name: str) -> None:
    backbone, pipe = loaded(name)
    assert isinstance(pipe, DiffusionPipeline)
    signature = backbone.signature(pipe.transformer)
    block = pipe.transformer.transformer_blocks[0]
    assert signature["family"] == FAMILIES[name][0]
    assert signature["width"] == block.attn.to_q.out_features
    assert signature["heads"] == block.attn.heads
    assert signature["double_blocks"] == len(pipe.transformer.transformer_blocks)
    assert signature["single_blocks"] == len(getattr(pipe.transformer, "single_transformer_blocks", []))
    assert signature["condition_width"] == backbone.condition_width()


@every
def test_blocks_are_where_the_model_has_them(loaded: Load, name: str) -> None:
    backbone, pipe = loaded(name)
    sites = backbone.blocks(pipe.transformer)
    assert [site.kind for site in sites] == sorted(site.kind for site in sites)
    last = FAMILIES[name][0] == "sd3"
    for number, site in enumerate(sites):
        assert pipe.transformer.get_submodule(site.name) is site.block
        both = site.kind == "double" and not (last and number == len(sites) - 1)
        assert set(site.queries) == ({"image", "text"} if both else {"image"})
        assert set(site.attention_outputs) == set(site.block_outputs) == set(site.queries)


@every
def test_velocity_is_the_pipelines_own_step(loaded: Load, name: str) -> None:
    """Prompts of different lengths, an image that is not square: arguments and answer of the pipeline's own call."""
    backbone, pipe = loaded(name)
    given, output = first_call(backbone, pipe)
    sd3 = given["hidden_states"].ndim == 4
    timesteps = given["timestep"].float() / (1000 if sd3 else 1)
    text = backbone.encode_prompts(pipe, PROMPTS)
    with torch.no_grad():
        velocity = backbone.velocity(pipe, as_tokens(given["hidden_states"]), timesteps, text, SIZE)
    torch.testing.assert_close(velocity, as_tokens(output), atol=1e-5, rtol=1e-4)
    call = backbone.read_pass(pipe.transformer, (), given, None)
    assert (call.batch, call.negative, call.negative_rows) == (2, False, 0)
    assert call.grid == (SIZE[0] // edge(pipe), SIZE[1] // edge(pipe))
    assert call.progress == pytest.approx(1 - float(timesteps[0]))
    assert call.text_tokens == given["encoder_hidden_states"].shape[1]


@every
def test_a_training_step_waits_for_no_device(loaded: Load, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a size is known nothing more is read, or brought from the host in a way that waits."""
    backbone, pipe = loaded(name)
    text = backbone.shortened(backbone.encode_prompts(pipe, PROMPTS))
    there = {key: values.to("meta") for key, values in text.items()}
    width = pipe.transformer.config.in_channels * backbone.channels_of_token(pipe)  # pyright: ignore[reportAttributeAccessIssue]
    latents = torch.zeros(2, SIZE[0] * SIZE[1] // edge(pipe) ** 2, width, device="meta")
    monkeypatch.setattr(pipe, "transformer", deepcopy(pipe.transformer).to("meta"))
    for _ in range(2):
        with Waits() as waits:
            backbone.velocity(pipe, latents, torch.tensor([0.3, 0.8]), there, SIZE)
    assert waits.seen == []


@every
def test_padding_is_cut_off_on_the_host(loaded: Load, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no prompt of a batch needs changes nothing of the prediction."""
    backbone, pipe = loaded(name)
    text = backbone.encode_prompts(pipe, PROMPTS)
    short = backbone.shortened(text)
    if "prompt_embeds_mask" not in text:
        assert short is text
        return
    longest = int(text["prompt_embeds_mask"].sum(1).max())
    assert short["prompt_embeds"].shape[1] == longest < text["prompt_embeds"].shape[1]
    alone = backbone.shortened({key: values[:1] for key, values in text.items()})
    assert set(alone) == {"prompt_embeds"}, "a mask that hides nothing"
    latents, times = torch.randn(2, SIZE[0] * SIZE[1] // edge(pipe) ** 2, 16), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        cut = backbone.velocity(pipe, latents, times, short, SIZE)
        monkeypatch.setattr(backbone, "shortened", lambda given: given)
        whole = backbone.velocity(pipe, latents, times, text, SIZE)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)


@every
def test_rows_of_prompts_are_encoded_as_if_alone(loaded: Load, name: str) -> None:
    backbone, pipe = loaded(name)
    together = backbone.encode_prompts(pipe, PROMPTS)
    alone = [backbone.encode_prompts(pipe, [prompt]) for prompt in PROMPTS]
    for key, values in together.items():
        stacked = torch.stack([one[key][0] for one in alone])
        torch.testing.assert_close(values, stacked, atol=1e-5, rtol=1e-4)


@every
def test_latents_are_those_that_the_pipeline_decodes(loaded: Load, name: str) -> None:
    """A transformer that predicts no change, run on our latents: the pipeline paints what the autoencoder alone would."""
    backbone, pipe = loaded(name)
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, *SIZE) * 2 - 1
    tokens = backbone.encode_images(pipe, pixels)
    rows, columns = SIZE[0] // edge(pipe), SIZE[1] // edge(pipe)
    assert tokens.shape[:2] == (2, rows * columns)
    latents = tokens
    if FAMILIES[name][0] == "sd3":
        latents = (
            tokens.view(2, rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2, -1, 2 * rows, 2 * columns)
        )
    elif FAMILIES[name][0] == "flux2":
        latents = tokens.transpose(1, 2).unflatten(2, (rows, columns))
    still = pipe.transformer.register_forward_hook(lambda module, args, output: (torch.zeros_like(output[0]),))
    painted = backbone.generate(
        pipe, PROMPTS, seeds=[1, 2], size=SIZE, **ONE_STEP | {"latents": latents, "output_type": "pt"}
    )
    still.remove()
    video = FAMILIES[name][0] == "qwen_image"
    with torch.no_grad():
        mode = pipe.vae.encode(pixels[:, :, None] if video else pixels).latent_dist.mode()
        expected = pipe.vae.decode(mode).sample
    expected = pipe.image_processor.postprocess(expected[:, :, 0] if video else expected, output_type="pt")
    torch.testing.assert_close(painted, expected, atol=1e-4, rtol=1e-3)


def manual_term(dyna: Any, site: Any, inputs: dict[str, Any], branch: Branch, tokens: Tensor) -> Tensor:
    """The equation for one reference everywhere, from the attention's own input and weights."""
    attention, heads = site.attention, site.heads
    hidden = inputs["hidden_states" if branch == "image" else "encoder_hidden_states"]
    project = attention.to_q if branch == "image" else attention.add_q_proj
    norm = attention.norm_q if branch == "image" else attention.norm_added_q
    query = project(hidden).unflatten(-1, (heads, -1))
    query = query if norm is None else norm(query)
    key, value = dyna.attention.pair(branch, 0)(tokens.expand(len(hidden), -1, -1))
    logits = torch.einsum("bthd,bhmd->bhtm", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhtm,bhmd->bthd", logits.softmax(-1), value).flatten(2)


@every
def test_first_block_adds_the_equation_within_the_region(loaded: Load, attached: Make, name: str) -> None:
    """The first block sees the same input with and without the reference: the difference of its attention is the term."""
    backbone, pipe = loaded(name)
    dyna = attached(backbone, pipe)
    site = backbone.blocks(pipe.transformer)[0]
    seen: list[tuple[dict[str, Any], Any]] = []
    handle = site.attention.register_forward_hook(
        lambda module, args, kwargs, output: seen.append((kwargs, output)), with_kwargs=True
    )
    first_call(backbone, pipe)
    with dyna.references(Reference(picture(), region=(0.0, 0.0, 1.0, 0.5), scale=0.7)):
        first_call(backbone, pipe)
    handle.remove()
    (_, off), (inputs, on) = seen[0], seen[len(seen) // 2]
    with torch.no_grad():
        tokens = dyna.fuse(dyna.features([picture()])).tokens
        terms = {branch: 0.7 * manual_term(dyna, site, inputs, branch, tokens) for branch in ("image", "text")}
    inside = terms["image"].shape[1] // 2
    terms["image"][:, inside:] = 0
    for branch, position in (("image", 0), ("text", 1)):
        assert terms[branch].abs().max() > 0.01
        torch.testing.assert_close(on[position] - off[position], terms[branch], atol=1e-5, rtol=1e-3)


@every
def test_training_reaches_every_weight_with_and_without_checkpointing(loaded: Load, attached: Make, name: str) -> None:
    backbone, pipe = loaded(name)
    dyna = attached(backbone, pipe)
    torch.manual_seed(1)
    latents = torch.randn_like(backbone.encode_images(pipe, torch.zeros(2, 3, *SIZE)))
    text = backbone.encode_prompts(pipe, PROMPTS)
    features = dyna.features([picture(1), picture(2)])
    found: list[list[Tensor | None]] = []
    pipe.transformer.requires_grad_(False)
    for checkpointed in (False, True):
        (pipe.transformer.enable_gradient_checkpointing if checkpointed else
         pipe.transformer.disable_gradient_checkpointing)()  # fmt: skip
        pipe.transformer.train(checkpointed)
        dyna.zero_grad()
        with dyna.training_pass(features, torch.tensor([True, True])):
            loss = backbone.velocity(pipe, latents, torch.tensor([0.3, 0.8]), text, SIZE).square().mean()
            loss.backward()
        found.append([None if each.grad is None else each.grad.clone() for each in dyna.trainable_parameters()])
    pipe.transformer.disable_gradient_checkpointing()
    pipe.transformer.eval()
    unused = [one for one in found[0] if one is None]
    # Without single-stream blocks nobody reads the last block's text: its K, V learn nothing.
    assert len(unused) == (0 if FAMILIES[name][0].startswith("flux") else 2)
    for one, other in zip(*found, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)


@every
def test_single_stream_blocks_take_part_where_there_are_some(loaded: Load, attached: Make, name: str) -> None:
    backbone, pipe = loaded(name)
    single = backbone.signature(pipe.transformer)["single_blocks"]
    dyna = attached(backbone, pipe, single_stream="image_tokens")
    seen: set[int] = set()
    with dyna.observe(lambda event: seen.add(event.block)), dyna.references(Reference(picture())):
        first_call(backbone, pipe)
    assert len(seen) == len(pipe.transformer.transformer_blocks) + single


def test_sizes_that_tokens_do_not_divide_are_one_line(loaded: Load) -> None:
    from dynaip.errors import InputError

    backbone, pipe = loaded("sd3")
    text = backbone.encode_prompts(pipe, PROMPTS[:1])
    with pytest.raises(InputError, match="multiples of 8, not 20 x 32"):
        backbone.velocity(pipe, torch.zeros(1, 8, 64), torch.tensor([0.5]), text, (20, 32))
