"""What a reference costs in a generation: a step, what is done once, regions, recording, and diffusers' own adapter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from dynaip import DynaIP, Reference
from dynaip_analysis.recording.recorder import record

from .models import Bench
from .timing import Clock, Figure, Measure, Run, free, in_turn, number, peak_gib, ratio, seconds, timed

STEPS = 28
PART = 6
"""Steps of a generation where a step alone is asked for."""
WIDE = 336
"""Pixels of a tower with 577 tokens."""


def measures(bench: Bench) -> list[Measure]:
    """What is most wanted first; seconds are those of an H100, where a step takes 0.2 s."""
    return [
        Measure("bits", 10, lambda clock: untouched(bench)),
        Measure("steps, 256 tokens", 38, lambda clock: steps_of(bench, clock), 16),
        Measure("whole generation, 256 tokens", 50, lambda clock: whole(bench, bench.dyna, clock), 20),
        Measure("waits", 8, lambda clock: waits(bench), 6),
    ]


def later_measures(bench: Bench) -> list[Measure]:
    """What takes another adapter, and what compiles the base's blocks."""

    def on_wide(run: Callable[[Bench, DynaIP, Clock], Iterable[Figure]]) -> Callable[[Clock], Iterable[Figure]]:
        return lambda clock: run(bench, bench.other(WIDE), clock)

    return [
        Measure("steps, 577 tokens", 14, on_wide(steps_wide), 10),
        Measure("whole generation, 577 tokens", 30, on_wide(whole), 14),
        Measure("compiled blocks", 45, lambda clock: compiled(bench, clock), 30),
    ]


def latents(bench: Bench, steps: int = STEPS, **options: Any) -> Tensor:
    """One generation, its latents."""
    edge, generator = bench.shape.edge, torch.Generator("cpu").manual_seed(0)
    return bench.pipe(
        **bench.prompt, height=edge, width=edge, num_inference_steps=steps, guidance_scale=3.5, generator=generator,
        output_type="latent", **options,
    ).images  # fmt: skip


def boxes(count: int) -> list[tuple[float, float, float, float]]:
    """Disjoint regions that cover the image: quarters for four, strips of columns otherwise."""
    if count == 4:
        return [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]
    edges = [round(8 * number / count * 8) / 64 for number in range(count + 1)]
    return [(left, 0.0, right, 1.0) for left, right in itertools.pairwise(edges)]


def tokens_of(dyna: DynaIP, *, class_token: bool = False) -> int:
    """Tokens of a reference."""
    return dyna.encoder.grid[0] * dyna.encoder.grid[1] + class_token


def given(bench: Bench, dyna: DynaIP, *references: Reference, recording: bool = False) -> Run:
    """Some steps with references whose keys and values are at hand."""

    def run() -> float:
        with dyna.references(*references):
            latents(bench, 1)  # encodes, fuses, makes keys and values
            if not recording:
                return timed(lambda: latents(bench, PART))
            with record(dyna, routing=False):
                return timed(lambda: latents(bench, PART))

    return run


def once(bench: Bench, dyna: DynaIP) -> float:
    """Seconds that a first step takes beyond one of the base."""

    def run() -> None:
        with dyna.references(Reference(bench.pictures[0])):
            latents(bench, 1)

    return timed(run) - timed(lambda: latents(bench, 1))


def steps_of(bench: Bench, clock: Clock) -> list[Figure]:
    """A step with references, with keys and values at hand; and what is done once."""
    dyna, picture = bench.dyna, bench.pictures[0]
    regional = {
        count: [Reference(picture, region=box) for picture, box in zip(bench.pictures, boxes(count), strict=False)]
        for count in (4, 10)
    }
    found = in_turn({
        "base": lambda: timed(lambda: latents(bench, PART)),
        "one": given(bench, dyna, Reference(picture)),
        "four": given(bench, dyna, *regional[4]),
        "ten": given(bench, dyna, *regional[10]),
        "recording": given(bench, dyna, Reference(picture), recording=True),
        "once": lambda: once(bench, dyna),
    }, bench.rounds, clock)  # fmt: skip
    return [
        seconds(f"base, {PART} steps", found["base"]),
        ratio("a step with one reference / a step of the base", found, "one", "base", 1.010),
        ratio("four references in quarters / one", found, "four", "one", 1.02),
        ratio("ten references in disjoint regions / one", found, "ten", "one", 1.05),
        ratio("recording every step / not", found, "recording", "one", 1.10),
        seconds("done once: encode, fuse, keys and values", found["once"], 0.060),
    ]


def steps_wide(bench: Bench, dyna: DynaIP, clock: Clock) -> list[Figure]:
    """A step with one reference of many tokens."""
    picture, tokens = bench.pictures[0], tokens_of(dyna, class_token=True)
    found = in_turn({
        "base": lambda: timed(lambda: latents(bench, PART)),
        "one": given(bench, dyna, Reference(picture)),
        "once": lambda: once(bench, dyna),
    }, bench.rounds, clock)  # fmt: skip
    return [
        ratio(f"a step with one reference of {tokens} tokens / a step of the base", found, "one", "base", 1.010),
        seconds(f"done once for {tokens} tokens", found["once"], 0.060),
    ]


def peer(bench: Bench, tokens: int) -> Callable[[int], float]:
    """A generation of some steps with diffusers' own adapter on as many tokens of the same width."""
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    transformer, shape = bench.pipe.transformer, bench.shape
    like: dict[str, Any] = {"device": transformer.device, "dtype": transformer.dtype}
    own = dict(transformer.attn_processors)
    states = [torch.randn(1, tokens, shape.token_width, **like)]
    theirs = {
        name: FluxIPAdapterAttnProcessor(shape.heads * shape.head, shape.token_width, num_tokens=(tokens,), scale=[1.0], **like)
        if name.startswith("transformer_blocks") else processor
        for name, processor in own.items()
    }  # fmt: skip

    def run(steps: int) -> float:
        transformer.set_attn_processor(dict(theirs))
        try:
            return timed(lambda: latents(bench, steps, joint_attention_kwargs={"ip_hidden_states": states}))
        finally:
            transformer.set_attn_processor(dict(own))

    return run


def whole(bench: Bench, dyna: DynaIP, clock: Clock) -> Iterator[Figure]:
    """A generation of the base, of ours with everything that is done once, and of diffusers' own adapter."""
    wide = dyna is not bench.dyna
    tokens = tokens_of(dyna, class_token=wide)
    theirs = peer(bench, tokens)

    def ours() -> float:
        def run() -> None:
            with dyna.references(Reference(bench.pictures[0])):
                latents(bench)

        return timed(run)

    free()
    sides: dict[str, Run] = {"ours": ours, "diffusers": lambda: theirs(STEPS)}
    if not wide:
        sides["base"] = lambda: timed(lambda: latents(bench))
    found = in_turn(sides, bench.rounds, clock, warm_up={"diffusers": lambda: theirs(2)})
    what = f"{STEPS} steps, {tokens} tokens"
    yield ratio(f"whole generation / diffusers' own adapter, {what}", found, "ours", "diffusers", 1.0)
    if not wide:
        yield seconds(f"base, {STEPS} steps", found["base"])
        yield ratio(f"whole generation, {what} / base", found, "ours", "base", None)
        yield ratio(f"diffusers' own adapter, {what} / base", found, "diffusers", "base", None)
    yield number(f"peak memory, {tokens} tokens", peak_gib(), "GiB")


def compiled(bench: Bench, clock: Clock) -> Iterator[Figure]:
    """Compiled blocks with one reference over compiled blocks without; recompiles after the first step are counted."""
    from dynaip.training.speed import compiled_graphs

    bench.first()
    ours = given(bench, bench.dyna, Reference(bench.pictures[0]))
    bench.pipe.transformer.compile_repeated_blocks(fullgraph=True)
    yield number("compiling, with the first step of the base", timed(lambda: latents(bench, 1)), "s")
    with bench.dyna.references(Reference(bench.pictures[0])):
        yield number("compiling, with the first steps of a reference", timed(lambda: latents(bench, 2)), "s")
    before = compiled_graphs()
    yield number("graphs compiled by then", before)
    sides: dict[str, Run] = {"base": lambda: timed(lambda: latents(bench, PART)), "one": ours}
    found = in_turn(sides, bench.rounds, clock)
    yield ratio("compiled blocks: a step with one reference / base", found, "one", "base", 1.015)
    yield number("graphs compiled after the first steps", compiled_graphs() - before, budget=0)


def waits(bench: Bench, steps: int = 1) -> list[Figure]:
    """How many times the host waits for the device in a generation, beyond the base's own waits."""
    if not torch.cuda.is_available():
        return []

    def count(run: Callable[[], object]) -> int:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            run()
        names = [event.name() for event in seen.profiler.kineto_results.events()]  # its tables take ten seconds to make
        assert any("aunchKernel" in name for name in names), "the profiler tells of no call of the device's library"
        return names.count("cudaStreamSynchronize")

    def ours(number: int) -> int:
        with bench.dyna.references(Reference(bench.pictures[0])):
            return count(lambda: latents(bench, number))

    base = {each: count(lambda each=each: latents(bench, each)) for each in (steps, 2 * steps)}
    mine = {each: ours(each) for each in (steps, 2 * steps)}
    more = (mine[2 * steps] - mine[steps]) - (base[2 * steps] - base[steps])
    first = mine[steps] - base[steps] - more
    return [
        number(f"waits for the device in {steps} further step of the base", base[2 * steps] - base[steps]),
        number(f"waits for the device in {steps} further step, beyond the base's", more, budget=0),
        number("waits for the device once a generation, beyond the base's", first),
    ]


def untouched(bench: Bench) -> list[Figure]:
    """Bits that differ from the base's without references, after detaching, and from a recorded run's (0 each)."""
    dyna, pipe = bench.dyna, bench.pipe
    dyna.detach()
    base = latents(bench, 2)
    dyna.attach(pipe)
    off = latents(bench, 2)
    with dyna.references(Reference(bench.pictures[0])):
        plain = latents(bench, 2)
        with record(dyna, routing=False):
            recorded = latents(bench, 2)
    dyna.detach()
    again = latents(bench, 2)
    dyna.attach(pipe)
    differ = {
        "attached without reference": int((off != base).sum()),
        "detached": int((again != base).sum()),
        "recorded against not recorded": int((recorded != plain).sum()),
    }
    assert not torch.equal(plain, base)
    return [number(f"values that differ: {what}", count, budget=0) for what, count in differ.items()]
