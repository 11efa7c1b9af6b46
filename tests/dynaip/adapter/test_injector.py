"""The base stays itself bit for bit; the term equals the equation written out; samples never see each other's references."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.adapter.events import PassEvent
from dynaip.errors import InputError, MismatchError
from dynaip_plugins.backbones.flux.model import FluxBackbone

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def paint(
    pipe: Any,
    prompts: list[str] | str = "a small star at the left, on sea",
    seeds: tuple[int, ...] = (1,),
    **options: Any,
) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    options = {"num_inference_steps": 2, "max_sequence_length": 24, "output_type": "latent", **options}
    return pipe(prompts, generator=generators if len(seeds) > 1 else generators[0], **options).images


def test_base_is_untouched_bit_for_bit(adapter: Make, tiny_flux: Any) -> None:
    before = paint(tiny_flux)
    dyna = adapter()
    assert torch.equal(paint(tiny_flux), before)
    with dyna.references(Reference(picture(0))):
        assert not torch.equal(paint(tiny_flux), before)
    assert torch.equal(paint(tiny_flux), before)
    with dyna.references(Reference(picture(0), scale=0.0)):
        assert torch.equal(paint(tiny_flux), before)
    with dyna.references():
        assert torch.equal(paint(tiny_flux), before)
    with pytest.raises(RuntimeError, match="broken"), dyna.references(Reference(picture(0))):
        raise RuntimeError("broken")
    assert torch.equal(paint(tiny_flux), before)
    dyna.detach()
    dyna.detach()
    assert torch.equal(paint(tiny_flux), before)
    hooks = [m for m in tiny_flux.transformer.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks
    assert "cache_context" not in vars(tiny_flux.transformer)
    assert "save_pretrained" not in vars(tiny_flux)


def test_zero_initialised_values_change_nothing(adapter: Make, tiny_flux: Any) -> None:
    before = paint(tiny_flux)
    dyna = adapter()
    with torch.no_grad():
        for name, parameter in dyna.attention.named_parameters():
            if "to_v" in name:
                parameter.zero_()
    with dyna.references(Reference(picture(0))):
        assert torch.equal(paint(tiny_flux), before)


def softmax_term(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The equation written out, one sample and head at a time."""
    rows = []
    for b in range(query.shape[0]):
        heads = []
        for h in range(query.shape[1]):
            logits = (query[b, h].double() @ key[b, h].double().T) / query.shape[-1] ** 0.5
            weights = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
            heads.append(weights / weights.sum(dim=1, keepdim=True) @ value[b, h].double())
        rows.append(torch.cat(heads, dim=1))
    return torch.stack(rows)


@pytest.mark.parametrize("site", ["attention", "projection", "residual"])
def test_term_equals_the_equation(adapter: Make, tiny_flux: Any, site: str) -> None:
    """Outputs of a block with and without the reference differ by the term, at each site."""
    dyna = adapter(adapter={"token_width": 16, "site": site, "blocks": [1]}, decoupling="coupled")
    block = tiny_flux.transformer.transformer_blocks[1]
    where = {"attention": block.attn, "projection": block.attn.to_out[0], "residual": block}[site]
    seen: dict[str, Any] = {}

    def keep(module: Any, args: Any, output: Any) -> None:
        seen["output"] = [part.clone() for part in (output if isinstance(output, tuple) else (output,))]

    def run(*references: Reference) -> list[Tensor]:
        handle = where.register_forward_hook(keep)
        with dyna.references(*references):
            paint(tiny_flux, num_inference_steps=1)
        handle.remove()
        return seen["output"]

    queries: dict[str, Tensor] = {}
    handles = [
        block.attn.norm_q.register_forward_hook(lambda m, a, o: queries.__setitem__("image", o.clone())),
        block.attn.norm_added_q.register_forward_hook(lambda m, a, o: queries.__setitem__("text", o.clone())),
    ]
    bare = run()
    reference = Reference(picture(3), scale=0.7)
    given = run(reference)
    for handle in handles:
        handle.remove()
    tokens = dyna.fuse(dyna.features([picture(3)])).tokens
    positions = {"attention": {"image": 0, "text": 1}, "projection": {"image": 0}, "residual": {"text": 0, "image": 1}}[
        site
    ]
    for branch, position in positions.items():
        pair = dyna.attention.pair(branch, 0)
        key = pair.to_k(tokens).unflatten(-1, (4, -1)).transpose(1, 2)
        value = pair.to_v(tokens).unflatten(-1, (4, -1)).transpose(1, 2)
        term = 0.7 * softmax_term(queries[branch].transpose(1, 2), key, value).float()
        if site == "projection":
            term = term @ block.attn.to_out[0].weight.T
        torch.testing.assert_close(given[position] - bare[position], term, atol=2e-5, rtol=1e-4)


def test_regions_reach_their_own_queries_only(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(adapter={"token_width": 16, "blocks": [0]})
    attention = tiny_flux.transformer.transformer_blocks[0].attn
    outputs: list[Tensor] = []
    handle = attention.register_forward_hook(lambda m, a, o: outputs.append(o[0].clone()))
    for references in ([], [Reference(picture(1), region=(0.0, 0.0, 0.5, 1.0))], [Reference(picture(1))]):
        with dyna.references(*references):
            paint(tiny_flux, num_inference_steps=1)
    handle.remove()
    bare, left, everywhere = (output.view(1, 8, 8, -1) for output in outputs)
    assert torch.equal(left[:, :, 4:], bare[:, :, 4:])
    torch.testing.assert_close(left[:, :, :4], everywhere[:, :, :4], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(everywhere, bare)


def test_each_reference_has_a_softmax_of_its_own(adapter: Make, tiny_flux: Any) -> None:
    """In the first block the terms of two references add up."""
    dyna = adapter(adapter={"token_width": 16, "blocks": [0]})
    attention = tiny_flux.transformer.transformer_blocks[0].attn
    outputs: list[Tensor] = []
    handle = attention.register_forward_hook(lambda m, a, o: outputs.append(o[0].clone()))
    one, two = Reference(picture(1)), Reference(picture(2), scale=0.5)
    for references in ([], [one], [two], [one, two]):
        with dyna.references(*references):
            paint(tiny_flux, num_inference_steps=1)
    handle.remove()
    bare, first, second, both = outputs
    torch.testing.assert_close(both, first + second - bare, atol=1e-5, rtol=1e-4)


def test_batch_equals_single_runs(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    prompts = ["a small star at the left, on sea", "a large mug at the top, on snow"]
    lists = [[Reference(picture(1))], [Reference(picture(2)), Reference(picture(3), region=(0.5, 0.0, 1.0, 1.0))]]
    singles = []
    for prompt, references, seed in zip(prompts, lists, (4, 5), strict=True):
        with dyna.references(*references):
            singles.append(paint(tiny_flux, [prompt], (seed,)))
    with dyna.references(*lists):
        batch = paint(tiny_flux, prompts, (4, 5))
    torch.testing.assert_close(batch, torch.cat(singles), atol=1e-5, rtol=1e-5)


def test_several_images_a_prompt(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    prompts = ["a small star at the left, on sea", "a large mug at the top, on snow"]
    with dyna.references([Reference(picture(1))], [Reference(picture(2))]):
        four = paint(tiny_flux, prompts, (1, 2, 3, 4), num_images_per_prompt=2)
    with dyna.references([Reference(picture(2))]):
        second = paint(tiny_flux, prompts[1:], (3, 4), num_images_per_prompt=2)
    torch.testing.assert_close(four[2:], second, atol=1e-5, rtol=1e-5)


def test_negative_pass_sees_no_reference(adapter: Make, tiny_flux: Any) -> None:
    """True guidance equals the two passes made by hand."""
    dyna = adapter()
    prompt, negative = "a small star at the left, on sea", "a large mug"
    velocities: dict[str, Tensor] = {}

    def one_pass(text: str, name: str, *references: Reference) -> None:
        handle = tiny_flux.transformer.register_forward_hook(lambda m, a, o: velocities.__setitem__(name, o[0].clone()))
        with dyna.references(*references):
            paint(tiny_flux, text, num_inference_steps=1)
        handle.remove()

    one_pass(prompt, "positive", Reference(picture(1)))
    one_pass(negative, "negative")
    start = {}
    handle = tiny_flux.transformer.register_forward_pre_hook(
        lambda m, a, k: start.__setitem__("noise", start.get("noise", k["hidden_states"].clone())), with_kwargs=True
    )
    with dyna.references(Reference(picture(1))):
        guided = paint(tiny_flux, prompt, num_inference_steps=1, true_cfg_scale=3.0, negative_prompt=negative)
    handle.remove()
    by_hand = velocities["negative"] + 3.0 * (velocities["positive"] - velocities["negative"])
    torch.testing.assert_close(guided, start["noise"] - by_hand, atol=1e-5, rtol=1e-4)


def test_calls_are_counted(adapter: Make, tiny_flux: Any) -> None:
    """K and V run once a generation and block; the closed branch is never asked."""
    dyna = adapter()
    counts = {"image": 0, "text": 0}
    for branch in counts:
        for place in range(2):
            dyna.attention.pair(branch, place).register_forward_hook(
                lambda m, a, o, branch=branch: counts.__setitem__(branch, counts[branch] + 1)
            )
    with dyna.references(Reference(picture(1))):
        paint(tiny_flux, num_inference_steps=3)
    assert counts == {"image": 2, "text": 0}
    with dyna.references(Reference(picture(1), scale=0.0)):
        paint(tiny_flux, num_inference_steps=3)
    assert counts == {"image": 2, "text": 0}
    with dyna.references(Reference(picture(1)), decoupling="coupled"):
        paint(tiny_flux, num_inference_steps=3)
    assert counts == {"image": 4, "text": 2}


def test_non_square_images(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    bare = paint(tiny_flux, height=32, width=64)
    with dyna.references(Reference(picture(1), region=(0.5, 0.0, 1.0, 1.0))):
        wide = paint(tiny_flux, height=32, width=64)
    assert wide.shape == bare.shape
    assert not torch.equal(wide, bare)


def test_gradient_checkpointing_gives_the_same_gradients(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    features = dyna.features([picture(1), picture(2)])
    tiny_flux.transformer.requires_grad_(False)

    def gradients() -> list[Tensor]:
        dyna.zero_grad()
        backbone = dyna.backbone
        text = backbone.encode_prompts(tiny_flux, ["a star", "a mug"])
        noise = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
        with dyna.training_pass(features, torch.tensor([True, True])):
            backbone.velocity(tiny_flux, noise, torch.tensor([0.3, 0.8]), text, (64, 64)).square().mean().backward()
        return [p.grad.clone() for p in dyna.parameters() if p.grad is not None]

    plain = gradients()
    tiny_flux.transformer.enable_gradient_checkpointing()
    tiny_flux.transformer.train()
    checkpointed = gradients()
    assert len(plain) == len(checkpointed) == len(list(dyna.parameters()))
    for one, other in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)


def test_observers_hear_what_was_added(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "blocks": [0]})
    events: list[Any] = []
    with dyna.references(Reference(picture(1), region=(0.0, 0.0, 1.0, 0.5))):
        silent = paint(tiny_flux, num_inference_steps=2)
        with dyna.observe(events.append):
            watched = paint(tiny_flux, num_inference_steps=2)
    assert torch.equal(silent, watched)
    assert [event.branch for event in events] == ["image", "text"] * 2
    first = events[0]
    assert first.grid == (8, 8)
    assert first.queries_index.tolist() == list(range(32))
    torch.testing.assert_close(
        first.term, softmax_term(first.query, first.key, first.value).float(), atol=1e-5, rtol=1e-4
    )
    assert events[1].term.shape == (1, 24, 128)


def test_observers_hear_the_output_without_any_term(adapter: Make, tiny_flux: Any) -> None:
    """The size of a term beside the output must not depend on the order in which references are given."""
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "blocks": [0]})
    events: list[Any] = []
    with dyna.references(Reference(picture(1)), Reference(picture(2))), dyna.observe(events.append):
        paint(tiny_flux, num_inference_steps=1)
    assert [(event.branch, event.reference) for event in events] == [
        ("image", 0),
        ("image", 1),
        ("text", 0),
        ("text", 1),
    ]
    assert torch.equal(events[0].output, events[1].output)
    assert torch.equal(events[2].output, events[3].output)


def test_interventions(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    bare = paint(tiny_flux)
    with dyna.references(Reference(picture(1))), dyna.intervene(lambda branch, block, progress: 0.0):
        assert torch.equal(paint(tiny_flux), bare)


def test_interventions_tell_references_apart(adapter: Make, tiny_flux: Any) -> None:
    """Two references with factors 0 and 1 are the second alone, whether in all blocks and steps or in one of them."""
    dyna = adapter(decoupling="coupled")
    one, other = Reference(picture(1)), Reference(picture(2))

    def late(branch: str, block: int, progress: float) -> bool:
        return block == 1 and progress > 0.4

    with dyna.references(other):
        second = paint(tiny_flux)
    with dyna.references(one, other), dyna.intervene(lambda branch, block, progress: (0.0, 1.0)):
        torch.testing.assert_close(paint(tiny_flux), second, atol=1e-4, rtol=1e-4)
    with dyna.references(one, other), dyna.intervene(lambda *at: (0.0, float(late(*at)))):
        swapped = paint(tiny_flux)
    assert (swapped - second).abs().max() > 1e-2
    with dyna.references(other), dyna.intervene(lambda *at: float(late(*at))):
        torch.testing.assert_close(paint(tiny_flux), swapped, atol=1e-4, rtol=1e-4)


def test_wrong_uses_are_one_line(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with pytest.raises(InputError, match="attached already"):
        dyna.attach(tiny_flux)
    other = adapter(attach=False)
    with pytest.raises(InputError, match="another DynaIP adapter"):
        other.attach(tiny_flux)
    with pytest.raises(InputError, match="not attached"), other.references(Reference(picture(1))):
        pass
    with pytest.raises(MismatchError, match="3 prompts, but the batch holds 2"):
        with dyna.references(*[[Reference(picture(1))]] * 3):
            paint(tiny_flux, ["a star", "a mug"], (1, 2))
    with pytest.raises(InputError, match=r"no level lo; there are low, mid, high. Did you mean low"):
        with dyna.references(Reference(picture(1)), granularity={"lo": 2}):
            pass
    with pytest.raises(InputError, match="allows 10"), dyna.references(*[Reference(picture(1))] * 11):
        pass


def test_nothing_keeps_the_pipeline_alive(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with dyna.references(Reference(picture(1))):
        paint(tiny_flux)
    injector = dyna._injector
    assert injector.injection is None
    assert not any(place.queries or place.kept or place.weights for place in injector.places)
    kept = weakref.ref(injector)
    dyna.detach()
    del injector
    gc.collect()
    assert kept() is None


def test_a_window_on_the_passes_tells_what_is_added_in_each(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "single_stream": "all_tokens"})
    events: list[PassEvent] = []
    with dyna.observe_passes(events.append):
        paint(tiny_flux)
        bare = list(events)
        with dyna.references(Reference(picture(0))), dyna.intervene(lambda branch, block, progress: 0.5):
            paint(tiny_flux)
    paint(tiny_flux)
    assert [event.policy for event in bare] == [None] * len(bare)
    assert len(events) == 2 * len(bare)
    for event in events[len(bare) :]:
        assert event.policy is dyna.policy
        assert [slot.rows for slot in event.slots] == [[0]]
        assert event.weights == {"image": {0: 0.5, 1: 0.5, 2: 0.5}, "text": {0: 0.5, 1: 0.5, 2: 0.5}}
    assert [event.call.progress for event in bare] == [event.call.progress for event in events[len(bare) :]]
    assert dyna.open_blocks({"image"}) == {"image": [0, 1, 2], "text": [2]}


class OldBackbone(FluxBackbone):
    """A backbone that was written before pipelines were passed to it."""

    def read_pass(self, transformer: Any, args: Any, kwargs: Any, context: Any) -> Any:  # pyright: ignore
        return super().read_pass(transformer, args, kwargs, context)


def test_a_backbone_that_takes_no_pipeline_reads_passes_all_the_same(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(attach=False)
    base = paint(tiny_flux)
    dyna.backbone = OldBackbone(dyna.backbone.config)
    dyna.attach(tiny_flux)
    with dyna.references(Reference(picture(0))):
        assert not torch.equal(paint(tiny_flux), base)
