"""What a step needs, and what is done where that is too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dynaip.config import TrainingConfig
from dynaip.training.memory import make_room, step_memory

FLUX = {"width": 3072, "double_blocks": 19, "single_blocks": 38}


def test_the_estimate_is_near_what_an_accelerator_showed() -> None:
    """FLUX.1-dev at 512 px in bf16 on an H100: 60.3 - 39.4 GiB for three samples more; checkpointed about a GiB."""
    tokens = 1024 + 512
    each = step_memory(FLUX, tokens=tokens, bytes_each=2, checkpointing=False)
    assert each / 2**30 == pytest.approx((60.3 - 39.4) / 3, rel=0.25)
    assert step_memory(FLUX, tokens=tokens, bytes_each=2, checkpointing=True) < each / 10
    assert step_memory(FLUX, tokens=4 * tokens, bytes_each=4, checkpointing=False) == 8 * each


@pytest.mark.parametrize(
    ("wanted", "free", "on", "told"),
    [
        ("auto", 1000, False, False),
        ("auto", 126, False, False),
        ("auto", 124, True, False),
        ("auto", 9, True, True),
        (True, 1000, True, False),
        (False, 99, False, True),
        (False, 101, False, False),
    ],
)
def test_room_is_made_where_it_is_wanted_or_needed(wanted: Any, free: int, on: bool, told: bool) -> None:
    settings = TrainingConfig.model_validate({"steps": 1, "batch_size": 1, "gradient_checkpointing": wanted})
    switched: list[bool] = []
    said: list[str] = []
    transformer = SimpleNamespace(enable_gradient_checkpointing=lambda: switched.append(True))
    make_room(settings, transformer, lambda checkpointing: 10 if checkpointing else 100, free, said.append)
    assert bool(switched) is on
    assert bool(said) is told
    assert not told or "training.batch_size" in said[0]
