"""Nothing is read from tensors in a step: on a device every such reading makes the host wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from dynaip import Reference
from dynaip.adapter import injection
from dynaip_plugins.backbones import clock
from tests.waiting import Waits

READINGS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero", "aten::unique_dim"}
"""What a device has to have finished before the host can go on."""


class Readings(TorchDispatchMode):
    """Counts readings while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.counting, self.seen = False, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.counting and func._schema.name in READINGS:
            self.seen.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def readings(pipe: Any, dyna: Any, *references: Reference, **options: Any) -> list[str]:
    """Readings of the passes of a generation, from the second step on."""
    found, passes = Readings(), 0
    first = 2 if options.get("true_cfg_scale") else 1

    def begin(*_: Any) -> None:
        nonlocal passes
        passes += 1
        found.counting = passes > first

    def end(*_: Any) -> None:
        found.counting = False

    handles = [
        pipe.transformer.register_forward_pre_hook(begin, prepend=True),
        pipe.transformer.register_forward_hook(end),
    ]
    with found, dyna.references(*references):
        pipe("a star", num_inference_steps=4, output_type="latent", max_sequence_length=24, **options)
    for handle in handles:
        handle.remove()
    assert passes == 4 * first
    return found.seen


def noise(number: int, **options: Any) -> Reference:
    return Reference(Image.effect_noise((32, 32), 50 + number).convert("RGB"), **options)


QUARTERS = [
    noise(number, region=(x / 2, y / 2, (x + 1) / 2, (y + 1) / 2)) for number, (x, y) in enumerate([(0, 0), (1, 1)])
]


@pytest.mark.parametrize(
    "guidance", [{}, {"true_cfg_scale": 3.0, "negative_prompt": "blurry"}], ids=["plain", "guided"]
)
@pytest.mark.parametrize("given", [[noise(0)], QUARTERS], ids=["one", "regions"])
@pytest.mark.parametrize("router", ["token", "prompt"])
def test_steps_read_nothing(
    adapter: Callable[..., Any], tiny_flux: Any, monkeypatch: pytest.MonkeyPatch,
    given: list[Reference], guidance: dict[str, Any], router: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(clock, "HOST", "a device that is nobody's")
    monkeypatch.setattr(injection, "gathering_pays", lambda device: True)
    tiny_flux.set_progress_bar_config(disable=True)
    dyna = adapter(fusion={"use": "hmoe", "router": router}, decoupling="coupled")
    assert readings(tiny_flux, dyna, *given, **guidance) == []


@pytest.mark.parametrize("given", [[noise(0)], QUARTERS], ids=["one", "regions"])
def test_steps_wait_for_no_copy(adapter: Callable[..., Any], tiny_flux: Any, given: list[Reference]) -> None:
    """On tensors without values: after the first step nothing is read, and nothing comes from the host."""
    dyna = adapter(fusion={"use": "hmoe", "router": "prompt"}, decoupling="coupled").to("meta")
    model, like = tiny_flux.transformer.to("meta"), {"device": "meta"}
    config, ids = model.config, torch.zeros(16, 3, **like)
    dyna.backbone.clock.know_grid(ids, (4, 4))
    inputs: dict[str, Any] = {
        "hidden_states": torch.zeros(1, 16, config.in_channels, **like),
        "encoder_hidden_states": torch.zeros(1, 8, config.joint_attention_dim, **like),
        "pooled_projections": torch.zeros(1, config.pooled_projection_dim, **like),
        "img_ids": ids,
        "txt_ids": torch.zeros(8, 3, **like),
        "guidance": torch.ones(1, **like) if config.guidance_embeds else None,
    }
    added = 0

    def step(progress: float) -> list[str]:
        timestep = torch.ones(1, **like)
        dyna.backbone.clock.know_progress(timestep, progress)
        with torch.no_grad(), Waits() as waits:
            model(**inputs, timestep=timestep)
        return waits.seen

    def count(*_: Any) -> None:
        nonlocal added
        added += 1

    with dyna.references(*given):
        step(0.1)
        with dyna.observe(count):
            step(0.3)
        assert added >= 4 * len(given)
        assert step(0.5) == []


def test_a_reading_is_seen(adapter: Callable[..., Any], tiny_flux: Any) -> None:
    """The same generation with a callback that reads."""
    dyna = adapter()
    handle = tiny_flux.transformer.norm_out.register_forward_hook(
        lambda module, args, output: float(output.sum()) and None
    )
    assert set(readings(tiny_flux, dyna, noise(0))) == {"aten::_local_scalar_dense"}
    handle.remove()
