"""Adapters beside each other on one transformer, and copies of what carries them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import dynaip
from dynaip import DynaIP, Reference
from dynaip.errors import InputError

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8))


def paint(pipe: Any, **options: Any) -> Tensor:
    return pipe(
        prompt="a star on sea", height=16, width=24, num_inference_steps=2, output_type="latent", max_sequence_length=8,
        generator=torch.Generator().manual_seed(3), **options,
    ).images  # fmt: skip


@pytest.fixture
def pair(adapter: Make, tiny_flux: Any) -> tuple[DynaIP, DynaIP]:
    """Two adapters with different weights on ``tiny_flux``."""
    one = adapter(decoupling="coupled")
    other = adapter(attach=False, decoupling="coupled")
    with torch.no_grad():
        for parameter in other.attention.parameters():
            parameter.mul_(-0.6)
    return one, other.attach(tiny_flux, beside=True)


GUIDED = {"true_cfg_scale": 3.0, "negative_prompt": "a mug"}


@pytest.mark.parametrize("first", [0, 1])
def test_each_acts_alone_and_leaves_alone(adapter: Make, tiny_flux: Any, first: int) -> None:
    """Whichever goes first, the other one stays, still tells the passes of guidance apart, and then the base is back."""
    base = paint(tiny_flux, **GUIDED)
    single = adapter(decoupling="coupled")
    with single.references(Reference(picture(0))):
        alone = paint(tiny_flux, **GUIDED)
    other = adapter(attach=False, decoupling="coupled").attach(tiny_flux, beside=True)
    assert DynaIP.on(tiny_flux) is single
    assert DynaIP.all_on(tiny_flux) == [single, other]
    going, staying = [(single, other), (other, single)][first]
    with staying.references(Reference(picture(0))):
        assert torch.equal(paint(tiny_flux, **GUIDED), alone)
        with going.references(Reference(picture(1))):
            assert not torch.allclose(paint(tiny_flux, **GUIDED), alone, atol=1e-4)
    going.detach()
    with staying.references(Reference(picture(0))):
        assert torch.equal(paint(tiny_flux, **GUIDED), alone)
    assert DynaIP.all_on(tiny_flux) == [staying]
    staying.detach()
    assert torch.equal(paint(tiny_flux, **GUIDED), base)
    assert not {"cache_context", "save_pretrained", "_dynaip", "__deepcopy__"} & vars(tiny_flux.transformer).keys()


def test_both_are_saved_with_the_pipeline(pair: tuple[DynaIP, DynaIP], tiny_flux: Any, tmp_path: Path) -> None:
    with pair[0].references(Reference(picture(0))), pair[1].references(Reference(picture(1))):
        expected = paint(tiny_flux)
    tiny_flux.save_pretrained(tmp_path / "both")
    again = dynaip.load(tmp_path / "both")
    again.pipe.set_progress_bar_config(disable=True)
    one, other = DynaIP.all_on(again.pipe)
    assert one is again.dyna
    with one.references(Reference(picture(0))), other.references(Reference(picture(1))):
        torch.testing.assert_close(paint(again.pipe), expected, atol=1e-5, rtol=1e-4)
    pair[1].detach()
    tiny_flux.save_pretrained(tmp_path / "both")
    assert len(DynaIP.all_on(dynaip.load(tmp_path / "both").pipe)) == 1


def test_a_second_adapter_has_to_be_asked_for(adapter: Make, tiny_flux: Any) -> None:
    one = adapter()
    with pytest.raises(InputError, match="attached already"):
        one.attach(tiny_flux, beside=True)
    other = adapter(attach=False)
    with pytest.raises(InputError, match="beside=True"):
        other.attach(tiny_flux)
    with pytest.raises(InputError, match="attached first"):
        other.attach(tiny_flux, beside=True, attention_backend="native")
    assert DynaIP.all_on(tiny_flux) == [one]


def test_a_copied_transformer_is_the_base(pair: tuple[DynaIP, DynaIP], tiny_flux: Any, tmp_path: Path) -> None:
    """A copy (of an average, say) shows no reference, saves its own weights, and leaves the original as it is."""
    pipe = type(tiny_flux)(**tiny_flux.components | {"transformer": copy.deepcopy(tiny_flux.transformer)})
    pipe.set_progress_bar_config(disable=True)
    base = paint(tiny_flux)
    assert DynaIP.on(pipe) is None
    with pair[0].references(Reference(picture(0))):
        personal = paint(tiny_flux)
        assert torch.equal(paint(pipe), base)
        assert torch.equal(paint(tiny_flux), personal)
    assert not torch.allclose(personal, base, atol=1e-4)
    with torch.no_grad():
        pipe.transformer.proj_out.weight.zero_()
    pipe.transformer.save_pretrained(tmp_path / "transformer")
    saved = type(pipe.transformer).from_pretrained(tmp_path / "transformer")
    assert not saved.proj_out.weight.any()
    assert not (tmp_path / "dynaip").exists()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda dyna: pickle.loads(pickle.dumps(dyna))])
def test_a_copied_adapter_is_attached_to_nothing(adapter: Make, tiny_flux: Any, copied: Make) -> None:
    dyna = adapter(decoupling="coupled")
    with dyna.references(Reference(picture(0))):
        expected = paint(tiny_flux)
    twin = copied(dyna)
    assert not twin.attached
    twin.detach()
    assert DynaIP.on(tiny_flux) is dyna
    dyna.detach()
    with twin.attach(tiny_flux).references(Reference(picture(0))):
        assert torch.equal(paint(tiny_flux), expected)
    twin.detach()


def test_pickling_an_attached_transformer_is_one_line(adapter: Make, tiny_flux: Any) -> None:
    adapter()
    with pytest.raises(InputError, match=r"detach\(\) first"):
        pickle.dumps(tiny_flux.transformer)
