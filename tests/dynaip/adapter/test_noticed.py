"""A reference that nobody adds is noticed, whoever keeps the hooks from seeing the query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor

from dynaip import Reference
from dynaip.errors import InputError
from tests.dynaip.adapter.test_injector import paint, picture

Make = Callable[..., Any]


class OwnProcessor:
    """An attention of one's own that computes the query's norm by itself."""

    def __call__(self, attn: Any, *args: Any, **kwargs: Any) -> Any:
        norms = attn.norm_q, attn.norm_k
        attn.norm_q, attn.norm_k = torch.nn.Identity(), torch.nn.Identity()
        try:
            return FluxAttnProcessor()(attn, *args, **kwargs)
        finally:
            attn.norm_q, attn.norm_k = norms


class PoliteProcessor(FluxAttnProcessor):
    """An attention of one's own that runs the model's norms."""


@pytest.mark.parametrize("before", [True, False], ids=["before attach", "after attach"])
def test_a_processor_that_leaves_the_norm_out_is_named(adapter: Make, tiny_flux: Any, before: bool) -> None:
    dyna = adapter(attach=False)
    if before:
        tiny_flux.transformer.set_attn_processor(OwnProcessor())
    dyna.attach(tiny_flux)
    if not before:
        tiny_flux.transformer.set_attn_processor(OwnProcessor())
    base = paint(tiny_flux)
    line = (
        r"^transformer_blocks\.0: the reference was not added to the image branch; its attention processor OwnProcessor"
    )
    with pytest.raises(InputError, match=line) as caught, dyna.references(Reference(picture(0))):
        paint(tiny_flux)
    assert "\n" not in str(caught.value)
    assert torch.equal(paint(tiny_flux), base)
    tiny_flux.transformer.set_attn_processor(PoliteProcessor())
    with dyna.references(Reference(picture(0))):
        assert not torch.equal(paint(tiny_flux), base)


def test_a_processor_that_is_set_between_two_pictures_is_named(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    with dyna.references(Reference(picture(0))):
        paint(tiny_flux)
        tiny_flux.transformer.set_attn_processor(OwnProcessor())
        with pytest.raises(InputError, match="OwnProcessor"):
            paint(tiny_flux)


def test_fused_projections_give_the_same_picture(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    with dyna.references(Reference(picture(0))):
        expected = paint(tiny_flux)
        tiny_flux.transformer.fuse_qkv_projections()
        torch.testing.assert_close(paint(tiny_flux), expected, atol=1e-5, rtol=1e-4)


def test_hooks_that_never_run_are_named(adapter: Make, tiny_flux: Any) -> None:
    """Whatever keeps a whole block's hooks from running, a block whose attention was never met is no personalised one."""
    dyna = adapter(decoupling="coupled")
    for handle in dyna.injector.hooks[3:]:
        handle.remove()
    with pytest.raises(InputError, match=r"^transformer_blocks\.1: "), dyna.references(Reference(picture(0))):
        paint(tiny_flux)


def test_a_policy_that_shuts_a_branch_asks_for_nothing(adapter: Make, tiny_flux: Any) -> None:
    tiny_flux.transformer.set_attn_processor(OwnProcessor())
    dyna = adapter(decoupling="coupled")
    base = paint(tiny_flux)
    with dyna.references(Reference(picture(0))), dyna.intervene(lambda branch, block, progress: 0.0):
        assert torch.equal(paint(tiny_flux), base)
    with dyna.references(Reference(picture(0), scale=0.0)):
        assert torch.equal(paint(tiny_flux), base)


def test_a_block_that_was_replaced_is_named(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    blocks = tiny_flux.transformer.transformer_blocks
    fresh = type(blocks[1])(dim=128, num_attention_heads=4, attention_head_dim=32)
    fresh.load_state_dict(blocks[1].state_dict())
    blocks[1] = fresh.eval()
    line = r"^transformer_blocks\.1: .* replaced after the adapter was attached"
    with pytest.raises(InputError, match=line), dyna.references(Reference(picture(0))):
        paint(tiny_flux)


def test_a_transformer_that_was_replaced_is_one_line(adapter: Make, tiny_flux: Any) -> None:
    import copy

    dyna = adapter()
    before = tiny_flux.transformer
    tiny_flux.transformer = copy.deepcopy(before)
    with pytest.raises(InputError, match="another transformer"), dyna.references(Reference(picture(0))):
        pass
    dyna.detach()
    assert not before._forward_pre_hooks


@pytest.mark.parametrize("site", ["attention", "residual"])
def test_a_cache_does_not_hide_that_nobody_adds(adapter: Make, tiny_flux: Any, site: str) -> None:
    dyna = adapter(decoupling="coupled", adapter={"token_width": 16, "site": site})
    tiny_flux.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    tiny_flux.transformer.set_attn_processor(OwnProcessor())
    with pytest.raises(InputError, match="OwnProcessor"), dyna.references(Reference(picture(0))):
        paint(tiny_flux)
