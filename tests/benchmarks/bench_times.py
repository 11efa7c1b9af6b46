"""Times as ratios: both sides measured in turn in one run, at least five times; `make bench` prints median and spread.

On a CPU in seconds of the processor: a loaded machine stretches the clock on the wall.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip import Reference

ROUNDS = 5
ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "plugins" / "dynaip_plugins" / "microworld" / "assets"
EDGE = 32
"""Image tokens along an edge of the timed block: 512 x 512 pixels, since a CPU needs minutes for 1024 x 1024."""


def measured(sides: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of every side, taken in turn; a first round warms up and is left out."""
    for run in sides.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(run())
    return found


def ratios(found: Mapping[str, list[float]], one: str, other: str) -> tuple[float, float, float]:
    """Median, least and largest of ``one`` over ``other``, round by round."""
    each = [a / b for a, b in zip(found[one], found[other], strict=True)]
    return statistics.median(each), min(each), max(each)


def told(found: Mapping[str, list[float]], one: str, other: str, budget: float) -> None:
    """Print a ratio with its spread beside its budget. Nothing fails here: a busy machine says little about the code."""
    median, low, high = ratios(found, one, other)
    seconds, verdict = statistics.median(found[other]), "within" if median <= budget else "OVER"
    spread = f"from {low:.3f} to {high:.3f}, {len(found[one])} rounds; {other}: {seconds:.3g} s"
    print(
        f"\n{one} over {other}: {median:.3f} x ({spread}): {verdict} its budget of {budget} x; load {os.getloadavg()[0]:.1f}"
    )


def seconds_of(command: list[Any], **environment: str) -> float:
    """Seconds of the processor that a process takes, which must succeed; what other programs do changes little."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", ROOT / "analysis")))
    before = os.times()
    subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.fixture(scope="module")
def blocks(make_flux: Callable[..., Any], inputs_of: Callable[..., Any], make_clock: Callable[..., Any]) -> Any:
    """Double-stream blocks at FLUX's width (one in float32 on a CPU, two in bfloat16 on a GPU), inputs, and their clock."""
    torch.manual_seed(0)
    device, number = ("cuda", 2) if torch.cuda.is_available() else ("cpu", 1)
    model = make_flux(double=number, single=0, device=device, dtype=torch.bfloat16 if number == 2 else torch.float32)
    clock = make_clock(model, model.transformer_blocks[0], model.transformer_blocks[-1])
    return model, inputs_of(model, 64 if number == 2 else EDGE), clock.timed


def without(dyna: Any, run: Callable[[], float]) -> Callable[[], float]:
    """Close our term at no cost."""

    def closed() -> float:
        with dyna.intervene(lambda branch, number, progress: 0.0):
            return run()

    return closed


def peer_of(model: Any, inputs: dict[str, Any], timed: Callable[..., float], references: int) -> Callable[[], float]:
    """The same pass with diffusers' own adapter on so many references of as many tokens, of the same width."""
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    weight = next(model.parameters())
    like = {"device": weight.device, "dtype": weight.dtype}
    peers = [
        FluxIPAdapterAttnProcessor(3072, 2048, num_tokens=(577,) * references, scale=[1.0] * references, **like)
        for _ in model.transformer_blocks
    ]
    tokens = [torch.randn(1, 577, 2048, **like) for _ in range(references)]

    def diffusers() -> float:
        own = [each.attn.processor for each in model.transformer_blocks]
        for each, peer in zip(model.transformer_blocks, peers, strict=True):
            each.attn.set_processor(peer)
        try:
            return timed({**inputs, "joint_attention_kwargs": {"ip_hidden_states": tokens}})
        finally:
            for each, before in zip(model.transformer_blocks, own, strict=True):
                each.attn.set_processor(before)

    return diffusers


def test_blocks_with_a_reference(
    blocks: Any, make_adapter: Callable[..., Any], picture: Image.Image, machine: str
) -> None:
    """Ours over the base, and over diffusers' own adapter with the same 577 tokens of the same width."""
    model, inputs, timed = blocks
    dyna = make_adapter(model).attach(model)
    with dyna.references(Reference(picture)):
        found = measured({
            "the base": without(dyna, lambda: timed(inputs)),
            "one reference": lambda: timed(inputs),
            "diffusers": without(dyna, peer_of(model, inputs, timed, 1)),
        })  # fmt: skip
    tokens = inputs["hidden_states"].shape[1]
    print(f"\n{len(model.transformer_blocks)} double-stream block(s) of width 3072 on {machine}: {tokens} image and 512 text "
          "tokens, 577 reference tokens, K/V cached")  # fmt: skip
    told(found, "one reference", "the base", 1.04)
    told(found, "one reference", "diffusers", 0.95)
    dyna.detach()


def test_four_references_in_quarters(blocks: Any, make_adapter: Callable[..., Any], picture: Image.Image) -> None:
    """Disjoint regions take the time of one reference; diffusers computes every reference everywhere."""
    model, inputs, timed = blocks
    dyna = make_adapter(model).attach(model)
    quarters = [(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2) for x in (0, 1) for y in (0, 1)]

    def given(*references: Reference) -> Callable[[], float]:
        def run() -> float:
            with dyna.references(*references):
                timed(inputs)  # makes keys and values
                return timed(inputs)

        return run

    found = measured({
        "one reference": given(Reference(picture)),
        "four in quarters": given(*(Reference(picture, region=box) for box in quarters)),
        "diffusers with four": peer_of(model, inputs, timed, 4),
    })  # fmt: skip
    print()
    told(found, "four in quarters", "one reference", 1.05)
    told(found, "four in quarters", "diffusers with four", 0.9)
    dyna.detach()


def test_help_starts_as_fast_as_python() -> None:
    line = [sys.executable, "-m", "dynaip.cli", "--help"]
    found = measured({
        "dynaip --help": lambda: seconds_of(line),
        "importing torch": lambda: seconds_of([sys.executable, "-c", "import torch"]),
    })  # fmt: skip
    told(found, "dynaip --help", "importing torch", 0.5)
    print(f"dynaip --help: {statistics.median(found['dynaip --help']):.2f} s; its budget is 0.5 s")


@pytest.mark.skipif(not (ASSETS / "adapter").is_dir(), reason="no trained models in this checkout")
def test_one_image_from_the_command_line(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "reference.png")
    line = [sys.executable, "-m", "dynaip.cli", "generate", "microworld", "a large star at the left, on sea",
            "--ref", tmp_path / "reference.png", "-o", tmp_path / "out.png"]  # fmt: skip
    imports = "import torch; from diffusers import FluxPipeline; from transformers import CLIPVisionModel"
    found = measured({
        "one microworld image": lambda: seconds_of(line),
        "importing torch and diffusers": lambda: seconds_of([sys.executable, "-c", imports]),
    })  # fmt: skip
    told(found, "one microworld image", "importing torch and diffusers", 2.0)
