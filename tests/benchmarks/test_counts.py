"""Costs that no noise touches: FLOPs, bytes and calls, on the true layout of FLUX.1 (19 + 38 blocks, 1024 x 1024 pixels)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from dynaip import Reference
from dynaip.adapter import terms
from dynaip.adapter.injector import ReferenceEvent

DOUBLE, IMAGE, TOKENS, WIDTH = 19, 4096, 577, 3072
QUARTERS = [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]


def flops_of(model: Any, inputs: dict[str, Any]) -> int:
    """Floating-point operations of one pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def flops_with(model: Any, inputs: dict[str, Any], dyna: Any, references: Sequence[Reference]) -> tuple[int, int]:
    """Operations of the first pass, which makes keys and values, and of every later one."""
    with dyna.references(*references):
        return flops_of(model, inputs), flops_of(model, inputs)


@pytest.fixture(scope="module")
def flux(make_flux: Callable[..., Any], inputs_of: Callable[..., Any], make_adapter: Callable[..., Any]) -> Any:
    model = make_flux()
    inputs = inputs_of(model)
    base = flops_of(model, inputs)
    return model, inputs, make_adapter(model).attach(model), base


def test_flops_of_a_step_with_one_reference(flux: Any, picture: Image.Image) -> None:
    model, inputs, dyna, base = flux
    first, later = flops_with(model, inputs, dyna, [Reference(picture)])
    by_hand = DOUBLE * 4 * IMAGE * TOKENS * WIDTH / base
    extra = later / base - 1
    print(f"\none reference, K/V cached: +{extra:.2%} FLOPs over the base ({base / 1e12:.1f} TFLOPs); "
          f"by arithmetic +{by_hand:.2%}; the first step +{first / base - 1:.2%}")  # fmt: skip
    assert extra == pytest.approx(by_hand, abs=5e-4)
    assert extra < 0.0079


def test_without_references_a_step_costs_what_the_base_costs(flux: Any) -> None:
    model, inputs, _, base = flux
    assert flops_of(model, inputs) == base


def test_four_references_in_quarters_cost_what_one_costs(
    make_flux: Callable[..., Any], inputs_of: Callable[..., Any], make_adapter: Callable[..., Any], picture: Image.Image
) -> None:
    model = make_flux(double=2, single=0)  # the ratio does not depend on the depth
    inputs, dyna = inputs_of(model), make_adapter(model).attach(model)
    base = flops_of(model, inputs)
    one, four, whole = (
        flops_with(model, inputs, dyna, references)[1] - base
        for references in (
            [Reference(picture)],
            [Reference(picture, region=box) for box in QUARTERS],
            [Reference(picture) for _ in QUARTERS],
        )
    )
    print(f"\nfour references in quarters: {four / one:.3f} x the attention of one; everywhere: {whole / one:.3f} x")
    assert four / one <= 1.15


def test_bytes_of_keys_and_values(flux: Any, picture: Image.Image) -> None:
    model, inputs, dyna, _ = flux
    held: dict[str, dict[int, int]] = {"image": {}, "text": {}}

    def see(event: ReferenceEvent) -> None:
        held[event.branch][event.block] = sum(part.numel() * part.element_size() for part in (event.key, event.value))

    with dyna.references(Reference(picture), decoupling="coupled"), dyna.observe(see), torch.no_grad():
        model(**inputs)
    sizes = {branch: sum(blocks.values()) / 2**20 for branch, blocks in held.items()}
    print(f"\nkeys and values of one reference, bf16: {sizes['image']:.1f} MiB a branch")
    assert sizes["image"] == sizes["text"] == DOUBLE * TOKENS * WIDTH * 2 * 2 / 2**20
    assert sizes["image"] == pytest.approx(128.5, abs=0.05)


@pytest.mark.parametrize(
    ("policy", "scale", "projections", "attentions"),
    [
        ("dynamic", 1.0, {"image": DOUBLE, "text": 0}, 2 * DOUBLE),
        ("coupled", 1.0, {"image": DOUBLE, "text": DOUBLE}, 4 * DOUBLE),
        ("text_only", 1.0, {"image": 0, "text": DOUBLE}, 2 * DOUBLE),
        ("coupled", 0.0, {"image": 0, "text": 0}, 0),
    ],
)
def test_calls_of_two_steps(
    flux: Any, picture: Image.Image, monkeypatch: pytest.MonkeyPatch, policy: str, scale: float,
    projections: dict[str, int], attentions: int,
) -> None:  # fmt: skip
    model, inputs, dyna, _ = flux
    calls = {"image": 0, "text": 0, "attend": 0}
    original = terms.attend

    def attend(*arguments: Any) -> Any:
        calls["attend"] += 1
        return original(*arguments)

    def counting(branch: str) -> Callable[..., None]:
        return lambda *_: calls.update({branch: calls[branch] + 1})

    monkeypatch.setattr(terms, "attend", attend)
    handles = [dyna.attention.pair(branch, block).register_forward_hook(counting(branch))
               for branch in ("image", "text") for block in range(DOUBLE)]  # fmt: skip
    with dyna.references(Reference(picture, scale=scale), decoupling=policy), torch.no_grad():
        model(**inputs)
        model(**inputs)
    for handle in handles:
        handle.remove()
    print(
        f"\n{policy}, scale {scale}, two steps: K/V {calls['image']} image, {calls['text']} text; attention {calls['attend']}"
    )
    assert {branch: calls[branch] for branch in projections} == projections
    assert calls["attend"] == attentions
