"""Keys and values of all open blocks by one product: those of one product a block, and gradients likewise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dynaip import Reference
from dynaip.adapter import model, products, terms
from dynaip.adapter.attention import KeyValue
from dynaip.adapter.slots import Slot

Make = Callable[..., Any]
DOUBLE = torch.zeros(0, dtype=torch.float64)


def pairs_of(count: int, *, bias: bool) -> list[KeyValue]:
    pairs = [KeyValue(6, 8, 2, bias=bias, key_norm=bias).double() for _ in range(count)]
    for pair in pairs:
        for parameter in pair.parameters():
            torch.nn.init.normal_(parameter)
    return pairs


def picture(number: int) -> Image.Image:
    generator = torch.Generator().manual_seed(number)
    return Image.fromarray(torch.randint(0, 255, (16, 16, 3), generator=generator, dtype=torch.uint8).numpy())


def slot_of(tokens: Tensor) -> Slot:
    rows = len(tokens)
    return Slot(list(range(rows)), tokens, torch.ones(rows), [None] * rows)


def step(dyna: Any, pipe: Any, features: Any) -> None:
    """One forward and backward pass of two samples."""
    text = dyna.backbone.encode_prompts(pipe, ["a star", "a mug"])
    noise = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
    with dyna.training_pass(features, torch.tensor([True, True])):
        velocity = dyna.backbone.velocity(pipe, noise, torch.tensor([0.3, 0.8]), text, (64, 64))
        velocity.square().mean().backward()


def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of halves on an accelerator, in float32 on a CPU."""
    monkeypatch.setattr(products, "takes_half", lambda like: True)
    monkeypatch.setattr(products, "half_products", lambda like: nullcontext())


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "with bias and norm"])
def test_one_product_gives_what_one_a_pair_gives(bias: bool) -> None:
    pairs, tokens = pairs_of(3, bias=bias), torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    weights = [parameter for pair in pairs for parameter in pair.parameters()]
    gradients: list[tuple[Tensor, ...]] = []
    seen: list[list[Tensor]] = []
    for made in (
        products.project_together(pairs, slot_of(tokens), DOUBLE),
        [products.project(pair, slot_of(tokens), DOUBLE) for pair in pairs],
    ):
        parts = [part for both in made for part in both]
        loss = sum(((number + 1) * part.square()).sum() for number, part in enumerate(parts))
        gradients.append(torch.autograd.grad(loss, [tokens, *weights]))
        seen.append(parts)
    for one, other in zip(seen[0] + list(gradients[0]), seen[1] + list(gradients[1]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_pass_has_the_gradients_of_one_product_a_block(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, checkpointing: bool
) -> None:
    dyna = adapter(decoupling="coupled")
    features = dyna.features([picture(1), picture(2)])
    tiny_flux.transformer.requires_grad_(False)
    if checkpointing:
        tiny_flux.transformer.enable_gradient_checkpointing()
        tiny_flux.transformer.train()

    def gradients() -> list[Tensor]:
        dyna.zero_grad()
        step(dyna, tiny_flux, features)
        return [p.grad.clone() for p in dyna.parameters() if p.grad is not None]

    apart, together = gradients(), []
    own = products.project_together
    halved(monkeypatch)
    monkeypatch.setattr(
        products, "project_together", lambda pairs, *more: together.append(len(pairs)) or own(pairs, *more)
    )
    monkeypatch.setattr(products, "project", lambda *given: pytest.fail("a block made its own"))
    joined = gradients()
    assert together == [sum(len(place.pairs) for place in dyna.injector.places)]
    assert len(joined) == len(apart) == len(list(dyna.parameters()))
    for one, other in zip(apart, joined, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)


class Launches(TorchDispatchMode):
    """Counts operations that compute something; a view is none."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func._schema.name != "aten::_unsafe_view":
            self.seen[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


def test_a_block_more_is_an_attention_and_an_addition_a_branch_and_their_backward_passes(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved(monkeypatch)
    monkeypatch.setattr(
        terms, "attend", lambda query, key, value, backend: F.scaled_dot_product_attention(query, key, value)
    )
    monkeypatch.setattr(model, "differentiable_attention", lambda device: nullcontext())
    tiny_flux.transformer.requires_grad_(False)
    seen: list[Counter[str]] = []
    for blocks in ([0], [0, 1]):
        dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "blocks": blocks})
        features = dyna.features([picture(1), picture(2)])
        with Launches() as counter:
            step(dyna, tiny_flux, features)
        seen.append(counter.seen)
        dyna.detach()
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    assert seen[1] - seen[0] == {attention: 2, f"{attention}_backward": 2, "add": 4}
    assert not seen[0] - seen[1]


def test_generation_takes_the_products_of_training(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fusion, keys and values under the casts of training, here those of a CPU."""
    dyna, events = adapter(), list[Any]()
    halves = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    features = dyna.features([picture(0)])
    with torch.no_grad(), halves():
        tokens = dyna.fuse(features).tokens
        pair = dyna.attention.pair("image", 0)
        key, value = pair(tokens)
    monkeypatch.setattr(products, "half_products", lambda like: halves())
    with dyna.references(Reference(picture(0))), dyna.observe(events.append):
        tiny_flux("a star", num_inference_steps=1, output_type="latent", max_sequence_length=24)
    assert key.dtype == torch.bfloat16
    assert torch.equal(events[0].key, key.float())
    assert torch.equal(events[0].value, value.float())
    assert not torch.equal(events[0].key, pair(tokens.float())[0])
