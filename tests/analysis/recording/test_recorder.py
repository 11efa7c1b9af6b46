"""Recording on a tiny FLUX: the image stays itself, maps are exact, the budget is kept, and no hook is left."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from dynaip.adapter.reference import Reference
from dynaip.errors import InputError
from dynaip_analysis.recording import reduction
from dynaip_analysis.recording.budget import parse_bytes
from dynaip_analysis.recording.recorder import AttentionRequest, JointRequest, Recording, estimate, record

Make = Callable[..., Any]
OPTIONS = {"num_inference_steps": 2, "true_cfg_scale": 2.0, "negative_prompt": ""}
PROMPTS = ["a mug", "a fish"]


def references() -> list[list[Reference]]:
    red, blue = (Reference(Image.new("RGB", (40, 30), colour), region=(0, 0, 0.5, 1)) for colour in ("red", "blue"))
    return [[red], [blue, red]]


def generate(dyna: Any, pipe: Any, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    with dyna.references(*references(), decoupling="coupled"):
        images = dyna.backbone.generate(pipe, PROMPTS, seeds=[1, 2], size=size, **OPTIONS)
    return [np.asarray(image) for image in images]


def hooks_of(model: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_the_image_is_identical_and_attention_is_exact(adapter: Make, tiny_flux: Any) -> None:
    """Two prompts with regions, not square, guided: recorded means equal a softmax of what was observed."""
    dyna = adapter()
    before = hooks_of(tiny_flux.transformer)
    plain, seen = generate(dyna, tiny_flux), []
    joint = JointRequest(words=["mug"], regions={"left": (0.0, 0.0, 0.5, 1.0)}, points={"middle": (0.5, 0.5)})
    with record(dyna, joint=joint, prompts=PROMPTS, features=True) as found, dyna.observe(seen.append):
        recorded = generate(dyna, tiny_flux)
    for one, other in zip(plain, recorded, strict=True):
        np.testing.assert_array_equal(one, other)
    assert hooks_of(tiny_flux.transformer) == before
    assert not dyna._injector.observers
    assert not dyna.fusion._forward_hooks
    assert {event.branch for event in seen} == {"image", "text"}
    for sent in seen:
        _agrees(found.attention[sent.branch], sent)
    assert found.attention["image"].values.shape[2:5] == (2, 2, 48)
    assert found.attention["image"].axes["step"] == pytest.approx(sorted({event.progress for event in seen}))
    assert found.routing[0].weights.shape[-1] == 3
    assert set(found.features[0]) == {"low", "mid", "high", "tokens"}
    assert [plan.steps for plan in found.plans] == [2, 2]
    assert found.columns["image"].axes["block"] == [0, 1, 2], "double-stream blocks, then the single-stream one"


def _agrees(maps: Any, sent: Any) -> None:
    weights = (sent.query.double() @ sent.key.double().mT / sent.query.shape[-1] ** 0.5).softmax(-1).mean(1)
    chosen = maps.sel(block=sent.block, step=sent.progress, reference=sent.reference).values[sent.samples.numpy()]
    got = chosen if sent.queries_index is None else chosen[:, sent.queries_index.numpy()]
    np.testing.assert_allclose(got, weights.numpy(), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-5)


class LargestTensor(TorchDispatchMode):
    """Hears how many bytes the largest tensor has that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(each, torch.Tensor):
                self.bytes = max(self.bytes, each.numel() * each.element_size())
        return made


def test_what_is_kept_and_what_is_worked_in_stay_within_the_budget(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    generate(dyna, tiny_flux)
    budget = 400_000
    tracemalloc.start()
    with record(dyna, routing=False, budget=budget) as found:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        generate(dyna, tiny_flux)
    grown = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    plan = found.plans[0]
    assert plan.bytes <= budget
    assert sum(part.values.nbytes for _, _, part in found.maps()) <= budget
    python = 300_000  # objects of the pipeline itself, measured without recording, stay below this
    assert grown <= budget + python
    query, key, targets = torch.randn(1, 4, 256, 8), torch.randn(1, 4, 512, 8), torch.eye(512)[None, :3]
    with LargestTensor() as watch:
        reduction.log_sum_exp(query, key, chunk=64_000)
        reduction.mass_on(query, key, targets, chunk=64_000)
    assert watch.bytes <= 64_000 + key.nbytes


def test_a_budget_that_is_too_small_is_refused_before_the_first_step(adapter: Make, tiny_flux: Any) -> None:
    dyna, passes = adapter(), []
    handle = tiny_flux.transformer.register_forward_hook(lambda *_: passes.append(1))
    before = hooks_of(tiny_flux.transformer)
    with pytest.raises(InputError, match="reference attention: one step needs"), record(dyna, budget="20kB"):
        generate(dyna, tiny_flux)
    assert not passes
    assert hooks_of(tiny_flux.transformer) == before
    handle.remove()


def test_the_estimate_is_the_plan_of_the_run_and_merging_is_said(
    adapter: Make, tiny_flux: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dyna = adapter()
    told = {"size": (64, 48), "steps": 2, "samples": 2, "references": 2, "text_tokens": 24}
    with record(dyna, budget="2MB") as found:
        generate(dyna, tiny_flux)
    assert estimate(dyna, **told, budget="2MB") == found.plans[0]
    assert not caplog.records
    tight = found.plans[0].per_step + 60_000
    with record(dyna, budget=tight):
        generate(dyna, tiny_flux)
    assert "keeps 1 maps, each the mean of 2 neighbouring steps" in caplog.text
    with pytest.raises(InputError, match="one step needs"):
        estimate(dyna, **told, budget="20kB")


def test_what_a_notebook_shows(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with record(dyna) as found:
        assert found._repr_html_() == "<p>nothing was recorded yet</p>"
        generate(dyna, tiny_flux)
    assert repr(found).startswith("Recording of\n  attention, image: block ")
    assert "<th" in found._repr_html_()
    assert found.plans[0].words() in repr(found)
    assert len(repr(found)) < 3000


def test_a_request_of_another_type_is_refused(adapter: Make) -> None:
    with pytest.raises(InputError, match=r"attention is True, False or AttentionRequest\(...\), not dict"):
        with record(adapter(), attention={"heads": "each"}):
            pass


def test_hooks_are_gone_after_an_exception(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    plain, before = generate(dyna, tiny_flux), hooks_of(tiny_flux.transformer)
    joint = JointRequest(regions={"all": (0.0, 0.0, 1.0, 1.0)})
    with pytest.raises(ZeroDivisionError), record(dyna, joint=joint), record(dyna):
        print(generate(dyna, tiny_flux)[0][1 // 0])
    assert hooks_of(tiny_flux.transformer) == before
    assert not dyna._injector.observers
    assert not dyna.fusion._forward_hooks
    for one, other in zip(plain, generate(dyna, tiny_flux), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nested_records_and_a_training_step(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    backbone = dyna.backbone
    text = backbone.encode_prompts(tiny_flux, PROMPTS)
    latents = torch.randn(2, 64, tiny_flux.transformer.config.in_channels)
    features = dyna.features([Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")])
    with record(dyna) as outer, record(dyna, attention=AttentionRequest(branches=("text",))) as inner:
        with dyna.training_pass(features, torch.tensor([True, True])):
            backbone.velocity(tiny_flux, latents, torch.tensor([0.5, 0.5]), text, (64, 64)).sum().backward()
    assert set(outer.attention) == {"image", "text"}
    assert set(inner.attention) == {"text"}
    assert outer.plans[0].steps is None
    np.testing.assert_allclose(outer.attention["image"].values.sum(-1), 1, atol=1e-5)
    assert dyna.fusion.router is not None


@pytest.mark.parametrize("fullgraph", [False, True])
def test_compiled_blocks(fullgraph: bool, adapter: Make, tiny_flux: Any) -> None:
    """Maps are those of blocks that are not compiled, also where a break of the graph would be an error."""
    dyna = adapter()
    joint = JointRequest(words=["mug"])
    with record(dyna, joint=joint, prompts=PROMPTS) as wanted:
        generate(dyna, tiny_flux)
    for block in (*tiny_flux.transformer.transformer_blocks, *tiny_flux.transformer.single_transformer_blocks):
        block.compile(backend="eager", fullgraph=fullgraph)
    plain = generate(dyna, tiny_flux)
    with record(dyna, joint=joint, prompts=PROMPTS) as found:
        recorded = generate(dyna, tiny_flux)
    for one, other in zip(plain, recorded, strict=True):
        np.testing.assert_array_equal(one, other)
    for (part, branch, one), (_, _, other) in zip(wanted.maps(), found.maps(), strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5, err_msg=f"{part} {branch}")


def test_shares_are_of_the_output_without_any_reference(adapter: Make, tiny_flux: Any) -> None:
    """The second of two references is held against what the base gives, not against what the first one added to."""
    dyna, base, terms = adapter(), [], []
    attention = tiny_flux.transformer.transformer_blocks[0].attn
    handle = attention.register_forward_hook(lambda module, args, output: base.append(output[0].clone()), prepend=True)
    two = [Reference(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue")]
    with record(dyna) as found, dyna.observe(terms.append), dyna.references(*two):
        dyna.backbone.generate(tiny_flux, ["a mug"], seeds=[1], size=(32, 48), num_inference_steps=1)
    handle.remove()
    for sent in [each for each in terms if each.block == 0]:
        wanted = sent.term.norm(dim=-1) / base[0].norm(dim=-1)
        got = found.share["image"].sel(block=0, step=0, reference=sent.reference).values
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4)


def test_weights_of_steps_in_which_a_branch_is_closed(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    late = {"use": "scheduled", "image": {"progress": [[0.4, 1.0], [1.0, 1.0]]}, "text": {"progress": 0.0}}
    with record(dyna) as found, dyna.references(Reference(Image.new("RGB", (8, 8))), decoupling=late):
        dyna.backbone.generate(tiny_flux, ["a mug"], seeds=[1], size=(32, 48), num_inference_steps=4)
    assert found.weight["image"].sel(block=0).values.tolist() == [0, 0, 1, 1]
    assert np.isnan(found.attention["image"].values[:, :2]).all()
    assert np.isfinite(found.attention["image"].values[:, 2:]).all()


def test_a_recording_without_references_says_so(
    adapter: Make, tiny_flux: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dyna = adapter()
    with record(dyna) as found:
        dyna.backbone.generate(tiny_flux, ["a mug"], seeds=[1], size=(32, 48), num_inference_steps=1)
    assert "no pass inside record(...) had a reference in an open branch" in caplog.text
    assert "nothing yet" in repr(found)
    with pytest.raises(InputError, match="axis 'branch' has no 'image'; it has nothing"):
        print(found.attention["image"])


def test_a_second_run_of_another_size_is_refused_before_it_begins(adapter: Make, tiny_flux: Any) -> None:
    dyna, passes, before = adapter(), [], hooks_of(tiny_flux.transformer)
    handle = tiny_flux.transformer.register_forward_hook(lambda *_: passes.append(1))
    one, two = ([Reference(Image.new("RGB", (8, 8)))] * count for count in (1, 2))
    options = {"seeds": [1], "size": (32, 48), "num_inference_steps": 1}

    def run(*references: Reference) -> None:
        with dyna.references(*references):
            dyna.backbone.generate(tiny_flux, ["a mug"], **options)

    with record(dyna):
        run(*one)
        with pytest.raises(InputError, match="references 1, then 2"):
            run(*two)
    assert len(passes) == 1
    handle.remove()
    assert hooks_of(tiny_flux.transformer) == before


def test_features_and_routing_keep_within_their_part(
    adapter: Make, tiny_flux: Any, caplog: pytest.LogCaptureFixture
) -> None:
    dyna = adapter()
    with pytest.raises(InputError, match="the features of the references need"):
        with record(dyna, attention=False, features=True, budget=1000):
            generate(dyna, tiny_flux)
    with record(dyna, attention=False, features=True) as found:
        generate(dyna, tiny_flux)
    calls = len(found.features)  # one a reference
    size = sum(value.nbytes for call in found.features for value in call.values())
    size += sum(fused.weights.nbytes for fused in found.routing)
    with record(dyna, attention=False, features=True, budget=size + 100) as kept:
        for _ in range(3):
            generate(dyna, tiny_flux)
    assert len(kept.features) == len(kept.routing) == calls
    assert caplog.text.count("later calls are left out") == 1


def test_requests_for_what_is_not_there(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with pytest.raises(InputError, match=r"attention: there is no block \[9\]; the blocks are 0, 1"):
        with record(dyna, attention=AttentionRequest(blocks=[0, 9])):
            pass
    with pytest.raises(InputError, match=r"joint attention: there is no block \[9\]; the blocks are 0, 1, 2"):
        with record(dyna, joint=JointRequest(points={"p": (0.5, 0.5)}, blocks=[9])):
            pass
    with (
        pytest.raises(InputError, match="3 prompts were named, but the batch holds 2"),
        record(dyna, prompts=["a"] * 3),
    ):
        generate(dyna, tiny_flux)
    for wrong, words in (
        ({"words": "mug"}, "words are a list"),
        ({"words": ["a"], "points": {"a": (0, 0)}}, "named twice"),
    ):
        with pytest.raises(InputError, match=words):
            JointRequest(**wrong)


def test_the_estimate_of_joint_attention_is_the_plan_of_the_run(adapter: Make, tiny_flux: Any) -> None:
    dyna, joint = adapter(), JointRequest(words=["mug"], regions={"left": (0.0, 0.0, 0.5, 1.0)})
    with record(dyna, attention=False, joint=joint, prompts=PROMPTS, budget="2MB") as found:
        generate(dyna, tiny_flux)
    told = estimate(dyna, size=(64, 48), steps=2, samples=2, text_tokens=24, joint=joint, budget="2MB")
    assert [told] == found.plans


def test_imported_from_the_package_when_it_is_asked_for() -> None:
    import dynaip_analysis

    assert dynaip_analysis.record is record
    assert "estimate" in dir(dynaip_analysis)
    with pytest.raises(AttributeError, match="no attribute 'recrod'"):
        dynaip_analysis.recrod  # noqa: B018


def test_saved_read_back_and_drawn_without_a_model(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    dyna = adapter()
    joint = JointRequest(words=["mug"], blocks=[0])
    with record(dyna, joint=joint, prompts=PROMPTS, features=True) as found:
        generate(dyna, tiny_flux)
    found.save(str(tmp_path / "maps.safetensors"))
    back = Recording.load(str(tmp_path / "maps.safetensors"))
    with pytest.raises(InputError, match=r"none\.safetensors is not there"):
        Recording.load(tmp_path / "none.safetensors")
    assert [(part, branch) for part, branch, _ in back.maps()] == [(part, branch) for part, branch, _ in found.maps()]
    for (_, _, one), (_, _, other) in zip(found.maps(), back.maps(), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert one.grids == other.grids
        assert one.axes == dict(other.axes)
    assert back.words == found.words
    assert back.plans == found.plans
    torch.testing.assert_close(back.routing[0].weights, found.routing[0].weights)
    torch.testing.assert_close(back.features[0]["tokens"], found.features[0]["tokens"])
    assert "data:image/png" in back.attention.sel(branch="image", sample=0).to_html()
    word = back.attention["text"].word("mug")
    assert "query" not in word.axes
    assert back.columns["image"].sel(key="mug", sample=0).spatial().shape == (8, 6)
    assert np.isnan(back.columns["image"].sel(key="mug", sample=1).values).all(), "the second prompt has no mug"
    beside = tmp_path / "maps-tensors.safetensors"
    beside.write_bytes(beside.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        Recording.load(tmp_path / "maps.safetensors")
    beside.unlink()
    with pytest.raises(InputError, match=r"maps-tensors\.safetensors is not there: routing and features"):
        Recording.load(tmp_path / "maps.safetensors")


def test_guidance_changes_nothing_in_the_first_step(adapter: Make, tiny_flux: Any) -> None:
    """The first pass with the prompt is the same with and without guidance; the negative pass is not recorded."""
    dyna = adapter()
    found = []
    for scale in (1.0, 3.0):
        joint = JointRequest(words=["star"], points={"middle": (0.5, 0.5)})
        with (
            record(dyna, joint=joint, prompts=["a star"]) as recording,
            dyna.references(Reference(Image.new("RGB", (8, 8)))),
        ):
            dyna.backbone.generate(
                tiny_flux, ["a star"], seeds=[1], size=(32, 48), num_inference_steps=1, true_cfg_scale=scale,
                negative_prompt="a fish",
            )  # fmt: skip
        found.append(recording)
    for (part, branch, one), (_, _, other) in zip(found[0].maps(), found[1].maps(), strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5, err_msg=f"{part} {branch}")
    assert found[1].rows["image"].values.shape[-1] == 24


def test_single_stream_blocks_serve_both_kinds_of_tokens(adapter: Make, tiny_flux: Any) -> None:
    dyna, seen = adapter(adapter={"token_width": 16, "single_stream": "all_tokens"}), []
    with record(dyna) as found, dyna.observe(seen.append):
        generate(dyna, tiny_flux)
    assert found.attention["text"].axes["block"] == found.attention["image"].axes["block"] == [0, 1, 2]
    for sent in seen:
        _agrees(found.attention[sent.branch], sent)


def test_words_that_are_not_there(adapter: Make) -> None:
    dyna = adapter()
    with pytest.raises(InputError, match="no 'corgi' among the text tokens"):
        with record(dyna, joint=JointRequest(words=["corgi"]), prompts=PROMPTS):
            pass
    with (
        pytest.raises(InputError, match=r"needs record\(..., prompts"),
        record(dyna, joint=JointRequest(words=["mug"])),
    ):
        pass
    with pytest.raises(InputError, match="name words, regions or points"):
        JointRequest()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512_000_000),
        ("2 GB", 2_000_000_000),
        ("1.5k", 1500),
        (7, 7),
        (1e9, 10**9),
        ("2GiB", 2**31),
        ("1TB", 10**12),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("wrong", ["much", "-1", -5, 0, True])
def test_a_size_that_is_none(wrong: Any) -> None:
    with pytest.raises(InputError, match="write for example"):
        parse_bytes(wrong)
