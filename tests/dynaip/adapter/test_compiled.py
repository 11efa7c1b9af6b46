"""Compiled as a whole or block by block, before attaching or after: the picture is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dynaip import DynaIP, Reference
from dynaip.adapter.compiled import Door, transformer_of
from dynaip.errors import InputError
from tests.dynaip.adapter.test_injector import paint, picture

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def wrap(pipe: Any) -> None:
    pipe.transformer = torch.compile(pipe.transformer, backend="eager", fullgraph=True)


def in_place(pipe: Any) -> None:
    pipe.transformer.compile(backend="eager", fullgraph=True)


def block_by_block(pipe: Any) -> None:
    blocks = pipe.transformer.transformer_blocks
    for number, block in enumerate(blocks):
        blocks[number] = torch.compile(block, backend="eager")


WAYS = {"wrapped": wrap, "in place": in_place, "block by block": block_by_block}


@pytest.mark.parametrize(
    ("way", "before"), [("wrapped", True), ("in place", False), ("block by block", True)], ids=lambda value: str(value)
)
def test_every_order_gives_the_same_picture(adapter: Make, tiny_flux: Any, way: str, before: bool) -> None:
    dyna = adapter(attach=False, decoupling="coupled")
    base = paint(tiny_flux)
    dyna.attach(tiny_flux)
    with dyna.references(Reference(picture(0))):
        expected = paint(tiny_flux)
    if before:
        dyna.detach()
        WAYS[way](tiny_flux)
        torch.testing.assert_close(paint(tiny_flux), base, atol=1e-5, rtol=1e-4)  # code without hooks
        dyna.attach(tiny_flux)
    else:
        WAYS[way](tiny_flux)
    with dyna.references(Reference(picture(0))):
        torch.testing.assert_close(paint(tiny_flux), expected, atol=1e-5, rtol=1e-4)
    dyna.detach()
    torch.testing.assert_close(paint(tiny_flux), base, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", [wrap, in_place])
def test_a_compiled_transformer_is_one_transformer(adapter: Make, tiny_flux: Any, tmp_path: Path, way: Any) -> None:
    """It knows its adapter, refuses another one, saves it, and is left as it was."""
    bare = tiny_flux.transformer
    way(tiny_flux)
    compiled = bare._compiled_call_impl
    dyna = adapter(decoupling="coupled")
    assert transformer_of(tiny_flux) is transformer_of(tiny_flux.transformer) is bare
    assert DynaIP.on(tiny_flux) is DynaIP.on(tiny_flux.transformer) is DynaIP.on(bare) is dyna
    with pytest.raises(InputError, match="another DynaIP adapter is attached"):
        adapter()
    tiny_flux.save_pretrained(tmp_path)
    assert (tmp_path / "dynaip" / "adapter.safetensors").is_file()
    dyna.detach()
    assert bare._compiled_call_impl is compiled
    assert not tiny_flux.transformer._forward_pre_hooks
    assert not bare._forward_pre_hooks
    assert DynaIP.on(tiny_flux) is None


def test_two_adapters_come_through_one_door(adapter: Make, tiny_flux: Any) -> None:
    in_place(tiny_flux)
    compiled = tiny_flux.transformer._compiled_call_impl
    first = adapter(decoupling="coupled")
    second = adapter(attach=False, decoupling="coupled").attach(tiny_flux, beside=True)
    door = tiny_flux.transformer._compiled_call_impl
    assert isinstance(door, Door)
    assert len(door.visitors) == 2
    first.detach()
    assert tiny_flux.transformer._compiled_call_impl is door
    second.detach()
    assert tiny_flux.transformer._compiled_call_impl is compiled


def test_a_failure_inside_leaves_the_door_open(adapter: Make, tiny_flux: Any) -> None:
    in_place(tiny_flux)
    dyna = adapter(decoupling="coupled")
    with (
        pytest.raises(InputError, match="give one list of references a prompt"),
        dyna.references(*[[Reference(picture(0))]] * 3),
    ):
        paint(tiny_flux)
    assert dyna.injector.inside == 0
