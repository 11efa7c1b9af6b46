"""Recordings of every family's pipeline against the full softmax of what the base's own attention kernel was given."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dynaip import Reference
from dynaip.adapter.words import places_of, tokens_of
from dynaip_analysis.recording.recorder import JointRequest, record
from tests import tiny_models

Make = Callable[..., Any]
HEIGHT, WIDTH, STEPS, COPIES = 32, 48, 2, 2
PROMPTS = ["a small star at left on sea", "a large mug on snow"]
REGION = (0.0, 0.0, 0.5, 1.0)
GUIDANCE: dict[str, dict[str, Any]] = {
    "flux": {"true_cfg_scale": 3.0, "negative_prompt": ["a corgi"] * 2},
    "qwen_image": {"true_cfg_scale": 3.0, "negative_prompt": ["a corgi"] * 2},
    "sd3": {"guidance_scale": 3.0, "negative_prompt": ["a corgi"] * 2},
    "flux2": {},
    "flux2-klein": {"guidance_scale": 3.0},
}
NAMES = ("flux", "sd3", "sd3.5-medium", "qwen_image", "flux2", "flux2-klein")
TEXT_FIRST = {"flux": True, "flux2": True, "qwen_image": True, "sd3": False}
"""How each family puts its tokens beside each other before the softmax."""


@pytest.fixture
def family(loaded: Make, fresh: Make) -> Make:
    """A backbone and its pipeline; FLUX.2 puts an instruction before the prompt, which needs a longer stream."""
    return lambda name: fresh(name, max_sequence_length=128) if "flux2" in name else loaded(name)


def generate(name: str, pipe: Any) -> Tensor:
    """Latents of two prompts with two images each: not square, batched, guided where the family guides."""
    guided = GUIDANCE.get(name, GUIDANCE[tiny_models.FAMILIES[name][0]])
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS) * COPIES)]
    return pipe(
        prompt=PROMPTS, num_images_per_prompt=COPIES, generator=generators, height=HEIGHT, width=WIDTH,
        num_inference_steps=STEPS, max_sequence_length=128 if "flux2" in name else 16, output_type="latent", **guided,
    ).images  # fmt: skip


class Kernel:
    """Listens to torch's attention while the transformer runs: one list of (query, key, mask) a call of the transformer."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Any], list[tuple[Tensor, Tensor, Tensor | None]]]] = []
        self.inside = False

    @contextmanager
    def listening(self, transformer: Any, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
        own = F.scaled_dot_product_attention

        def heard(
            query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *args: Any, **kwargs: Any
        ) -> Tensor:
            if self.inside:
                self.calls[-1][1].append((query.clone(), key.clone(), attn_mask))
            return own(query, key, value, attn_mask, *args, **kwargs)

        def begin(module: Any, args: Any, kwargs: Any) -> None:
            self.inside = True
            self.calls.append((kwargs, []))

        def end(module: Any, args: Any, output: Any) -> None:
            self.inside = False

        handles = [
            transformer.register_forward_pre_hook(begin, with_kwargs=True), transformer.register_forward_hook(end)
        ]  # fmt: skip
        monkeypatch.setattr(F, "scaled_dot_product_attention", heard)
        try:
            yield
        finally:
            monkeypatch.undo()
            for handle in handles:
                handle.remove()

    def joint(self, family: str, tokens: int, rows: int) -> list[list[Tensor]]:
        """Softmax by positive pass and block, mean over heads, text tokens first (rows x tokens x tokens)."""
        found: list[list[Tensor]] = []
        negative = len(self.calls) == 2 * STEPS
        for _, blocks in self.calls[:: 2 if negative else 1]:
            found.append([])
            for query, key, mask in blocks:
                if query.shape[2] < tokens or key.shape[2] < tokens:
                    continue  # the second attention of SD3.5's dual blocks, or a reference term
                logits = query.double() @ key.double().mT / query.shape[-1] ** 0.5
                logits = logits if mask is None else logits.masked_fill(~mask, -torch.inf)
                full = logits.softmax(-1).mean(1)[-rows:]
                found[-1].append(full if TEXT_FIRST[family] else _text_first(full, tokens - image_tokens(family)))
        return found


def image_tokens(family: str) -> int:
    edge = 4 if family == "flux2" else 8
    return HEIGHT // edge * (WIDTH // edge)


def _text_first(full: Tensor, text: int) -> Tensor:
    order = torch.arange(full.shape[-1]).roll(text)
    return full[:, order][:, :, order]


@pytest.mark.parametrize("name", NAMES)
def test_joint_attention_of_every_block(
    name: str, family: Make, attached: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and columns of words and regions, in every block and step, are those of the softmax that the kernel ran."""
    backbone, pipe = family(name)
    kind, dyna, kernel = tiny_models.FAMILIES[name][0], attached(backbone, pipe), Kernel()
    plain = generate(name, pipe)
    joint = JointRequest(words=["star"], regions={"left": REGION}, points={"corner": (0.99, 0.99)})
    with (
        record(dyna, attention=False, joint=joint, prompts=PROMPTS) as found,
        kernel.listening(pipe.transformer, monkeypatch),
    ):
        torch.testing.assert_close(generate(name, pipe), plain, rtol=0, atol=0)
    text = kernel.calls[0][0]["encoder_hidden_states"].shape[1]
    grid = found.grid
    assert grid is not None
    image, samples = grid[0] * grid[1], len(PROMPTS) * COPIES
    assert grid[0] != grid[1]
    passes = kernel.joint(kind, text + image, samples)
    blocks = len(backbone.blocks(pipe.transformer))
    assert [len(each) for each in passes] == [blocks] * STEPS
    left = [text + row * grid[1] + column for row in range(grid[0]) for column in range(grid[1] // 2)]
    for part, branches in (("columns", found.columns), ("rows", found.rows)):
        for step, block in np.ndindex(STEPS, blocks):
            got = [branches[branch].sel(block=block).values[step] for branch in ("text", "image")]
            full = passes[step][block]
            whole = np.concatenate(got, axis=-1)
            region = full[:, :, left].sum(-1) if part == "columns" else full[:, left].mean(1)
            np.testing.assert_allclose(whole[:, 1], region.numpy(), atol=2e-6, err_msg=f"{part} of {block} at {step}")
            star = _star(found.words[0])
            word = full[:, :, star].sum(-1) if part == "columns" else full[:, star].mean(1)
            np.testing.assert_allclose(whole[:COPIES, 0], word[:COPIES].numpy(), atol=2e-6)
            assert np.isnan(whole[COPIES:, 0]).all(), "the second prompt has no star"
            if part == "rows":
                np.testing.assert_allclose(whole[:, 2], full[:, -1].numpy(), atol=2e-6)
                np.testing.assert_allclose(whole[:, 1].sum(-1), 1, atol=1e-5)


def _star(words: list[str]) -> list[int]:
    return [place for place, word in enumerate(words) if word == "star"]


@pytest.mark.parametrize("name", NAMES)
def test_reference_attention_of_positive_rows(name: str, family: Make, attached: Make) -> None:
    """Maps by hand, from the query norms' outputs and the adapter's own keys of each prompt's reference."""
    backbone, pipe = family(name)
    dyna, colours = attached(backbone, pipe), ("red", "blue")
    pictures = [Image.new("RGB", (32, 32), colour) for colour in colours]
    sites = [site for site in backbone.blocks(pipe.transformer) if site.kind == "double"]
    held: list[list[Tensor]] = [[] for _ in sites]
    handles = [
        site.queries["image"].register_forward_hook(lambda m, a, o, kept=kept: kept.append(o.clone()))
        for site, kept in zip(sites, held, strict=True)
    ]
    with record(dyna, routing=False) as found, dyna.references(*[[Reference(each)] for each in pictures]):
        generate(name, pipe)
    for handle in handles:
        handle.remove()
    rows = len(pictures) * COPIES
    with torch.no_grad():
        tokens = dyna.fuse(dyna.features(pictures)).tokens.repeat_interleave(COPIES, 0)
    maps = found.attention["image"]
    assert maps.values.shape[:4] == (len(sites), STEPS, rows, 1)
    for number, site in enumerate(sites):
        negative = len(held[number]) == 2 * STEPS
        with torch.no_grad():
            key = dyna.attention.pair("image", number)(tokens)[0]
        for step, query in enumerate(held[number][:: 2 if negative else 1]):
            query = query[-rows:]
            query = query.unflatten(-1, (site.heads, -1)) if query.ndim == 3 else query
            query = query if site.query_layout == "BHTd" and query.shape[1] == site.heads else query.transpose(1, 2)
            full = (query.double() @ key.double().mT / query.shape[-1] ** 0.5).softmax(-1).mean(1)
            got = maps.sel(block=number, reference=0).values[step]
            np.testing.assert_allclose(got, full.numpy(), atol=2e-6, err_msg=f"block {number}, step {step}")
    assert not np.allclose(maps.values[:, :, 0], maps.values[:, :, COPIES]), "each prompt looks at its own reference"


@pytest.mark.parametrize("name", NAMES)
def test_words_are_where_the_pipeline_gives_them_to_its_encoder(name: str, family: Make) -> None:
    """Tokens at their places in the stream: the ids that the encoder gets while the pipeline paints, template and all."""
    backbone, pipe = family(name)
    tokenizer, encoder, start = backbone.text_stream(pipe)
    found, heard = tokens_of(backbone, pipe, PROMPTS[0]), []
    handle = encoder.register_forward_pre_hook(
        lambda m, a, k: heard.append(k.get("input_ids", a[0] if a else None)), with_kwargs=True
    )
    generate(name, pipe)
    handle.remove()
    ids = heard[0][0].tolist()
    star = ids.index(tokenizer("star", add_special_tokens=False).input_ids[0]) + start
    small = ids.index(tokenizer("small", add_special_tokens=False).input_ids[0]) + start
    # CLIP's tokens stand in front in SD3, where the words occur, too.
    assert [place for place in places_of("star", found) if place >= start] == [star]
    assert [place for place in places_of("small star", found) if place >= start] == [small, star]
    assert len(found) <= len(ids) + start
    assert found[-1] not in ("<pad>", "")
