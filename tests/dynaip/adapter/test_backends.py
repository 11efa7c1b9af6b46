"""Attention backends: reference attention follows the base's, and leaving gives everything back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models import attention_dispatch
from PIL import Image
from torch import Tensor

from dynaip import Reference
from dynaip.adapter import backends
from dynaip.adapter.backends import backend_of
from dynaip.errors import InputError, MissingDependency

Make = Callable[..., Any]
PICTURE = Image.new("RGB", (8, 8), "red")


def paint(pipe: Any) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "max_sequence_length": 24, "output_type": "latent"}
    return pipe("a star", generator=torch.Generator().manual_seed(1), **options).images


@pytest.mark.parametrize("name", ["_native_math", "flex"])
def test_references_run_on_the_bases_backend(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    dyna = adapter()
    bare = paint(tiny_flux)
    with dyna.references(Reference(PICTURE)):
        native = paint(tiny_flux)
    dyna.detach()
    calls: list[str] = []
    original = attention_dispatch.dispatch_attention_fn

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["backend"].value)
        return original(*args, **kwargs)

    monkeypatch.setattr(attention_dispatch, "dispatch_attention_fn", counted)
    dyna.attach(tiny_flux, attention_backend=name)
    assert backend_of(tiny_flux.transformer) == name
    with dyna.references(Reference(PICTURE)):
        torch.testing.assert_close(paint(tiny_flux), native, atol=1e-4, rtol=1e-4)
    # The base holds its own name of the function: these are the references', two blocks and two steps.
    assert calls == [name] * 4
    dyna.detach()
    assert backend_of(tiny_flux.transformer) is None
    assert torch.equal(paint(tiny_flux), bare)


def test_a_backend_that_the_user_sets_is_followed(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    restore = backends.use_backend(tiny_flux.transformer, "_native_math")
    with dyna.references(Reference(PICTURE)):
        paint(tiny_flux)
        assert dyna._injector.backend == "_native_math"
    restore()
    with dyna.references(Reference(PICTURE)):
        paint(tiny_flux)
        assert dyna._injector.backend is None


@pytest.mark.parametrize("name", ["flash", "sage", "xformers"])
def test_a_backend_that_is_not_installed_is_one_line(
    adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for package in ("FLASH", "SAGE", "XFORMERS"):
        monkeypatch.setattr(attention_dispatch, f"_CAN_USE_{package}_ATTN", False)
    dyna = adapter(attach=False)
    with pytest.raises(MissingDependency, match=f"attention_backend {name} cannot be used here: .*install") as caught:
        dyna.attach(tiny_flux, attention_backend=name)
    assert "\n" not in str(caught.value)
    assert not dyna.attached
    assert backend_of(tiny_flux.transformer) is None


def test_an_unknown_backend_is_answered_with_the_nearest(adapter: Make, tiny_flux: Any) -> None:
    with pytest.raises(InputError, match=r"there is no flsh; .*Did you mean flash"):
        adapter(attach=False).attach(tiny_flux, attention_backend="flsh")
