"""Whether a training fits: what the plan says of a machine, what is refused, and what is said where memory is full."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dynaip.errors import InputError
from dynaip.training import memory, room
from dynaip.training.machines import GIB, Machine
from dynaip.training.room import Room
from tests.dynaip.training.test_plan import plan


@pytest.fixture
def on(experiment: Any) -> Any:
    """A training of 28 GiB (20 with gradient checkpointing at most) on a GPU with so many GiB, of which some are free."""

    def make(gib: float, free: float | None = None, **settings: Any) -> Room:
        given = {"steps": 1, "batch_size": 1} | settings
        config = experiment(training=given)
        made = plan(config, base=16, kept=8, kept_again=1, **given)
        left = None if free is None else int(free * GIB)
        return Room(config, Machine("a GPU", int(gib * GIB), None, free=left), replace(made, trained=0))

    return make


@pytest.mark.parametrize(("free", "wanted", "fits"), [(80, False, True), (24, True, True), (12, True, False)])
def test_auto_computes_again_what_would_not_fit_beside_other_processes(
    on: Any, free: float, wanted: bool, fits: bool
) -> None:
    made = on(80, free)
    assert made.checkpointing is wanted
    assert made.fits is fits


@pytest.mark.parametrize("setting", [True, False])
def test_what_is_asked_for_is_done(on: Any, setting: bool) -> None:
    assert on(24, gradient_checkpointing=setting).checkpointing is setting


def test_what_cannot_fit_is_refused_with_what_would(on: Any) -> None:
    on(24).refuse()
    with pytest.raises(InputError, match=r"takes about 24\.9 GiB, and a GPU has 20\.0: add -s 'training\.grad.*=auto'"):
        on(20, gradient_checkpointing=False).refuse()
    with pytest.raises(InputError, match=r"takes about 17\.9 GiB, and a GPU has 80\.0 \(8\.0 free\): add .*nf4"):
        on(80, 8).refuse()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, r"24\.9 GiB.*add -s 'training\.gradient_checkpointing=True' \(about 17\.9 GiB\)"),
        ({"gradient_checkpointing": True, "batch_size": 2}, r"18\.9 GiB.*'training\.batch_size=1' \(about 17\.9 GiB\)"),
    ],
)
def test_a_full_memory_says_what_takes_less(on: Any, settings: dict[str, Any], line: str) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught, on(80, **settings).told_when_full():
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert re.search(line, caught.value.__notes__[0]), caught.value.__notes__


def test_without_a_layout_an_accelerator_computes_again_and_nothing_is_refused(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(config: Any, processes: int) -> Any:
        raise InputError("the layout is not known here")

    monkeypatch.setattr(room, "make_plan", unknown)
    made = Room.of(experiment(), Machine("a GPU", GIB, None))
    made.refuse()
    assert (made.plan, made.checkpointing, made.fits, made.advice()) == (None, True, True, "")


def test_on_a_cpu_large_bases_alone_are_planned_and_in_float32(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[str] = []

    def note(config: Any, processes: int) -> Any:
        planned.append(config.training.precision)
        raise InputError("that is all")

    monkeypatch.setattr(room, "make_plan", note)
    cpu = Machine("cpu", GIB, None, accelerator=False)
    config = experiment(training={"steps": 1, "batch_size": 1, "precision": "bf16"})
    assert not Room.of(config, cpu, nn.Linear(100, 100)).checkpointing
    assert planned == []
    Room.of(config, cpu, nn.Linear(20_000, 20_000, device="meta"))
    assert planned == ["fp32"]


def test_memory_that_others_hold_is_not_free_and_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 * GIB)
    assert memory.free_memory(torch.device("cuda")) == 15 * GIB + memory.CONTEXT
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (79 * GIB, 80 * GIB))
    assert memory.free_memory(torch.device("cuda")) == 80 * GIB
