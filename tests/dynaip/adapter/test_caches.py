"""diffusers' caches: what leaves attentions out is served by the latest query, what leaves blocks out needs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)
from torch import Tensor

from dynaip import Reference
from dynaip.adapter.events import ReferenceEvent
from dynaip.errors import InputError
from tests.dynaip.adapter.test_injector import paint, picture

Make = Callable[..., Any]
STEPS = 6
GUIDED = {"true_cfg_scale": 3.0, "negative_prompt": "a large mug"}
ALWAYS = {"current_timestep_callback": lambda: 500, "spatial_attention_timestep_skip_range": (-1, 1001)}


def broadcast(every: int) -> Any:
    return PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=every, **ALWAYS)


def taylor(**options: Any) -> Any:
    return TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=2, taylor_factors_dtype=torch.float32, **options
    )


def magnitude() -> Any:
    return MagCacheConfig(
        threshold=5.0, max_skip_steps=2, retention_ratio=0.1, num_inference_steps=STEPS, mag_ratios=torch.ones(STEPS)
    )


ATTENTIONS: dict[str, Callable[[], Any]] = {"broadcast": lambda: broadcast(3), "taylor": taylor}
BLOCKS: dict[str, Callable[[], Any]] = {
    "first block": lambda: FirstBlockCacheConfig(threshold=10.0),
    "magnitude": magnitude,
    "taylor lite": lambda: taylor(use_lite_mode=True),
    "taylor blocks": lambda: taylor(cache_identifiers=[r"transformer_blocks\.\d+"]),
}


def events_of(dyna: Any, pipe: Any, *references: Reference, **options: Any) -> tuple[list[ReferenceEvent], Tensor]:
    events: list[ReferenceEvent] = []
    with dyna.observe(events.append), dyna.references(*references):
        image = paint(pipe, num_inference_steps=STEPS, **options)
    return events, image


@pytest.mark.parametrize("guidance", [{}, GUIDED], ids=["plain", "guided"])
@pytest.mark.parametrize("site", ["attention", "residual"])
@pytest.mark.parametrize("name", list(ATTENTIONS))
def test_steps_without_an_attention_are_served(
    adapter: Make, tiny_flux: Any, name: str, site: str, guidance: dict[str, Any]
) -> None:
    tiny_flux.transformer.enable_cache(ATTENTIONS[name]())
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "site": site})
    base = paint(tiny_flux, num_inference_steps=STEPS, **guidance)
    events, personal = events_of(dyna, tiny_flux, Reference(picture(0)), **guidance)
    assert set(Counter(event.progress for event in events).values()) == {4}  # two blocks, two branches
    assert not torch.allclose(personal, base, atol=1e-2)
    first = [event.query for event in events if event.block == 0 and event.branch == "image"]
    held = [torch.equal(one, other) for one, other in pairwise(first)]
    assert any(held)
    assert not all(held)
    with dyna.references(Reference(picture(0))):  # without an observer terms are written elsewhere
        torch.testing.assert_close(paint(tiny_flux, num_inference_steps=STEPS, **guidance), personal)
    assert torch.equal(paint(tiny_flux, num_inference_steps=STEPS, **guidance), base)


def test_a_skipped_step_adds_what_the_latest_query_sees(adapter: Make, tiny_flux: Any) -> None:
    """The output of a skipped attention is what the cache kept, plus the same term as in the step that made it."""
    tiny_flux.transformer.enable_cache(broadcast(STEPS))
    dyna = adapter(decoupling="coupled")
    seen: list[tuple[Tensor, ...]] = []
    handle = tiny_flux.transformer.transformer_blocks[0].attn.register_forward_hook(
        lambda module, args, output: seen.append(tuple(part.clone() for part in output))
    )
    with dyna.references(Reference(picture(0))):
        paint(tiny_flux, num_inference_steps=STEPS)
    handle.remove()
    for later in seen[1:]:
        for part, first in zip(later, seen[0], strict=True):
            torch.testing.assert_close(part, first)


@pytest.mark.parametrize("site", ["attention", "residual"])
def test_a_cache_that_never_skips_changes_nothing(adapter: Make, tiny_flux: Any, site: str) -> None:
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "site": site})
    with dyna.references(Reference(picture(0))):
        expected = paint(tiny_flux, num_inference_steps=STEPS)
        for config in (broadcast(1), FirstBlockCacheConfig(threshold=0.0)):
            tiny_flux.transformer.enable_cache(config)
            torch.testing.assert_close(paint(tiny_flux, num_inference_steps=STEPS), expected)
            tiny_flux.transformer.disable_cache()


def test_a_branch_that_opens_in_a_skipped_step_is_served(adapter: Make, tiny_flux: Any) -> None:
    tiny_flux.transformer.enable_cache(broadcast(STEPS))
    dyna = adapter(decoupling="coupled")
    events: list[ReferenceEvent] = []
    with (
        dyna.observe(events.append),
        dyna.intervene(lambda branch, block, progress: float(progress > 0.3)),
        dyna.references(Reference(picture(0))),
    ):
        paint(tiny_flux, num_inference_steps=STEPS)
    assert {event.block for event in events} == {0, 1}


@pytest.mark.parametrize("guidance", [{}, GUIDED], ids=["plain", "guided"])
@pytest.mark.parametrize("site", ["attention", "projection", "residual"])
@pytest.mark.parametrize("name", list(BLOCKS))
def test_caches_of_whole_blocks_keep_working(
    adapter: Make, tiny_flux: Any, name: str, site: str, guidance: dict[str, Any]
) -> None:
    tiny_flux.transformer.enable_cache(BLOCKS[name]())
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "site": site})
    base = paint(tiny_flux, num_inference_steps=STEPS, **guidance)
    with dyna.references(Reference(picture(0))):
        assert not torch.allclose(paint(tiny_flux, num_inference_steps=STEPS, **guidance), base, atol=1e-2)
    assert torch.equal(paint(tiny_flux, num_inference_steps=STEPS, **guidance), base)


def test_a_first_block_that_stands_for_all_adds_its_term_once(adapter: Make, tiny_flux: Any) -> None:
    """What the first block gives for all of them holds every term: behind it nothing is added, where blocks run it is."""
    tiny_flux.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    dyna = adapter(attach=False, decoupling="coupled", adapter={"token_width": 16, "site": "residual"})
    outputs: dict[str, list[Tensor]] = {"given": [], "passed on": []}
    first = tiny_flux.transformer.transformer_blocks[0]
    first.register_forward_hook(lambda module, args, output: outputs["given"].append(output[1].clone()))
    dyna.attach(tiny_flux)
    first.register_forward_hook(lambda module, args, output: outputs["passed on"].append(output[1].clone()))
    with dyna.references(Reference(picture(0))):
        paint(tiny_flux, num_inference_steps=STEPS)
    same = [torch.equal(*pair) for pair in zip(*outputs.values(), strict=True)]
    assert same == [False] + [True] * (STEPS - 1)


@pytest.mark.parametrize("name", list(ATTENTIONS))
def test_what_cannot_be_served_is_one_line(adapter: Make, tiny_flux: Any, name: str) -> None:
    tiny_flux.transformer.enable_cache(ATTENTIONS[name]())
    dyna = adapter(adapter={"token_width": 16, "site": "projection"})
    with pytest.raises(InputError, match=r"leaves attentions out.*disable_cache\(\)") as caught:
        events_of(dyna, tiny_flux, Reference(picture(0)))
    assert "\n" not in str(caught.value)


def test_a_cache_that_cuts_the_batch_is_one_line(adapter: Make, tiny_flux: Any) -> None:
    tiny_flux.transformer.enable_cache(FasterCacheConfig(tensor_format="BCHW", **ALWAYS))
    dyna = adapter()
    with pytest.raises(InputError, match="FasterCache leaves out rows of the batch"):
        events_of(dyna, tiny_flux, Reference(picture(0)))


def test_a_distilled_model_is_served_with_faster_cache(adapter: Make, tiny_flux: Any) -> None:
    scheduler = tiny_flux.scheduler
    tiny_flux.transformer.enable_cache(
        FasterCacheConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(-1, 700),
            is_guidance_distilled=True,
            attention_weight_callback=lambda _: 0.3,
            current_timestep_callback=lambda: float(scheduler.timesteps[scheduler.step_index or 0]),
        )
    )
    dyna = adapter(decoupling="coupled")
    base = paint(tiny_flux, num_inference_steps=STEPS)
    events, personal = events_of(dyna, tiny_flux, Reference(picture(0)))
    assert set(Counter(event.progress for event in events).values()) == {4}
    assert not torch.allclose(personal, base, atol=1e-2)


def test_a_cache_that_was_filled_before_is_one_line(adapter: Make, tiny_flux: Any) -> None:
    """In its first step under references an attention is left out, and nobody has met its query."""
    calls: list[dict[str, Any]] = []
    handle = tiny_flux.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )
    paint(tiny_flux, num_inference_steps=1)
    handle.remove()
    tiny_flux.transformer.enable_cache(broadcast(STEPS))
    dyna = adapter(decoupling="coupled")
    with torch.no_grad():
        tiny_flux.transformer(**calls[0])
        with pytest.raises(InputError, match=r"a cache gives what came before"), dyna.references(Reference(picture(0))):
            tiny_flux.transformer(**calls[0])
