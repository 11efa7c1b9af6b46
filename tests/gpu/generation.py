"""What a reference costs in a generation: a step, what is done once, regions, recording, and diffusers' own adapter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dynaip import DynaIP, Reference
from dynaip_analysis.recording.recorder import record

from .models import Shape, prompt_of
from .timing import Figure, Run, in_turn, ratio, seconds, timed

STEPS = 28


@dataclass
class Painter:
    """One pipeline with its inputs."""

    pipe: Any
    shape: Shape
    prompt: dict[str, Tensor]

    def latents(self, steps: int = STEPS, **options: Any) -> Tensor:
        """One generation, its latents."""
        generator = torch.Generator("cpu").manual_seed(0)
        return self.pipe(
            **self.prompt, height=self.shape.edge, width=self.shape.edge, num_inference_steps=steps, guidance_scale=3.5,
            generator=generator, output_type="latent", **options,
        ).images  # fmt: skip


def boxes(count: int) -> list[tuple[float, float, float, float]]:
    """Disjoint regions that cover the image: quarters for four, strips of columns otherwise."""
    if count == 4:
        return [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]
    edges = [round(8 * number / count * 8) / 64 for number in range(count + 1)]
    return [(left, 0.0, right, 1.0) for left, right in itertools.pairwise(edges)]


def peer(painter: Painter, tokens: int, steps: int) -> Run:
    """A whole generation with diffusers' own adapter on as many tokens of the same width."""
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    transformer, shape = painter.pipe.transformer, painter.shape
    like: dict[str, Any] = {"device": transformer.device, "dtype": transformer.dtype}
    own = dict(transformer.attn_processors)
    given = [torch.randn(1, tokens, shape.token_width, **like)]
    theirs = {
        name: FluxIPAdapterAttnProcessor(shape.heads * shape.head, shape.token_width, num_tokens=(tokens,), scale=[1.0], **like)
        if name.startswith("transformer_blocks") else processor
        for name, processor in own.items()
    }  # fmt: skip

    def run() -> float:
        transformer.set_attn_processor(dict(theirs))
        try:
            return timed(lambda: painter.latents(steps, joint_attention_kwargs={"ip_hidden_states": given}))
        finally:
            transformer.set_attn_processor(dict(own))

    return run


def whole(painter: Painter, dyna: DynaIP, picture: Image.Image, rounds: int) -> list[Figure]:
    """28 steps of the base, of ours with everything that is done once, and of diffusers' own adapter."""
    tokens = dyna.encoder.grid[0] * dyna.encoder.grid[1]

    def ours() -> float:
        def run() -> None:
            with dyna.references(Reference(picture)):
                painter.latents()

        return timed(run)

    found = in_turn(
        {"base": lambda: timed(painter.latents), "ours": ours, "diffusers": peer(painter, tokens, STEPS)}, rounds
    )
    return [
        seconds(f"base, {STEPS} steps", found["base"]),
        ratio(f"whole generation of {STEPS} steps, {tokens} tokens / base", found, "ours", "base", None),
        ratio("diffusers' own adapter, same tokens / base", found, "diffusers", "base", None),
        ratio("whole generation / diffusers' own adapter", found, "ours", "diffusers", 1.0),
    ]


def steps_of(painter: Painter, dyna: DynaIP, pictures: list[Image.Image], rounds: int, steps: int = 6) -> list[Figure]:
    """A step with references, with keys and values at hand; and what is done once."""

    def given(*references: Reference, recording: bool = False) -> Run:
        def run() -> float:
            with dyna.references(*references):
                painter.latents(1)  # encodes, fuses, makes keys and values
                if not recording:
                    return timed(lambda: painter.latents(steps))
                with record(dyna, routing=False):
                    return timed(lambda: painter.latents(steps))

        return run

    def once() -> float:
        def run() -> None:
            with dyna.references(Reference(pictures[0])):
                painter.latents(1)

        return timed(run) - timed(lambda: painter.latents(1))

    regional = {
        count: [Reference(picture, region=box) for picture, box in zip(pictures, boxes(count), strict=False)]
        for count in (4, 10)
    }
    found = in_turn({
        "base": lambda: timed(lambda: painter.latents(steps)),
        "one": given(Reference(pictures[0])),
        "four": given(*regional[4]),
        "ten": given(*regional[10]),
        "recording": given(Reference(pictures[0]), recording=True),
        "once": once,
    }, rounds)  # fmt: skip
    return [
        ratio("a step with one reference / a step of the base", found, "one", "base", 1.010),
        ratio("four references in quarters / one", found, "four", "one", 1.02),
        ratio("ten references in disjoint regions / one", found, "ten", "one", 1.05),
        ratio("recording every step / not", found, "recording", "one", 1.10),
        seconds("done once: encode, fuse, keys and values", found["once"], 0.060),
    ]


def compiled(painter: Painter, dyna: DynaIP, picture: Image.Image, rounds: int, steps: int = 6) -> list[Figure]:
    """Compiled blocks with one reference over compiled blocks without; recompiles after the first step are counted."""
    import torch._dynamo.utils as counters  # pyright: ignore[reportMissingImports]

    transformer = painter.pipe.transformer

    def ours() -> float:
        with dyna.references(Reference(picture)):
            painter.latents(1)
            return timed(lambda: painter.latents(steps))

    transformer.compile_repeated_blocks(fullgraph=True)
    ours()
    painter.latents(2)
    before = counters.counters["stats"].get("unique_graphs", 0)
    found = in_turn({"base": lambda: timed(lambda: painter.latents(steps)), "one": ours}, rounds)
    again = counters.counters["stats"].get("unique_graphs", 0) - before
    uncompile(transformer)
    return [
        ratio("compiled blocks: a step with one reference / base", found, "one", "base", 1.015),
        Figure("graphs compiled after the first steps", again, "", again, again, 0),
    ]


def uncompile(transformer: Any) -> None:
    """Blocks as they were written."""
    for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
        block._compiled_call_impl = None
    torch.compiler.reset()


def waits(painter: Painter, dyna: DynaIP, picture: Image.Image, steps: int = 2) -> list[Figure]:
    """How many times the host waits for the device in a generation, beyond the base's own waits."""
    if not torch.cuda.is_available():
        return []

    def count(run: Callable[[], object]) -> int:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            run()
        return sum(event.count for event in seen.key_averages() if event.key == "cudaStreamSynchronize")

    def ours(number: int) -> int:
        with dyna.references(Reference(picture)):
            return count(lambda: painter.latents(number))

    base = {number: count(lambda number=number: painter.latents(number)) for number in (steps, 2 * steps)}
    mine = {number: ours(number) for number in (steps, 2 * steps)}
    more = (mine[2 * steps] - mine[steps]) - (base[2 * steps] - base[steps])
    first = mine[steps] - base[steps] - more
    return [
        Figure(f"waits for the device in {steps} further steps, beyond the base's", more, "", more, more, 0),
        Figure("waits for the device once a generation, beyond the base's", first, "", first, first),
    ]


def untouched(painter: Painter, dyna: DynaIP, picture: Image.Image) -> list[Figure]:
    """Bits that differ from the base's without references, after detaching, and from a recorded run's (0 each)."""
    pipe = painter.pipe
    dyna.detach()
    base = painter.latents(2)
    dyna.attach(pipe)
    off = painter.latents(2)
    with dyna.references(Reference(picture)):
        plain = painter.latents(2)
        with record(dyna, routing=False):
            recorded = painter.latents(2)
    dyna.detach()
    again = painter.latents(2)
    dyna.attach(pipe)
    differ = {
        "attached without reference": int((off != base).sum()),
        "detached": int((again != base).sum()),
        "recorded against not recorded": int((recorded != plain).sum()),
    }
    assert not torch.equal(plain, base)
    return [Figure(f"values that differ: {what}", count, "", count, count, 0) for what, count in differ.items()]


def make(pipe: Any, shape: Shape) -> Painter:
    """A painter with a prompt."""
    return Painter(pipe, shape, prompt_of(shape, pipe))
