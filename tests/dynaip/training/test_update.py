"""One update by hand, and the agreement of several processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dynaip.training.update import Update
from tests.forked import together


def alone(parameter: torch.nn.Parameter, **options: Any) -> Update:
    """An update of one parameter by plain gradient descent, without accelerate."""
    accelerator = SimpleNamespace(
        num_processes=1,
        scaler=None,
        backward=lambda loss: loss.backward(),
        clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
    )
    return Update(accelerator, torch.optim.SGD([parameter], lr=1.0), **{"clip": 1e9, "parts": 1} | options)


def fused(parameter: torch.nn.Parameter) -> Update:
    """The same with the optimizer of trainings, which looks by itself whether to step."""
    update = alone(parameter)
    update.optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.5, fused=True)
    return update


def test_parts_are_averaged() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    update = alone(weight, parts=2)
    update.add((weight * torch.tensor([2.0, 0.0])).sum())
    update.add((weight * torch.tensor([0.0, 6.0])).sum())
    outcome = update.finish()
    assert (outcome.applied, outcome.stop, outcome.read()[2]) == (True, False, (2 + 12) / 2)
    assert outcome.norm == pytest.approx((1 + 9) ** 0.5)
    assert torch.equal(weight.detach(), torch.tensor([0.0, -1.0]))
    assert weight.grad is None


def test_clipping_keeps_the_direction() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    update = alone(weight, clip=1.0)
    update.add((weight * torch.tensor([3.0, 4.0])).sum())
    assert update.finish().norm == pytest.approx(5.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]))


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_part_spoils_no_weight(bad: str, place: int) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    update = alone(weight, parts=2)
    for part in range(2):
        update.add(weight.sum() * (float(bad) if part == place else 1.0))
    assert not update.finish().applied
    assert torch.equal(weight.detach(), torch.ones(2))
    update.add(weight.sum())
    assert update.finish(stop=True).stop
    assert not torch.equal(weight.detach(), torch.ones(2)), "the next step counts again"


def test_a_gradient_that_is_not_finite_spoils_no_weight() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    update = alone(weight)
    update.add(weight.sum().sqrt())
    assert not update.finish().applied
    assert torch.equal(weight.detach(), torch.zeros(2))


def test_a_loss_that_is_not_finite_is_enough() -> None:
    """Its gradient may be finite all the same."""
    weight = torch.nn.Parameter(torch.zeros(2))
    update = alone(weight)
    update.add(weight.sum() + float("inf"))
    assert not update.finish().applied
    assert torch.equal(weight.detach(), torch.zeros(2))


@pytest.mark.parametrize("first", [False, True])
def test_a_fused_optimizer_skips_as_if_the_step_had_not_been(first: bool) -> None:
    """Weights, moments, decay and count of steps: three steps with a bad one among them are the good ones alone."""
    one, other = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    whole, spoiled = fused(one), fused(other)
    applied: list[bool] = []
    for step in range(3):
        if step == (0 if first else 2):
            spoiled.add((other * float("nan")).sum())
            applied.append(spoiled.finish().applied)
        for update, weight in ((whole, one), (spoiled, other)):
            update.add((weight * torch.tensor([1.0, 2.0 + step])).sum())
            applied.append(update.finish().applied)
    assert applied.count(False) == 1
    assert torch.equal(one, other)
    assert not torch.equal(one, torch.tensor([1.0, -2.0]))
    plain = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.AdamW([plain], lr=0.1, weight_decay=0.5, fused=True)
    for step in range(3):
        plain.grad = torch.tensor([1.0, 2.0 + step])
        optimizer.step()
    assert torch.equal(one, plain), "and as torch takes them by itself"


def test_nothing_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a number of a device waits for everything that it was given to do."""
    weight = torch.nn.Parameter(torch.ones(2))
    update = fused(weight)
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
            patch.setattr(torch.Tensor, name, lambda *args: pytest.fail("read"))
        update.add(weight.sum())
        pending = update.finish()
    assert pending.applied


TWO = """
import json, os, sys
import torch
from accelerate import Accelerator
from dynaip.training.update import Update
from tests.forked import together
accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
weight = torch.nn.Parameter(torch.zeros(2))
unused = torch.nn.Parameter(torch.zeros(1))
optimizer = accelerator.prepare(torch.optim.SGD([weight, unused], lr=1.0))
update = Update(accelerator, optimizer, clip=1e9, parts=1)
outcomes = []
for step in range(3):
    scale = torch.tensor([1.0, 0.0] if rank == 0 else [0.0, 3.0])
    if step == 1 and rank == 1:
        scale = scale * float("nan")
    update.add((weight * scale).sum())
    outcome = update.finish(stop=step == 2 and rank == 1)
    outcomes.append([outcome.applied, outcome.stop, weight.tolist()])
with open(os.path.join(sys.argv[1], f"{rank}.json"), "w") as file:
    json.dump(outcomes, file)
accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_two_processes_agree(tmp_path: Path) -> None:
    """Mean of the gradients; a step that one of them spoils is skipped by both, and nobody waits for ever."""
    (tmp_path / "two.py").write_text(TWO)
    env = {
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
        "GLOO_SOCKET_IFNAME": "lo",
    }  # whatever the machine's name leads to
    code, _, said = together([str(tmp_path / "two.py"), str(tmp_path)], env)
    assert code == 0, said[-2000:]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    expected = [[True, False, [-0.5, -1.5]], [False, False, [-0.5, -1.5]], [True, True, [-1.0, -3.0]]]
    assert one == other == expected
