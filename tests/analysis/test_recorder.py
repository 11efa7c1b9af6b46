"""The recorder against full softmax matrices, its budget, and that it leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.reference import Reference
from dynaip.contracts import FusedReference
from dynaip.errors import InputError
from dynaip_analysis.recorder import AttentionRequest, Recording, parse_bytes, record, reduce_attention

HEADS, TOKENS, KEYS, WIDTH = 3, 6, 5, 4


class Fusion(nn.Module):
    def forward(self, weights: Tensor) -> FusedReference:
        return FusedReference(torch.zeros(1, 2, 3), weights)


class Window:
    """Stands for an adapter: whoever observes hears the events that are sent."""

    def __init__(self) -> None:
        self.fusion = Fusion()
        self.listeners: list[Callable[[Any], None]] = []

    @contextmanager
    def observe(self, callback: Callable[[Any], None]) -> Iterator[None]:
        self.listeners.append(callback)
        try:
            yield
        finally:
            self.listeners.remove(callback)

    def send(self, event: Any) -> None:
        for listener in list(self.listeners):
            listener(event)


def event(seed: int, **changes: Any) -> SimpleNamespace:
    torch.manual_seed(seed)
    values: dict[str, Any] = {
        "block": 0, "branch": "image", "progress": 0.0, "reference": 0, "samples": torch.tensor([0, 1]),
        "queries_index": None, "query": torch.randn(2, HEADS, TOKENS, WIDTH), "key": torch.randn(2, HEADS, KEYS, WIDTH),
        "term": torch.randn(2, TOKENS, 8), "output": torch.randn(2, TOKENS, 8), "weight": 0.5, "grid": (2, 3),
    }  # fmt: skip
    return SimpleNamespace(**(values | changes))


def manual(sent: Any) -> Tensor:
    logits = torch.einsum("bhtd,bhmd->bhtm", sent.query, sent.key) / math.sqrt(WIDTH)
    exponents = logits.exp()
    return (exponents / exponents.sum(-1, keepdim=True)).mean(1)


def test_recorded_attention_equals_the_full_softmax() -> None:
    window, sent = Window(), event(0)
    with record(window) as found:
        window.send(sent)
    maps = found.attention["image"]
    assert list(maps.axes) == ["block", "step", "sample", "reference", "query", "key"]
    got = maps.sel(block=0, step=-1, reference=0).values
    np.testing.assert_allclose(got, manual(sent).numpy(), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-5)
    share = sent.term.norm(dim=-1) / sent.output.norm(dim=-1)
    np.testing.assert_allclose(
        found.share["image"].sel(block=0, step=0.0, reference=0).values, share.numpy(), rtol=1e-5
    )
    assert found.weight["image"].values.item() == 0.5
    assert found.grid == (2, 3)


def test_entropy_per_head() -> None:
    window, sent = Window(), event(1)
    with record(window) as found:
        window.send(sent)
    weights = (sent.query @ sent.key.mT / math.sqrt(WIDTH)).softmax(-1)
    wanted = -(weights * weights.log()).sum(-1)
    np.testing.assert_allclose(
        found.entropy["image"].sel(block=0, step=-1, reference=0).values, wanted.numpy(), atol=1e-5
    )


def test_chunks_change_nothing() -> None:
    sent = event(2)
    whole, parts = reduce_attention(sent.query, sent.key), reduce_attention(sent.query, sent.key, chunk=1)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_regions_and_samples_find_their_places() -> None:
    window = Window()
    left = event(3, samples=torch.tensor([1]), queries_index=torch.tensor([0, 3]))
    for name in ("query", "term", "output"):
        setattr(left, name, getattr(left, name)[:1, ..., :2, :])
    left.key = left.key[:1]
    with record(window) as found:
        window.send(left)
        window.send(event(4, branch="text", reference=1))
    maps = found.attention["image"].sel(block=0, step=0.0, reference=0)
    np.testing.assert_allclose(maps.values[1, [0, 3]], manual(left).numpy()[0], atol=1e-6)
    assert np.isnan(maps.values[0]).all()
    assert np.isnan(maps.values[1, [1, 2, 4, 5]]).all()
    assert found.attention["text"].axes["reference"] == [1]


def test_tight_budget_merges_steps_by_their_mean() -> None:
    window, sent = Window(), [event(k, progress=k / 4) for k in range(4)]
    with record(window, budget="4GB") as exact:
        for each in sent:
            window.send(each)
    one = sum(
        array.values[:, :1].nbytes for array in (exact.attention["image"], exact.entropy["image"], exact.share["image"])
    )
    with record(window, budget=2 * one + 200) as found:
        for each in sent:
            window.send(each)
    assert len(found.attention["image"].axes["step"]) == 2
    np.testing.assert_allclose(
        found.attention["image"].mean("step").values, exact.attention["image"].mean("step").values, atol=1e-6
    )
    first = exact.attention["image"].sel(step=[0.0, 0.25]).mean("step").values
    np.testing.assert_allclose(found.attention["image"].sel(step=0.125).values, first, atol=1e-6)


def test_a_budget_below_one_step_is_refused_and_leaves_nothing() -> None:
    window = Window()
    with pytest.raises(InputError, match="one step of attention maps needs more"), record(window, budget=10):
        window.send(event(0))
    assert not window.listeners
    assert not window.fusion._forward_hooks


def test_routing_is_kept_and_hooks_are_gone_after_an_exception() -> None:
    window, weights = Window(), torch.rand(1, 4, 3)
    with pytest.raises(ZeroDivisionError), record(window) as found:
        print(window.fusion(weights), 1 / 0)
    torch.testing.assert_close(found.routing[0].weights, weights)
    assert not window.listeners
    assert not window.fusion._forward_hooks


def test_nested_records_see_the_same() -> None:
    window = Window()
    with record(window) as outer, record(window, attention=AttentionRequest(branches=("text",))) as inner:
        window.send(event(5))
        window.send(event(6, branch="text"))
    assert set(outer.attention) == {"image", "text"}
    assert set(inner.attention) == {"text"}


def test_saved_and_read_back(tmp_path: Path) -> None:
    window = Window()
    with record(window) as found:
        window.send(event(7))
    found.save(tmp_path / "maps.safetensors")
    back = Recording.load(tmp_path / "maps.safetensors")
    np.testing.assert_array_equal(back.attention["image"].values, found.attention["image"].values)
    assert back.attention["image"].axes == dict(found.attention["image"].axes)
    assert back.grid == (2, 3)


@pytest.mark.parametrize(("text", "size"), [("512MB", 512_000_000), ("2 GB", 2_000_000_000), ("1.5k", 1500), (7, 7)])
def test_sizes(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


def test_a_size_that_is_none() -> None:
    with pytest.raises(InputError, match="write for example"):
        parse_bytes("much")


def test_on_a_model_the_image_is_identical_and_attention_is_exact(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    """Two prompts with a region each: recorded means equal a softmax of the queries and keys that were observed."""
    dyna = adapter()
    red, blue = (Reference(Image.new("RGB", (40, 30), colour), region=(0, 0, 0.5, 1)) for colour in ("red", "blue"))
    options = {"num_inference_steps": 2, "true_cfg_scale": 2.0, "negative_prompt": ""}

    def generate() -> list[np.ndarray]:
        with dyna.references([red], [blue, red], decoupling="coupled"):
            images = dyna.backbone.generate(tiny_flux, ["a mug", "a fish"], seeds=[1, 2], size=(64, 48), **options)
        return [np.asarray(image) for image in images]

    plain, seen = generate(), []
    with record(dyna) as found, dyna.observe(seen.append):
        recorded = generate()
    for one, other in zip(plain, recorded, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not dyna._injector.observers
    assert found.routing[0].weights.shape[-1] == 3
    assert {event.branch for event in seen} == {"image", "text"}
    for sent in seen:
        _agrees(found.attention[sent.branch], sent)
    assert found.attention["image"].values.shape[2:5] == (2, 2, 48)


def _agrees(maps: Any, sent: Any) -> None:
    weights = (sent.query.double() @ sent.key.double().mT / sent.query.shape[-1] ** 0.5).softmax(-1).mean(1)
    chosen = maps.sel(block=sent.block, step=sent.progress, reference=sent.reference).values[sent.samples.numpy()]
    got = chosen if sent.queries_index is None else chosen[:, sent.queries_index.numpy()]
    np.testing.assert_allclose(got, weights.numpy(), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-5)
