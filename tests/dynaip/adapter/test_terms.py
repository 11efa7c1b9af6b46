"""Terms gathered over regions, and terms written in place, against one call a region that writes into a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.adapter import injection
from dynaip.adapter.events import ReferenceEvent
from dynaip.adapter.injector import Injector
from dynaip.adapter.slots import Gathered, Group, Slot, gather, plan

Make = Callable[..., Any]


def picture(number: int) -> Image.Image:
    generator = torch.Generator().manual_seed(number)
    return Image.fromarray(torch.randint(0, 255, (16, 16, 3), generator=generator, dtype=torch.uint8).numpy())


def quarters(scales: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> list[Reference]:
    boxes = [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]
    return [
        Reference(picture(number), region=box, scale=scale)
        for number, (box, scale) in enumerate(zip(boxes, scales, strict=True))
    ]


def soft(number: int) -> Reference:
    ramp = torch.linspace(-0.5, 1, 64).clamp(min=0).view(8, 8)
    return Reference(picture(number), region=ramp)


WAYS: dict[str, list[list[Reference]]] = {
    "quarters": [quarters()],
    "quarters of other scales": [quarters((1.0, 0.5, 2.0, 0.25))],
    "overlapping": [[Reference(picture(0), region=(0, 0, 0.75, 1)), Reference(picture(1), region=(0.5, 0, 1, 1))]],
    "a soft mask, one everywhere": [[soft(0), Reference(picture(1), scale=0.5)]],
    "a large and a small one": [
        [Reference(picture(0), region=(0, 0, 1, 0.75)), Reference(picture(1), region=(0, 0.875, 0.25, 1))]
    ],
    "two prompts": [quarters()[:3], [soft(1)]],
    "a prompt without": [[Reference(picture(0), region=(0, 0, 0.5, 1))], []],
}


def paint(pipe: Any, prompts: int, **options: Any) -> Tensor:
    generators = [
        torch.Generator().manual_seed(seed) for seed in range(prompts * options.get("num_images_per_prompt", 1))
    ]
    return pipe(
        ["a corgi", "a mug"][:prompts],
        height=64,
        width=64,
        num_inference_steps=2,
        generator=generators,
        output_type="latent",
        **options,
    ).images


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("way", list(WAYS))
def test_gathered_calls_give_what_a_call_a_region_gives(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, way: str, images: int, guidance: float
) -> None:
    lists = WAYS[way]
    dyna = adapter(decoupling="coupled")
    options: dict[str, Any] = {"num_images_per_prompt": images}
    options |= {"true_cfg_scale": guidance, "negative_prompt": ["blurry"] * len(lists)} if guidance > 1 else {}
    found: list[Tensor] = []
    for pays in (False, True):
        monkeypatch.setattr(injection, "gathering_pays", lambda device, pays=pays: pays)
        with dyna.references(*lists):
            found.append(paint(tiny_flux, len(lists), **options))
    torch.testing.assert_close(found[0], found[1], atol=2e-5, rtol=1e-4)
    assert not torch.allclose(found[1], paint(tiny_flux, len(lists), **options), atol=1e-3)


@pytest.mark.parametrize("way", ["quarters", "overlapping", "two prompts", "a soft mask, one everywhere"])
def test_what_watches_gathered_calls_sees_the_same_events(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    lists, dyna = WAYS[way], adapter()
    heard: list[dict[Any, ReferenceEvent]] = []
    for pays in (False, True):
        monkeypatch.setattr(injection, "gathering_pays", lambda device, pays=pays: pays)
        events: dict[Any, ReferenceEvent] = {}

        def keep(event: ReferenceEvent, events: dict[Any, ReferenceEvent] = events) -> None:
            index = None if event.queries_index is None else tuple(event.queries_index.tolist())
            events[event.block, event.branch, event.progress, event.reference, tuple(event.samples.tolist()), index] = (
                event
            )

        with dyna.references(*lists), dyna.observe(keep):
            paint(tiny_flux, len(lists))
        heard.append(events)
    plain, gathered = heard
    assert plain and plain.keys() == gathered.keys()
    for key, event in plain.items():
        for part in ("query", "key", "value", "term", "output"):
            torch.testing.assert_close(getattr(gathered[key], part), getattr(event, part), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("way", list(WAYS))
def test_writing_in_place_gives_the_same_bits(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, way: str, pays: bool
) -> None:
    lists, dyna = WAYS[way], adapter(decoupling="coupled")
    monkeypatch.setattr(injection, "gathering_pays", lambda device: pays)
    with dyna.references(*lists):
        written = paint(tiny_flux, len(lists))
        monkeypatch.setattr(Injector, "_may_write", lambda self, module: False)
        copied = paint(tiny_flux, len(lists))
    assert torch.equal(written, copied)


def test_with_gradients_nothing_is_written_in_place(adapter: Make, tiny_flux: Any) -> None:
    """Autograd would notice; here every output is held and compared with itself after the pass."""
    dyna = adapter()
    attention, held = tiny_flux.transformer.transformer_blocks[0].attn, []
    before = attention.register_forward_hook(lambda m, a, o: held.append((o[0], o[0].detach().clone())), prepend=True)
    features = dyna.features([picture(0)])
    embeds = dyna.backbone.encode_prompts(tiny_flux, ["a corgi"])
    with dyna.training_pass(features, torch.ones(1, dtype=torch.bool)):
        dyna.backbone.velocity(tiny_flux, torch.randn(1, 64, 16), torch.full((1,), 0.5), embeds, (64, 64))
    before.remove()
    assert torch.equal(*held[0])


def met(calls: list[Gathered], batch: int, tokens: int) -> Tensor:
    """How many times each token is written, repeated places counted once a row."""
    count = torch.zeros(batch * tokens)
    for call in calls:
        for row in call.index:
            count[row.unique()] += 1
    return count


def test_a_gathered_call_shares_no_token_and_pads_little() -> None:
    regions = [torch.zeros(100), torch.zeros(100), torch.zeros(100), torch.zeros(100)]
    for region, (start, end) in zip(regions, ((0, 40), (40, 75), (30, 60), (90, 92)), strict=True):
        region[start:end] = 1
    slots = [
        Slot([0], torch.zeros(1, 2, 4), torch.ones(1), [region], number=number) for number, region in enumerate(regions)
    ]
    groups = [plan(slot, 1, torch.zeros(0), regional=True) for slot in slots]
    calls = gather(groups, 1, 100)
    members = [[number for number, _ in call.groups] for call in calls]
    assert members == [[0, 1], [2], [3]]  # 2 overlaps both, 3 is much smaller
    assert [call.counts for call in calls] == [[40, 35], [30], [2]]
    expected = sum(region for region in regions)
    assert torch.equal(met(calls, 1, 100), expected)


def test_groups_that_look_from_everywhere_are_not_gathered() -> None:
    whole = Group(None, None, None, torch.ones(1, 1, 1), 1.0)
    assert gather([[whole]], 1, 16) == []
