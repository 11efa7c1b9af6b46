"""DynaIP as a whole: attaching and its end, policies, training passes, blocks and spans, parity with another adapter."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from dynaip import DynaIP, Reference
from dynaip.adapter.differentiable import differentiable_attention
from dynaip.adapter.parts import chosen_blocks
from dynaip.config import AdapterConfig
from dynaip.contracts import BranchWeights, DecouplingPolicy
from dynaip.errors import ConfigError, InputError

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def inputs(batch: int = 1, rows: int = 8, columns: int = 8, *, edited: int = 0, seed: int = 0) -> dict[str, Any]:
    """Arguments of the tiny transformer; ``edited`` tokens of another image follow, as Kontext gives them."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.zeros(rows * columns + edited, 3)
    ids[: rows * columns, 1] = torch.arange(rows).repeat_interleave(columns)
    ids[: rows * columns, 2] = torch.arange(columns).repeat(rows)
    ids[rows * columns :, 0] = 1
    return {
        "hidden_states": torch.randn(batch, len(ids), 16, generator=chance),
        "timestep": torch.full((batch,), 0.5),
        "pooled_projections": torch.randn(batch, 128, generator=chance),
        "encoder_hidden_states": torch.randn(batch, 24, 128, generator=chance),
        "txt_ids": torch.zeros(24, 3),
        "img_ids": ids,
        "return_dict": False,
    }


@torch.no_grad()
def run(pipe: Any, given: dict[str, Any]) -> Tensor:
    return pipe.transformer(**given)[0]


# -- attaching and its end ---------------------------------------------------------------------------------------------


def test_deleted_pipeline_is_freed_and_the_adapter_lives_on(adapter: Make, tiny_flux_folder: Any) -> None:
    from dynaip_plugins.backbones.flux.config import FluxConfig
    from dynaip_plugins.backbones.flux.model import FluxBackbone

    dyna = adapter(attach=False)
    pipe = FluxBackbone(FluxConfig(model=str(tiny_flux_folder))).load(device="cpu", dtype=torch.float32)
    dyna.attach(pipe)
    with dyna.references(Reference(picture(0))):
        run(pipe, inputs())
    kept = [weakref.ref(pipe.transformer), weakref.ref(pipe.transformer.transformer_blocks[0].attn)]
    del pipe
    gc.collect()
    assert [one() for one in kept] == [None, None]
    assert not dyna.attached
    with pytest.raises(InputError, match="not attached"), dyna.references(Reference(picture(0))):
        pass
    dyna.detach()


def test_attaching_again_after_the_pipeline_is_gone(adapter: Make, tiny_flux: Any) -> None:
    class Holder(torch.nn.Module):
        pass

    dyna = adapter(attach=False)
    holder = Holder()
    holder.transformer = tiny_flux.transformer
    dyna.attach(holder)
    del holder
    assert dyna.attached
    dyna.detach()
    assert dyna.attach(tiny_flux) is dyna
    assert DynaIP.on(tiny_flux) is DynaIP.on(tiny_flux.transformer) is dyna
    dyna.detach()
    assert DynaIP.on(tiny_flux) is None


def test_a_forgotten_adapter_does_not_block_the_transformer(adapter: Make, tiny_flux: Any) -> None:
    """An adapter that was dropped without detach leaves hooks that do nothing, and the next one can be attached."""
    bare = run(tiny_flux, inputs())
    adapter(attach=False).attach(tiny_flux.transformer)
    vars(tiny_flux.transformer).pop("save_pretrained", None)
    gc.collect()
    assert DynaIP.on(tiny_flux) is None
    assert torch.equal(run(tiny_flux, inputs()), bare)
    dyna = adapter()
    with dyna.references(Reference(picture(0))):
        assert not torch.equal(run(tiny_flux, inputs()), bare)


def test_memory_of_a_generation_is_freed(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    held: list[weakref.ref[Tensor]] = []
    with dyna.references(Reference(picture(0)), Reference(picture(1), region=(0, 0, 0.5, 1))):
        run(tiny_flux, inputs())
        injection = dyna._injector.injection
        held += [weakref.ref(part) for kept in injection.cache.values() for pair in kept.values() for part in pair]
        held += [weakref.ref(slot.tokens) for slot in injection.slots]
        assert len(held) == 2 * 2 * 2 * 2 + 2
        del injection
    gc.collect()
    assert not any(one() is not None for one in held)


def test_cache_is_exactly_keys_and_values_of_the_open_branch(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with dyna.references(Reference(picture(0))):
        run(tiny_flux, inputs())
        cache = dyna._injector.injection.cache
        found = sum(
            part.numel() * part.element_size() for kept in cache.values() for pair in kept.values() for part in pair
        )
    tokens, width, blocks = 16, 128, 2
    assert found == 2 * blocks * tokens * width * 4


def test_inner_references_replace_the_outer_ones_for_a_while(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    given = inputs()
    with dyna.references(Reference(picture(0))):
        first = run(tiny_flux, given)
        with dyna.references(Reference(picture(1))):
            assert not torch.equal(run(tiny_flux, given), first)
        assert torch.equal(run(tiny_flux, given), first)


def test_batch_and_grid_may_change_within_one_context(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    reference = Reference(picture(0), region=(0, 0, 0.5, 1))
    shapes = [inputs(), inputs(3), inputs(1, 4, 8), inputs()]
    with dyna.references(reference):
        together = [run(tiny_flux, given) for given in shapes]
    for given, output in zip(shapes, together, strict=True):
        with dyna.references(reference):
            assert torch.equal(run(tiny_flux, given), output)


def test_text_branch_is_left_where_it_is_until_a_policy_opens_it(adapter: Make, tiny_flux: Any) -> None:
    """The unused half of the adapter is not moved to the transformer's device."""
    dyna = adapter(attach=False)
    text = dyna.attention.branches["text"]
    moved: list[str] = []
    for name, pairs in dyna.attention.branches.items():
        for pair in pairs:
            pair.to("meta") if name == "text" else None
            pair.register_forward_hook(lambda *_, name=name: moved.append(name))
    dyna.attach(tiny_flux)
    with dyna.references(Reference(picture(0))):
        run(tiny_flux, inputs())
    assert moved == ["image", "image"]
    assert {parameter.device.type for parameter in text.parameters()} == {"meta"}


# -- references over prompts ---------------------------------------------------------------------------------------------


def test_prompt_aware_router_reads_each_prompt_of_the_batch(adapter: Make, tiny_flux: Any) -> None:
    """One flat reference for two prompts equals two single runs, though the router reads the prompt."""
    dyna = adapter(fusion={"use": "hmoe", "router": "prompt"})
    both = inputs(4)
    by_batch = ("hidden_states", "timestep", "pooled_projections", "encoder_hidden_states")
    with dyna.references(Reference(picture(0))):
        together = run(tiny_flux, both)
    for row in range(4):
        alone = {name: value[row : row + 1] if name in by_batch else value for name, value in both.items()}
        with dyna.references(Reference(picture(0))):
            torch.testing.assert_close(together[row : row + 1], run(tiny_flux, alone), atol=1e-5, rtol=1e-5)
    other = both | {"pooled_projections": both["pooled_projections"] * -1}
    tokens = [
        dyna.fuse(dyna.features([picture(0)]), condition=given["pooled_projections"][:1]).tokens
        for given in (both, other)
    ]
    assert not torch.allclose(*tokens)


def test_place_of_a_reference_counts_those_with_scale_zero(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    seen: set[int] = set()
    silent, loud = Reference(picture(0), region=(0, 0, 1, 1), scale=0), Reference(picture(1), region=(0, 0, 0.5, 1))
    with dyna.references(silent, loud), dyna.observe(lambda event: seen.add(event.reference)):
        both = run(tiny_flux, inputs())
    assert seen == {1}
    with dyna.references(loud):
        assert torch.equal(run(tiny_flux, inputs()), both)


def test_one_reference_in_quarters_costs_what_one_costs(adapter: Make, tiny_flux: Any) -> None:
    """Queries attend only to the reference whose region they are in: counted, not timed."""
    dyna = adapter()
    quarters = [(x, y, x + 0.5, y + 0.5) for x in (0, 0.5) for y in (0, 0.5)]

    def queries(*references: Reference) -> int:
        counted: list[int] = []
        with dyna.references(*references), dyna.observe(lambda event: counted.append(event.query.shape[2])):
            run(tiny_flux, inputs())
        return sum(counted)

    assert queries(*[Reference(picture(k), region=box) for k, box in enumerate(quarters)]) == queries(
        Reference(picture(0))
    )


# -- policies --------------------------------------------------------------------------------------------------------------


class HalfText(DecouplingPolicy):
    """A policy of somebody's own, as an object."""

    def weights(self, phase: Any, *, block: int, blocks: int, progress: float) -> BranchWeights:
        assert blocks == 2
        return BranchWeights(0.0, 0.5 if block == 1 and progress == 0.5 else 0.0)

    def branches(self, phase: Any) -> frozenset[Any]:
        return frozenset({"text"})


def test_policies_swap_for_once_and_for_good(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    given, reference = inputs(), Reference(picture(0))

    def painted(**extra: Any) -> Tensor:
        with dyna.references(reference, **extra):
            return run(tiny_flux, given)

    dynamic = painted()
    coupled = painted(decoupling="coupled")
    assert not torch.equal(dynamic, coupled)
    assert torch.equal(painted(), dynamic)
    dyna.set_policy("coupled")
    assert torch.equal(painted(), coupled)
    assert dyna.specs.decoupling.use == "builtin:coupled"
    dyna.set_policy("dynamic")
    events: list[Any] = []
    with dyna.observe(events.append):
        painted(decoupling=HalfText())
    assert [(event.block, event.branch, event.weight) for event in events] == [(1, "text", 0.5)]
    with pytest.raises(InputError, match="coupled"):
        painted(decoupling="couple")


# -- training ----------------------------------------------------------------------------------------------------------------


def training_step(dyna: Any, pipe: Any, keep: list[bool], seed: int = 0) -> Tensor:
    features = dyna.features([picture(number) for number in range(len(keep))])
    with dyna.training_pass(features, torch.tensor(keep)):
        output = pipe.transformer(**inputs(len(keep), seed=seed))[0]
    return (output - torch.randn(output.shape, generator=torch.Generator().manual_seed(9))).square().mean()


def test_values_learn_first_then_keys_and_fusion(adapter: Make, tiny_flux: Any, experiment: Make) -> None:
    """V starts at zero: at step 0 only V gets a gradient, from step 1 on everything does."""
    tiny_flux.transformer.requires_grad_(False)
    dyna = DynaIP.build(experiment(), tiny_flux.transformer).attach(tiny_flux)
    optimizer = torch.optim.SGD(dyna.trainable_parameters(), lr=1.0)

    def moved() -> set[str]:
        optimizer.zero_grad()
        training_step(dyna, tiny_flux, [True, True]).backward()
        return {name for name, one in dyna.named_parameters() if one.grad is not None and one.grad.abs().max() > 0}

    names = {name for name, _ in dyna.named_parameters()}
    assert moved() == {name for name in names if "to_v" in name}
    optimizer.step()
    assert moved() == names


def test_dropped_reference_is_the_base(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    given = inputs(2)
    with differentiable_attention(torch.device("cpu")):
        bare = run(tiny_flux, given)
    features = dyna.features([picture(0), picture(1)])
    with dyna.training_pass(features, torch.tensor([False, True])) as made:
        output = tiny_flux.transformer(**given)[0]
    assert torch.equal(output[0], bare[0])
    assert not torch.equal(output[1], bare[1])
    assert made.fused.tokens.shape == (2, 16, 16)
    with dyna.references([], [Reference(picture(1))]):
        torch.testing.assert_close(run(tiny_flux, given), output.detach(), atol=1e-5, rtol=1e-5)


def test_several_references_of_a_sample_are_what_references_inject(adapter: Make, tiny_flux: Any) -> None:
    dyna, given = adapter(decoupling="coupled"), inputs(2)
    left = Reference(picture(1), region=(0.0, 0.0, 0.5, 1.0))
    samples = [[Reference(picture(0))], [left, Reference(picture(2))]]
    features = dyna.features([one.picture() for sample in samples for one in sample])
    with dyna.references(*samples):
        expected = run(tiny_flux, given)
    regions = [None, left.weights((8, 8)), None]
    with dyna.training_pass(features, torch.tensor([True, True]), rows=[0, 1, 1], regions=regions) as made:
        output = tiny_flux.transformer(**given)[0]
    torch.testing.assert_close(output.detach(), expected, atol=1e-5, rtol=1e-5)
    assert made.fused.tokens.shape[0] == 3


@pytest.mark.parametrize(
    ("policy", "branches"),
    [("image_only", {"image"}), ("text_only", {"text"}), ("dynamic", {"image", "text"})],
)
def test_trainable_parameters_follow_the_policy(adapter: Make, tiny_flux: Any, policy: str, branches: set[str]) -> None:
    dyna = adapter(decoupling=policy)
    tiny_flux.transformer.requires_grad_(False)
    training_step(dyna, tiny_flux, [True]).backward()
    with_gradient = {id(parameter) for parameter in dyna.parameters() if parameter.grad is not None}
    assert with_gradient == {id(parameter) for parameter in dyna.trainable_parameters()}
    learning = [name.split(".") for name, one in dyna.named_parameters() if one.grad is not None]
    assert {name[2] for name in learning if name[1] == "branches"} == branches


# -- blocks, spans and other people's adapters --------------------------------------------------------------------------------


BLOCKS = {
    "all": ({"blocks": "all"}, [0, 1, 2, 3, 4]),
    "slice": ({"blocks": "1:4"}, [1, 2, 3]),
    "open slice": ({"blocks": "3:"}, [3, 4]),
    "step": ({"blocks": "::2"}, [0, 2, 4]),
    "backwards": ({"blocks": "-1::-3"}, [1, 4]),
    "list": ({"blocks": [4, 0]}, [0, 4]),
    "single": ({"blocks": [1], "single_stream": "image_tokens"}, [1, 5, 6]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_chosen_blocks(name: str) -> None:
    options, expected = BLOCKS[name]
    assert chosen_blocks(AdapterConfig(**options), {"double_blocks": 5, "single_blocks": 2}) == expected


@pytest.mark.parametrize(
    "options",
    [{"blocks": [5]}, {"blocks": "5:"}, {"blocks": "::0"}, {"single_stream": "all_tokens", "site": "residual"}],
)
def test_blocks_that_are_not_there(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"adapter\."):
        chosen_blocks(AdapterConfig(**options), {"double_blocks": 5, "single_blocks": 2})


@pytest.mark.parametrize("site", ["attention", "projection", "residual"])
@pytest.mark.parametrize("span", ["image_tokens", "all_tokens"])
@pytest.mark.parametrize("edited", [0, 16])
def test_single_stream_blocks_by_hand(adapter: Make, tiny_flux: Any, site: str, span: str, edited: int) -> None:
    """Text tokens come first, image tokens next, an edited image's tokens last: the term lands on the right ones."""
    if site == "residual" and span == "all_tokens":
        pytest.skip("refused by the config")
    dyna = adapter(adapter={"token_width": 16, "site": site, "single_stream": span})
    block = tiny_flux.transformer.single_transformer_blocks[0]
    seen: dict[str, Tensor] = {}
    where = block if site == "residual" else block.attn
    handles = [
        block.attn.norm_q.register_forward_hook(lambda m, a, o: seen.__setitem__("query", o.transpose(1, 2).clone())),
        where.register_forward_hook(
            lambda m, a, o: seen.__setitem__("output", (torch.cat(o, dim=1) if isinstance(o, tuple) else o).clone())
        ),
    ]
    given = inputs(edited=edited)
    with dyna.references(Reference(picture(0))), dyna.intervene(lambda branch, number, progress: float(number == 2)):
        run(tiny_flux, given)
    after = seen["output"]
    with dyna.references():
        run(tiny_flux, given)
    for handle in handles:
        handle.remove()
    tokens = dyna.fuse(dyna.features([picture(0)])).tokens
    key, value = dyna.attention.pair("image", 2)(tokens)
    term = torch.softmax(seen["query"] @ key.transpose(-1, -2) / 32**0.5, dim=-1) @ value
    term = term.transpose(1, 2).flatten(2)
    term[:, 24 + 64 :] = 0
    if span == "image_tokens":
        term[:, :24] = 0
    torch.testing.assert_close(after - seen["output"], term, atol=2e-5, rtol=1e-4)


def test_an_edited_images_tokens_see_no_reference(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(adapter={"token_width": 16, "blocks": [0]})
    outputs: list[Tensor] = []
    handle = tiny_flux.transformer.transformer_blocks[0].attn.register_forward_hook(
        lambda m, a, o: outputs.append(o[0])
    )
    for references in ([], [Reference(picture(0))]):
        with dyna.references(*references):
            run(tiny_flux, inputs(edited=16))
    handle.remove()
    bare, given = outputs
    assert torch.equal(bare[:, 64:], given[:, 64:])
    assert (bare[:, :64] != given[:, :64]).any(dim=-1).all()


def test_shared_branches_share_keys_and_values(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(adapter={"token_width": 16, "share_branches": True}, decoupling="coupled")
    calls: list[int] = []
    for place in range(2):
        dyna.attention.pair("image", place).register_forward_hook(lambda *_: calls.append(1))
    events: list[Any] = []
    with dyna.references(Reference(picture(0))), dyna.observe(events.append):
        run(tiny_flux, inputs())
    assert len(calls) == 2
    assert {event.branch for event in events} == {"image", "text"}
    assert events[0].key is events[1].key


def test_parity_with_the_ip_adapter_of_diffusers(adapter: Make, tiny_flux: Any) -> None:
    """The same keys and values at site ``residual`` give what diffusers' own FLUX IP-Adapter gives."""
    dyna = adapter(adapter={"token_width": 16, "site": "residual", "bias": True}, decoupling="image_only")
    transformer, given = tiny_flux.transformer, inputs(2)
    bare = run(tiny_flux, given)
    with dyna.references(Reference(picture(0), scale=0.6)):
        ours = run(tiny_flux, given)
    tokens = dyna.fuse(dyna.features([picture(0)])).tokens
    processors = dict(transformer.attn_processors)
    for place in range(2):
        theirs = FluxIPAdapterAttnProcessor(128, 16, num_tokens=(16,), scale=0.6)
        pair = dyna.attention.pair("image", place)
        theirs.to_k_ip[0].load_state_dict(pair.to_k.state_dict())
        theirs.to_v_ip[0].load_state_dict(pair.to_v.state_dict())
        processors[f"transformer_blocks.{place}.attn.processor"] = theirs
    transformer.set_attn_processor(processors)
    for block in transformer.transformer_blocks:
        # The model hands the tokens on as they are: its own projection of image embeddings is not ours to test.
        block.attn.register_forward_pre_hook(
            lambda m, a, k: (a, k | {"ip_hidden_states": [tokens.expand(2, -1, -1)]}), with_kwargs=True
        )
    torch.testing.assert_close(run(tiny_flux, given), ours, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, bare, atol=1e-3)


def test_compiled_blocks_trace_through_the_hooks(adapter: Make, tiny_flux: Any) -> None:
    """``torch.compile(fullgraph=True)`` of every block: no graph break, the same numbers, one graph for all blocks.

    The blocks are compiled and run before the adapter comes: it has to be noticed.
    """
    torch._dynamo.reset()
    given, other = inputs(2), inputs(2, seed=1)
    plain = run(tiny_flux, given)
    tiny_flux.transformer.compile_repeated_blocks(backend=(counter := Counter()), fullgraph=True)
    torch.testing.assert_close(run(tiny_flux, given), plain, atol=1e-6, rtol=1e-5)
    without = counter.graphs
    dyna = adapter(decoupling="coupled")
    references = [Reference(picture(0)), Reference(picture(1), region=(0, 0, 0.5, 1), scale=0.5)]
    with dyna.references(*references):
        compiled = [run(tiny_flux, one) for one in (given, other)]
    assert counter.graphs <= without + 2
    back = run(tiny_flux, given)
    torch._dynamo.reset()
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(back, plain, atol=1e-6, rtol=1e-5)
        with dyna.references(*references):
            for one, output in zip((given, other), compiled, strict=True):
                torch.testing.assert_close(output, run(tiny_flux, one), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(compiled[0], plain, atol=1e-3)


class Counter:
    """A compiler backend that runs graphs as they are and counts them."""

    graphs = 0

    def __call__(self, module: torch.fx.GraphModule, examples: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return module.forward


def test_half_precision_base_keeps_its_type(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    tiny_flux.transformer.to(torch.bfloat16)
    given = {name: value.bfloat16() if torch.is_tensor(value) else value for name, value in inputs().items()}
    with dyna.references(Reference(picture(0))):
        output = run(tiny_flux, given)
        cache = dyna._injector.injection.cache
        assert {part.dtype for kept in cache.values() for pair in kept.values() for part in pair} == {torch.bfloat16}
    assert output.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in dyna.parameters()} == {torch.float32}


def test_only_trained_branches_are_kept(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    """What training never touched is neither stored nor usable: opening that branch is one plain line."""
    dyna = adapter(decoupling="image_only")
    dyna.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "adapter.safetensors") if ".text." in name]
    with pytest.raises(InputError, match="text branch"), dyna.references(Reference(picture(0)), decoupling="coupled"):
        pass
    with pytest.raises(InputError, match="text branch"):
        dyna.set_policy("coupled")
    dyna.detach()
    again = DynaIP.from_pretrained(tmp_path).attach(tiny_flux)
    assert again.state_dict().keys() == dyna.state_dict().keys()


def test_a_swapped_policy_keeps_both_branches_on_disk(adapter: Make, tmp_path: Path) -> None:
    dyna = adapter(decoupling="dynamic", attach=False)
    dyna.set_policy("image_only")
    again = DynaIP.from_pretrained(dyna.save_pretrained(tmp_path))
    assert again.policy.branches("inference") == {"image"}
    again.set_policy("coupled")
    assert again.state_dict().keys() == dyna.state_dict().keys()


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


def test_granularity_reaches_the_tokens(adapter: Make, tiny_flux: Any) -> None:
    """The tokens that blocks attend to are those of the fusion under the coefficients, whatever kind of number they are."""
    dyna = adapter(decoupling="coupled")
    features = dyna.features([picture(0)])
    for granularity in ({"low": 4.0}, {"low": np.float32(4.0), "mid": torch.tensor(0)}, None, {}):
        events: list[Any] = []
        with dyna.observe_passes(events.append), dyna.references(Reference(picture(0)), granularity=granularity):
            run(tiny_flux, inputs())
        plain = {level: float(value) for level, value in (granularity or {}).items()}
        torch.testing.assert_close(events[0].slots[0].tokens, dyna.fuse(features, coefficients=plain).tokens)
        assert torch.equal(events[0].slots[0].tokens, dyna.fuse(features).tokens) is not bool(granularity)


@pytest.mark.parametrize(
    ("granularity", "line"),
    [(1.5, "name levels"), ("low", "name levels"), ([1.0], "name levels"), ({"low": None}, "low=None must be a number"),
     ({"low": "1.5"}, "low='1.5' must be a number"), ({"low": True}, "must be a number"), ({"low": 1e30}, "from 0 to 1000"),
     ({"low": float("nan")}, "must be a number"), ({"lo": 1.0}, "Did you mean low"), ({3: 1.0}, "no level 3")],
)  # fmt: skip
def test_granularity_that_is_none_is_one_line(adapter: Make, granularity: Any, line: str) -> None:
    dyna = adapter()
    with (
        pytest.raises(InputError, match=line) as caught,
        dyna.references(Reference(picture(0)), granularity=granularity),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_two_backward_passes_in_one_context(adapter: Make, tiny_flux: Any) -> None:
    """Every pass has a graph of its own: gradients of two are the sum of their own, as when each has its own context."""
    dyna = adapter(decoupling="coupled")
    tiny_flux.transformer.requires_grad_(False)
    features, keep = dyna.features([picture(0)]), torch.tensor([True])
    first, second = inputs(), inputs()
    second["hidden_states"] = second["hidden_states"] * 0.5

    def backward(*passes: dict[str, Any]) -> list[Tensor]:
        dyna.zero_grad()
        with dyna.training_pass(features, keep):
            for given in passes:
                tiny_flux.transformer(**given)[0].square().mean().backward(retain_graph=True)
        return [each.grad.clone() for each in dyna.trainable_parameters() if each.grad is not None]

    alone = [backward(first), backward(second)]
    for both, one, other in zip(backward(first, second), *alone, strict=True):
        torch.testing.assert_close(both, one + other, atol=1e-6, rtol=1e-4)


def test_queries_are_freed_after_a_failure_inside_a_block(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(decoupling="coupled")
    held: list[Any] = []

    def fail(module: Any, args: Any, output: Tensor) -> None:
        held.append(weakref.ref(output))
        raise RuntimeError("out of memory")

    block = tiny_flux.transformer.transformer_blocks[1].attn
    handle = block.norm_q.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"), dyna.references(Reference(picture(0))):
        run(tiny_flux, inputs())
    handle.remove()
    gc.collect()
    assert not any(place.queries or place.latest or place.kept for place in dyna.injector.places)
    assert held[0]() is None
    with dyna.references(Reference(picture(0))):
        run(tiny_flux, inputs())
    assert not any(place.queries for place in dyna.injector.places)


@pytest.mark.parametrize(
    "weights", [BranchWeights(float("nan"), 1.0), BranchWeights(1.0, float("inf")), (1.0, 1.0), None]
)
def test_a_policy_that_gives_no_weights_is_named(adapter: Make, tiny_flux: Any, weights: Any) -> None:
    class Broken(DecouplingPolicy):
        def weights(self, phase: Any, *, block: int, blocks: int, progress: float) -> Any:
            return weights

        def branches(self, phase: Any) -> Any:
            return frozenset({"image"})

    dyna = adapter()
    with pytest.raises(InputError, match="Broken"), dyna.references(Reference(picture(0)), decoupling=Broken()):
        run(tiny_flux, inputs())


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), np.float32("nan"), 1e30])
def test_an_intervention_that_is_not_finite_is_one_line(adapter: Make, tiny_flux: Any, factor: Any) -> None:
    dyna = adapter()
    line = r"^the weight of the image branch in block 0 is (nan|inf|1e\+30), beyond 1000; see decoupling and intervene"
    with (
        pytest.raises(InputError, match=line),
        dyna.intervene(lambda *_: factor),
        dyna.references(Reference(picture(0))),
    ):
        run(tiny_flux, inputs())


def test_features_that_are_not_finite_are_one_line(adapter: Make) -> None:
    dyna = adapter()
    next(dyna.encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"^encoder \S+: level low of a reference is not finite"):
        dyna.references(Reference(picture(0))).__enter__()
