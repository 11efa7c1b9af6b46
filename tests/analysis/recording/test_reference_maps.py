"""Reference attention against full softmax matrices written out; sums, masks, weighting, merging and refusal."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynaip.errors import InputError
from dynaip_analysis.recording.reduction import attention_weights, weights_and_entropy
from dynaip_analysis.recording.reference_maps import AttentionRequest, Facts, ReferenceKeeper, layout_of

HEADS, TOKENS, KEYS, WIDTH = 3, 6, 5, 4
FACTS = Facts(
    steps=None, samples=2, references=[0], blocks={"image": [0], "text": [0]}, queries={"image": TOKENS, "text": TOKENS},
    keys=KEYS, heads=HEADS, width=8, grid=(2, 3), patches=(2, 2),
)  # fmt: skip


def facts(**changes: Any) -> Facts:
    return Facts(**({**FACTS.__dict__, **changes}))


def event(seed: int, **changes: Any) -> SimpleNamespace:
    torch.manual_seed(seed)
    values: dict[str, Any] = {
        "block": 0, "branch": "image", "progress": 0.0, "reference": 0, "samples": torch.tensor([0, 1]),
        "queries_index": None, "query": torch.randn(2, HEADS, TOKENS, WIDTH), "key": torch.randn(2, HEADS, KEYS, WIDTH),
        "term": torch.randn(2, TOKENS, 8), "output": torch.randn(2, TOKENS, 8), "weight": 0.5, "grid": (2, 3),
    }  # fmt: skip
    return SimpleNamespace(**(values | changes))


def weights_of(sent: Any) -> Tensor:
    exponents = (torch.einsum("bhtd,bhmd->bhtm", sent.query, sent.key) / math.sqrt(WIDTH)).exp()
    return exponents / exponents.sum(-1, keepdim=True)


WHERE: list[torch.device | None] = [None]


@pytest.fixture(params=[None, torch.device("cpu")], ids=["arrays", "tensors"], autouse=True)
def _where(request: Any) -> Any:
    """Sums are kept in the host's arrays, or in tensors on the device that computes."""
    WHERE[0] = request.param
    yield
    WHERE[0] = None


def kept(*sent: Any, request: AttentionRequest | None = None, budget: int = 10**8, **changes: Any) -> dict[str, Any]:
    keeper = ReferenceKeeper(request or AttentionRequest(), facts(**changes), budget, WHERE[0])
    for each in sent:
        keeper.see(each)
    return keeper.results()


def test_maps_equal_the_full_softmax() -> None:
    sent = event(0)
    found = kept(sent)
    maps = found["attention"]["image"]
    assert list(maps.axes) == ["block", "step", "sample", "reference", "query", "key"]
    got = maps.sel(block=0, step=-1, reference=0).values
    np.testing.assert_allclose(got, weights_of(sent).mean(1).numpy(), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-5)
    share = (sent.term.norm(dim=-1) / sent.output.norm(dim=-1)).numpy()
    np.testing.assert_allclose(found["share"]["image"].sel(block=0, step=0.0, reference=0).values, share, rtol=1e-5)
    entropy = -(weights_of(sent) * weights_of(sent).log()).sum(-1)
    np.testing.assert_allclose(
        found["entropy"]["image"].sel(block=0, step=-1, reference=0).values, entropy.numpy(), atol=1e-5
    )


def test_each_head() -> None:
    sent = event(1)
    maps = kept(sent, request=AttentionRequest(heads="each"))["attention"]["image"]
    assert list(maps.axes) == ["block", "step", "sample", "reference", "head", "query", "key"]
    np.testing.assert_allclose(maps.values[0, 0, :, 0], weights_of(sent).numpy(), atol=1e-6)


def test_chunks_change_nothing() -> None:
    sent, request = event(2), AttentionRequest(heads="each", masks={"left": (0.0, 0.0, 0.5, 1.0)})
    for wanted in (request, AttentionRequest()):
        whole, small = ReferenceKeeper(wanted, FACTS, 10**8, WHERE[0]), ReferenceKeeper(wanted, FACTS, 10**8, WHERE[0])
        object.__setattr__(small.plan, "chunk", 1)
        for keeper in (whole, small):
            keeper.see(sent)
        one, other = whole.results(), small.results()
        for name in one:
            np.testing.assert_allclose(one[name]["image"].values, other[name]["image"].values, atol=1e-6)


def test_energy_inside_masks_of_each_head() -> None:
    """Five keys are a class token and two rows of two patches."""
    sent = event(3)
    mask = np.array([[0, 1], [0, 1]], np.uint8)
    found = kept(sent, request=AttentionRequest(masks={"left": (0.0, 0.0, 0.5, 1.0), "right": mask}))["energy"]["image"]
    assert found.axes["mask"] == ["left", "right"]
    weights = weights_of(sent)
    np.testing.assert_allclose(
        found.sel(block=0, step=0.0, reference=0, mask="left").values, weights[..., [1, 3]].sum(-1), atol=1e-6
    )
    np.testing.assert_allclose(
        found.sel(block=0, step=0.0, reference=0, mask="right").values, weights[..., [2, 4]].sum(-1), atol=1e-6
    )


def test_a_running_mean_counts_passes_alike_or_by_their_share() -> None:
    weak, strong = event(4, term=torch.full((2, TOKENS, 8), 0.01)), event(5, term=torch.full((2, TOKENS, 8), 9.0))
    even = kept(weak, strong)["attention"]["image"].values[0, 0, :, 0]
    np.testing.assert_allclose(even, ((weights_of(weak) + weights_of(strong)) / 2).mean(1), atol=1e-6)
    found = kept(weak, strong, request=AttentionRequest(weighting="share"))
    shares = [sent.term.norm(dim=-1) / sent.output.norm(dim=-1) for sent in (weak, strong)]
    wanted = sum(w.mean(1) * s[..., None] for w, s in zip(map(weights_of, (weak, strong)), shares, strict=True))
    wanted = wanted / sum(shares)[..., None]
    np.testing.assert_allclose(found["attention"]["image"].values[0, 0, :, 0], wanted, atol=1e-6)
    np.testing.assert_allclose(found["attention"]["image"].values.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found["share"]["image"].values[0, 0, :, 0], sum(shares) / 2, rtol=1e-5)


def test_regions_and_samples_find_their_places() -> None:
    left = event(6, samples=torch.tensor([1]), queries_index=torch.tensor([0, 3]))
    for name in ("query", "term", "output"):
        setattr(left, name, getattr(left, name)[:1, ..., :2, :])
    left.key = left.key[:1]
    found = kept(left, event(7, branch="text", reference=1), references=[0, 1])
    maps = found["attention"]["image"].sel(block=0, step=0.0, reference=0)
    np.testing.assert_allclose(maps.values[1, [0, 3]], weights_of(left).mean(1).numpy()[0], atol=1e-6)
    assert np.isnan(maps.values[0]).all()
    assert np.isnan(maps.values[1, [1, 2, 4, 5]]).all()
    assert np.isnan(found["attention"]["text"].sel(reference=0, step=0.0).values).all()
    assert np.isfinite(found["attention"]["text"].sel(reference=1, step=0.0).values).all()


def test_rows_that_are_not_neighbours_find_their_places() -> None:
    sent = event(15, samples=torch.tensor([0, 2]))
    found = kept(sent, samples=3)
    maps = found["attention"]["image"].sel(block=0, step=0.0, reference=0)
    np.testing.assert_allclose(maps.values[[0, 2]], weights_of(sent).mean(1).numpy(), atol=1e-6)
    assert np.isnan(maps.values[1]).all()


def test_terms_as_means_over_queries() -> None:
    sent = event(8)
    found = kept(sent, request=AttentionRequest(terms=True))["term"]["image"]
    np.testing.assert_allclose(found.values[0, 0, :, 0], sent.term.mean(1), atol=1e-6)


def test_chosen_branches_and_blocks() -> None:
    request = AttentionRequest(branches=("text",), blocks=[1])
    found = kept(
        event(9), event(10, branch="text"), event(11, branch="text", block=1),
        request=request, blocks={"image": [0, 1], "text": [0, 1]},
    )  # fmt: skip
    assert set(found["attention"]) == {"text"}
    assert found["attention"]["text"].axes["block"] == [1]


@pytest.mark.parametrize("steps", [None, 4], ids=["steps unknown", "steps known"])
def test_a_tight_budget_merges_steps_by_their_mean(steps: int | None) -> None:
    sent = [event(k, progress=k / 4) for k in range(4)]
    exact = kept(*sent, steps=steps)["attention"]["image"]
    one, work = layout_of(AttentionRequest(), FACTS).bytes, 4 * 4096 + 4 * 2 * KEYS * FACTS.width
    found = kept(*sent, budget=work + 2 * one, steps=steps)["attention"]["image"]
    assert found.axes["step"] == [0.125, 0.625]
    np.testing.assert_allclose(found.sel(step=0.125).values, exact.sel(step=[0.0, 0.25]).mean("step").values, atol=1e-6)
    np.testing.assert_allclose(found.sel(step=0.625).values, exact.sel(step=[0.5, 0.75]).mean("step").values, atol=1e-6)
    single = kept(*sent, budget=work + one, steps=steps)["attention"]["image"]
    np.testing.assert_allclose(single.mean("step").values, exact.mean("step").values, atol=1e-6)
    assert len(single.axes["step"]) == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"branches": "image"}, "branches='image' must be some of image, text, in a list"),
        ({"branches": ["joint"]}, "must be some of image, text"),
        ({"heads": "all"}, "heads='all' must be mean or each"),
        ({"weighting": "size"}, "weighting='size' must be even or share"),
    ],
)
def test_a_misspelt_request_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        AttentionRequest(**wrong)


def test_a_budget_below_one_step_is_refused_before_anything_is_seen() -> None:
    with pytest.raises(
        InputError, match=r"one step needs [\d.]+ kB .* and the budget is 10 kB; give more, or record fewer"
    ):
        ReferenceKeeper(AttentionRequest(), facts(queries={"image": 600, "text": 6}), 10_000)


def test_the_plan_says_what_it_does() -> None:
    big = facts(
        steps=28, samples=1, blocks={"image": range(19)}, queries={"image": 4096, "text": 512}, keys=577, heads=24,
        patches=(24, 24),
    )  # fmt: skip
    plan = ReferenceKeeper(AttentionRequest(), big, 2 * 10**9).plan
    per_step = 19 * 4 * (4096 * 577 + 24 * 4096 + 2 * 4096 + 2)
    assert plan.per_step == per_step
    assert plan.work == 4 * plan.chunk + 4 * 577 * FACTS.width
    room = (2 * 10**9 - plan.work) // per_step
    assert (plan.stride, plan.groups) == (math.ceil(28 / room), math.ceil(28 / math.ceil(28 / room))) == (4, 7)
    assert plan.bytes <= plan.budget
    assert "188 MB a step over 28 steps; keeps 7 maps, each the mean of 4 neighbouring steps" in plan.words()


def test_passes_of_two_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="open another record"):
        kept(event(12), event(13, grid=(3, 2)))
    with pytest.raises(InputError, match="differ in size"):
        kept(event(14, samples=torch.tensor([1, 2])))


def test_entropy_of_rows_with_zeros() -> None:
    """Against the definition in double precision, with p log p = 0 at 0; one key alone, and all alike."""
    torch.manual_seed(15)
    query, key = torch.randn(3, 2, 5, 4) * 20, torch.randn(3, 2, 7, 4) * 20
    query[0, 0, 0] = 0
    weights, entropy = weights_and_entropy(query, key)
    exact = (query.double() @ key.double().mT / 2).softmax(-1)
    assert (exact < 1e-44).any(), "weights below what float32 can hold"
    torch.testing.assert_close(weights, attention_weights(query, key))
    torch.testing.assert_close(weights.double(), exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(entropy.double(), torch.special.entr(exact).sum(-1), atol=1e-3, rtol=0)
    assert entropy[0, 0, 0].item() == pytest.approx(np.log(7), abs=1e-6)
    assert weights_and_entropy(query, key[:, :, :1])[1].abs().max() == 0


def test_weights_of_closed_blocks_are_zero() -> None:
    """Two passes at one progress, of which the second leaves block 1 closed; a third in which nothing is open."""
    keeper = ReferenceKeeper(AttentionRequest(), facts(blocks={"image": [0, 1]}), 10**8)
    keeper.weigh(0.0, {"image": {0: 0.5, 1: 0.2}})
    keeper.see(event(16))
    keeper.weigh(0.0, {"image": {0: 0.5}})
    keeper.weigh(0.5, {})
    found = keeper.results()
    np.testing.assert_allclose(found["weight"]["image"].values, [[0.5, 0.0], [0.1, 0.0]])
    assert found["weight"]["image"].axes["step"] == [0.0, 0.5]
    assert np.isnan(found["attention"]["image"].sel(step=0.5).values).all()


def test_passes_that_find_no_room_are_refused_before_they_run() -> None:
    keeper = ReferenceKeeper(AttentionRequest(), facts(blocks={"image": [0]}), 10**8)
    keeper.check(facts(blocks={"image": [0]}))
    for change, words in (
        ({"samples": 1}, "samples 2, then 1"), ({"references": [0, 1]}, "references 1, then 2"), ({"keys": 9}, "keys 5, then 9"),
        ({"grid": (3, 2)}, "another size"), ({"blocks": {"image": [0], "text": [0]}}, "the text branch was closed"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            keeper.check(facts(**({"blocks": {"image": [0]}} | change)))


@pytest.mark.parametrize(
    "wrong", [{"branches": "image"}, {"branches": ["texts"]}, {"heads": "all"}, {"weighting": "size"}]
)
def test_requests_that_mean_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        AttentionRequest(**wrong)
