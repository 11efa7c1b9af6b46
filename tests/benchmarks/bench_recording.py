"""What recording attention costs, as a ratio measured in turn: one block at FLUX's width, and a guided generation."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from dynaip import Reference
from dynaip_analysis.recording.recorder import record

ROUNDS, BUDGET = 5, 1.10
EDGE = 16
"""Image tokens along an edge of the timed block."""


def told(name: str, plain: Callable[[], None], recorded: Callable[[], None]) -> None:
    """Print the median ratio of CPU time (both sides in turn, after a round to warm up) with its spread."""
    ratios: list[float] = []
    for _ in range(ROUNDS + 1):
        seconds: list[float] = []
        for run in (plain, recorded):
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
        ratios.append(seconds[1] / seconds[0])
    median = statistics.median(ratios[1:])
    verdict = "within" if median <= BUDGET else "OVER"
    print(
        f"\n{name}: {median:.3f} x (from {min(ratios[1:]):.3f} to {max(ratios[1:]):.3f}, {ROUNDS} rounds): {verdict} its "
        f"budget of {BUDGET} x; load {os.getloadavg()[0]:.1f}"
    )


def test_recording_one_block(
    make_flux: Callable[..., Any], inputs_of: Callable[..., Any], make_adapter: Callable[..., Any], picture: Image.Image
) -> None:
    """A model of a single double-stream block: maps over 577 reference tokens of 24 heads."""
    torch.manual_seed(0)
    model = make_flux(double=1, single=0, device="cpu", dtype=torch.float32)
    inputs, dyna = inputs_of(model, EDGE), make_adapter(model).attach(model)

    def plain() -> None:
        with torch.no_grad():
            model(**inputs)

    def recorded() -> None:
        with record(dyna, routing=False):
            plain()

    with dyna.references(Reference(picture)):
        told("recording the attention of one block at FLUX's width", plain, recorded)
    dyna.detach()


def test_recording_a_guided_generation(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    """The smallest model there is, where nothing hides what a recording costs; with guidance, as microworld paints."""
    dyna = adapter()
    references = [[Reference(Image.new("RGB", (32, 32), "red"))]] * 4
    options = {"num_inference_steps": 6, "true_cfg_scale": 3.0, "negative_prompt": ""}

    def plain() -> None:
        with dyna.references(*references, decoupling="coupled"):
            dyna.backbone.generate(tiny_flux, ["a mug"] * 4, seeds=range(4), size=(64, 64), **options)

    def recorded() -> None:
        with record(dyna, routing=False):
            plain()

    told("recording both branches of a guided generation", plain, recorded)
