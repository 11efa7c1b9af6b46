"""Joint attention against the modules' own output and full softmax matrices, on diffusers' FLUX, SD3 and Qwen-Image blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dynaip.contracts import BlockSite
from dynaip.errors import InputError
from dynaip_analysis.recording.joint import JointEvent, JointListener, rotate, rotation
from dynaip_analysis.recording.joint_maps import JointKeeper, JointRequest
from dynaip_analysis.recording.reduction import attention_weights, columns, log_sum_exp, mass_on, rows_from
from dynaip_analysis.recording.reference_maps import Facts
from tests.waiting import Waits

BATCH, TEXT, ROWS, COLUMNS, HEADS = 2, 5, 3, 4, 2
IMAGE = ROWS * COLUMNS
WORDS = [["a", "red", "mug", "</s>"], ["a", "fish"]]


def site(attention: Any, *, single: bool = False, layout: str = "BTHd", norms: bool = True) -> BlockSite:
    own, added = ("norm_q", "norm_added_q") if norms else ("to_q", "add_q_proj")
    queries = {"image": getattr(attention, own)}
    if not single:
        queries["text"] = getattr(attention, added)
    return BlockSite("block", "single" if single else "double", attention, attention, queries, {}, {"image": 0}, {"image": 0},
                     HEADS, layout)  # fmt: skip


def flux(single: bool = False) -> tuple[BlockSite, Callable[[], Any], dict[str, Any]]:
    from diffusers.models.embeddings import get_1d_rotary_pos_embed
    from diffusers.models.transformers.transformer_flux import FluxAttention

    options = {"out_dim": 16, "bias": True, "pre_only": True} if single else {"added_kv_proj_dim": 16, "bias": True}
    attention = FluxAttention(query_dim=16, heads=HEADS, dim_head=8, **options)
    rotary = get_1d_rotary_pos_embed(
        8, torch.arange(TEXT + IMAGE).float() * 3, use_real=True, repeat_interleave_real=True
    )
    image, text = torch.randn(BATCH, IMAGE, 16), torch.randn(BATCH, TEXT, 16)
    if single:
        return site(attention, single=True), lambda: attention(torch.cat([text, image], 1), image_rotary_emb=rotary), {}
    return site(attention), lambda: attention(image, encoder_hidden_states=text, image_rotary_emb=rotary), {}


def sd3(norms: bool = True) -> tuple[BlockSite, Callable[[], Any], dict[str, Any]]:
    from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0

    attention = Attention(
        query_dim=16, cross_attention_dim=None, added_kv_proj_dim=16, dim_head=8, heads=HEADS, out_dim=16,
        context_pre_only=False, bias=True, processor=JointAttnProcessor2_0(), qk_norm="rms_norm" if norms else None,
    )  # fmt: skip
    image, text = torch.randn(BATCH, IMAGE, 16), torch.randn(BATCH, TEXT, 16)
    made = site(attention, layout="BHTd", norms=norms)
    return made, lambda: attention(image, encoder_hidden_states=text), {}


def qwen() -> tuple[BlockSite, Callable[[], Any], dict[str, Any]]:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_qwenimage import QwenDoubleStreamAttnProcessor2_0, QwenEmbedRope

    attention = Attention(
        query_dim=16, cross_attention_dim=None, added_kv_proj_dim=16, dim_head=16, heads=HEADS, out_dim=32,
        context_pre_only=False, bias=True, processor=QwenDoubleStreamAttnProcessor2_0(), qk_norm="rms_norm",
    )  # fmt: skip
    rotary = QwenEmbedRope(10000, [4, 6, 6], scale_rope=True)([(1, ROWS, COLUMNS)], max_txt_seq_len=TEXT)
    mask = torch.tensor([[True] * TEXT, [True] * (TEXT - 2) + [False] * 2])
    image, text = torch.randn(BATCH, IMAGE, 16), torch.randn(BATCH, TEXT, 16)
    options = {"encoder_hidden_states": text, "encoder_hidden_states_mask": mask, "image_rotary_emb": rotary}
    return site(attention), lambda: attention(image, **options), {"mask": mask}


MODELS: dict[str, Callable[[], tuple[BlockSite, Callable[[], Any], dict[str, Any]]]] = {
    "flux": flux, "flux single": lambda: flux(single=True), "sd3": sd3, "sd3 without norms": lambda: sd3(norms=False),
    "qwen": qwen,
}  # fmt: skip


def heard(made: BlockSite, run: Callable[[], Any]) -> tuple[JointEvent, dict[str, Tensor], Any]:
    """What the listener hears, the values that the module projects, and what the module gives."""
    events: list[JointEvent] = []
    listener = JointListener({3: made}, events.append)
    listener.text_tokens = TEXT
    values: dict[str, Tensor] = {}
    names = {"image": "to_v", "text": "add_v_proj"}
    handles = [
        getattr(made.attention, name).register_forward_hook(lambda m, a, o, branch=branch: values.update({branch: o}))
        for branch, name in names.items()
        if isinstance(getattr(made.attention, name, None), nn.Module)
    ]
    with torch.no_grad():
        output = run()
    listener.remove()
    for handle in handles:
        handle.remove()
    assert not made.attention._forward_hooks
    assert len(events) == 1
    return events[0], values, output


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_times_values_are_the_module_output(name: str) -> None:
    """The softmax of what the hooks held, times the values, through the output projections, is what the module gives."""
    torch.manual_seed(0)
    made, run, truth = MODELS[name]()
    event, values, output = heard(made, run)
    assert event.block == 3
    assert event.text_tokens == TEXT
    query, key = event.of_heads()
    weights = attention_weights(query, key, event.mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, TEXT + IMAGE))
    value = torch.cat([values[branch] for branch in ("text", "image") if branch in values], dim=1)
    mixed = (weights @ value.unflatten(-1, (HEADS, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
    if made.kind == "single":
        torch.testing.assert_close(mixed, output, atol=1e-5, rtol=1e-4)
        return
    image, text = output
    torch.testing.assert_close(made.attention.to_out[0](mixed[:, TEXT:]), image, atol=1e-5, rtol=1e-4)
    shown = truth.get("mask", torch.ones(BATCH, TEXT, dtype=torch.bool))
    torch.testing.assert_close(made.attention.to_add_out(mixed[:, :TEXT])[shown], text[shown], atol=1e-5, rtol=1e-4)


def keeper(request: JointRequest, event: JointEvent, chunk: int | None = None) -> dict[str, Any]:
    facts = Facts(
        steps=1, samples=BATCH, references=[], blocks={}, queries={"image": IMAGE, "text": TEXT}, keys=0, heads=HEADS,
        width=16, grid=(ROWS, COLUMNS), patches=(2, 2),
    )  # fmt: skip
    found = JointKeeper(request, facts, [3], TEXT, 10**7, WORDS)
    found.plan = replace(found.plan, chunk=chunk or found.plan.chunk)
    found.progress = 0.5
    found.see(event)
    return found.results(WORDS)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("heads", ["mean", "each"])
def test_columns_and_rows_equal_the_full_softmax(name: str, heads: str) -> None:
    torch.manual_seed(1)
    made, run, _ = MODELS[name]()
    event, _, _ = heard(made, run)
    full = attention_weights(*event.of_heads(), event.mask)
    full = full.mean(1, keepdim=True) if heads == "mean" else full
    request = JointRequest(
        words=["mug", "fish"], regions={"left": (0.0, 0.0, 0.5, 1.0)}, points={"corner": (0.99, 0.99)}, heads=heads
    )
    found = keeper(request, event)
    columns = torch.cat([torch.from_numpy(found["columns"][branch].values) for branch in ("text", "image")], dim=-1)
    columns = columns[0, 0] if heads == "each" else columns[0, 0, :, None]
    left = [TEXT + row * COLUMNS + column for row in range(ROWS) for column in range(COLUMNS // 2)]
    torch.testing.assert_close(columns[0, :, 0], full[0, :, :, 2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(columns[1, :, 1], full[1, :, :, 1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(columns[:, :, 2], full[..., left].sum(-1), atol=1e-6, rtol=1e-5)
    assert columns[0, :, 1].isnan().all(), "the first prompt has no fish"
    rows = torch.cat([torch.from_numpy(found["rows"][branch].values) for branch in ("text", "image")], dim=-1)
    rows = rows[0, 0] if heads == "each" else rows[0, 0, :, None]
    torch.testing.assert_close(rows[0, :, 0], full[0, :, 2], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rows[:, :, 2], full[:, :, left].mean(2), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rows[:, :, 3], full[:, :, -1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(rows[:, :, 2].sum(-1), torch.ones(BATCH, len(full[0])), atol=1e-5, rtol=0)
    assert found["columns"]["image"].sel(block=3, step=0.5, key="mug").grids == {"query": (ROWS, COLUMNS)}


@pytest.mark.parametrize("heads", ["mean", "each"])
def test_heads_that_come_one_after_the_other_are_all_there(heads: str) -> None:
    torch.manual_seed(6)
    made, run, _ = next(iter(MODELS.values()))()
    event, _, _ = heard(made, run)
    request = JointRequest(words=["mug", "fish"], points={"corner": (0.99, 0.99)}, heads=heads)
    asked: list[slice] = []

    class Counted(JointEvent):
        def of_heads(self, head: slice = slice(None)) -> tuple[Tensor, Tensor]:
            asked.append(head)
            return super().of_heads(head)

    counted = Counted(**{each.name: getattr(event, each.name) for each in fields(event)})
    together, apart = keeper(request, event), keeper(request, counted, chunk=1)
    assert len(asked) == HEADS
    for name, branches in together.items():
        for branch, found in branches.items():
            np.testing.assert_allclose(apart[name][branch].values, found.values, atol=1e-6)


def test_chunks_change_nothing() -> None:
    torch.manual_seed(2)
    query, key, targets = torch.randn(2, 3, 7, 4), torch.randn(2, 3, 9, 4), torch.rand(2, 2, 9)
    mask = torch.rand(2, 9) > 0.2
    mask[:, -1] = True
    for each_head in (False, True):
        one, other = (mass_on(query, key, targets, mask=mask, each_head=each_head, chunk=size) for size in (1, 10**9))
        torch.testing.assert_close(one, other)
        one, other = (
            rows_from(query, key, targets[:, :, :7], mask=mask, each_head=each_head, chunk=size) for size in (1, 10**9)
        )
        torch.testing.assert_close(one, other)


def test_places_that_are_known_are_read_from_no_device() -> None:
    torch.manual_seed(5)
    query, key, targets = torch.randn(2, 3, 7, 8), torch.randn(2, 3, 9, 8), torch.zeros(2, 2, 9)
    targets[0, 0, 3], targets[1, 1, 5] = 1.0, 0.5
    wanted = torch.tensor([3, 5])
    there = [each.to("meta") for each in (query, key, targets, wanted)]
    for reduce in (mass_on, rows_from):
        given = targets if reduce is mass_on else targets[:, :, :7]
        assert torch.equal(reduce(query, key, given), reduce(query, key, given, wanted=wanted))
        with Waits() as waits:
            reduce(there[0], there[1], there[2][:, :, : given.shape[2]], wanted=there[3])
        assert waits.seen == []


def test_columns_by_log_sum_exp_are_the_columns_of_the_softmax() -> None:
    torch.manual_seed(3)
    query, key = torch.randn(2, 3, 7, 4) * 3, torch.randn(2, 3, 9, 4) * 3
    full, lse = (query.double() @ key.double().mT / 2).softmax(-1), log_sum_exp(query, key)
    torch.testing.assert_close(columns(query, key[:, :, [1, 4]], lse).double(), full[..., [1, 4]], atol=1e-6, rtol=1e-5)


def test_rotation_is_diffusers_own() -> None:
    from diffusers.models.embeddings import apply_rotary_emb
    from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen

    torch.manual_seed(4)
    tokens, angles = torch.randn(2, 3, 5, 8), torch.randn(5, 4)
    cosines, sines = (each.repeat_interleave(2, dim=-1) for each in (angles.cos(), angles.sin()))
    torch.testing.assert_close(rotate(tokens, rotation((cosines, sines))), apply_rotary_emb(tokens, (cosines, sines)))
    turns = torch.polar(torch.ones(5, 4), angles)
    wanted = apply_rotary_emb_qwen(tokens.transpose(1, 2), turns, use_real=False).transpose(1, 2)
    torch.testing.assert_close(rotate(tokens, rotation((turns[2:], turns[:2]))), wanted)


def test_modules_of_another_shape_are_refused() -> None:
    odd = nn.Module()
    odd.to_q = nn.Linear(2, 2)
    with pytest.raises(InputError, match="its keys have no module of their own"):
        JointListener({0: site(odd, single=True, norms=False)}, lambda event: None)


def test_a_planted_word_is_recovered() -> None:
    """Image queries of the left half are the word's key: its column is high there and nowhere else."""
    torch.manual_seed(5)
    word = torch.randn(8) * 4
    query, key = torch.randn(BATCH, HEADS, TEXT + IMAGE, 8) * 0.1, torch.randn(BATCH, HEADS, TEXT + IMAGE, 8) * 0.1
    left = np.arange(IMAGE).reshape(ROWS, COLUMNS)[:, : COLUMNS // 2].ravel() + TEXT
    key[:, :, 2] = word
    query[:, :, left] = word
    found = keeper(JointRequest(words=["mug"]), JointEvent(3, [query], [key], TEXT))["columns"]["image"]
    shown = found.sel(sample=0, key="mug").spatial()
    assert shown[:, : COLUMNS // 2].min() > 0.9
    assert shown[:, COLUMNS // 2 :].max() < 0.2
