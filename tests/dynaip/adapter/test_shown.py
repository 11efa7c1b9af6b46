"""The sentence that a notebook shows of an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Make = Callable[..., Any]


def test_the_sentence_holds_what_the_adapter_is(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="image_only")
    weights = sum(parameter.numel() for parameter in dyna.parameters())
    told = dyna.summary()
    assert told.startswith(f"DynaIP of {weights:,} weights: encoder ")
    assert all(f"{level} (layer {layer})" in told for level, layer in dyna.encoder.levels.items())
    assert f"keys and values for image branch in {len(dyna.block_numbers)} blocks; decoupling image_only" in told
    assert told.endswith("attached to FluxPipeline")
    dyna.detach()
    assert dyna.summary().endswith("attached to nothing")
    assert dyna._repr_html_() == f"<p>{dyna.summary()}</p>"
