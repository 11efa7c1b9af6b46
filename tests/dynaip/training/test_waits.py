"""A step of a training reads nothing from the device before the next one is launched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dynaip.runs import Run
from dynaip.training import trainer as trainer_module
from dynaip.training.encoding import encode_text
from dynaip.training.trainer import Launched, Trainer
from tests.waiting import Waits

META = torch.device("meta")
"""A device whose tensors have no values: whatever reads one fails."""


@pytest.fixture
def trainer(experiment: Callable[..., Any], tmp_path: Path) -> Trainer:
    """A trainer with its pairs encoded."""
    given = {"steps": 4, "batch_size": 2, "gradient_accumulation": 2, "drop_reference": 0.5, "checkpoint_every": 3}
    config = experiment(training=given, fusion={"use": "hmoe", "router": "token"}, decoupling="coupled")
    run = Run(tmp_path / "run")
    run.path.mkdir()
    made = Trainer.of(config, run)
    made.loader.fill(0, 8)
    made.empty = encode_text([""], made.pipe, made.backbone)
    made.dyna.train()
    return made


def stands_for(device: torch.device) -> Any:
    """What a trainer asks of its accelerator, as far as one process goes."""
    return SimpleNamespace(
        device=device, num_processes=1, process_index=0, scaler=None, is_main_process=True, autocast=nullcontext,
        backward=lambda loss: loss.backward(), clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
    )  # fmt: skip


def on_meta(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Move everything that computes; gives the tensors that the optimizer saw a gradient of, a number a step."""
    trainer.pipe.transformer.to(META)
    trainer.dyna.to(META)
    monkeypatch.setattr(trainer, "accelerator", stands_for(META))
    trained, seen = trainer.dyna.trainable_parameters(), list[int]()
    optimizer = torch.optim.AdamW(trained, fused=True)
    optimizer.step = lambda: seen.append(sum(each.grad is not None for each in trained))  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(trainer, "optimizer", optimizer)
    return seen


def test_a_step_reads_nothing(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = list(trainer.loader.batches(0, 4))
    seen = on_meta(trainer, monkeypatch)
    launched = [trainer._launch(iter(batches[:2])), trainer._launch(iter(batches[2:]))]
    assert len(seen) == 2
    assert min(seen) > 10
    for each in launched:
        with pytest.raises((NotImplementedError, RuntimeError)):
            each.outcome.read()


@pytest.mark.parametrize("regions", [False, True])
def test_a_step_waits_for_no_copy(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, regions: bool) -> None:
    """From the second step on: what comes from the host comes beside what runs."""
    batches = list(trainer.loader.batches(0, 4))
    if regions:  # two references in the first sample, each with half of the image
        tokens, half = batches[0].latents.shape[1], torch.arange(batches[0].latents.shape[1]) < 2
        for batch in batches:
            batch.features = {level: values[[0, 0, 1]] for level, values in batch.features.items()}
            batch.counts, batch.regions = [2, 1], [half.float(), 1 - half.float(), torch.ones(tokens)]
    on_meta(trainer, monkeypatch)
    trainer._launch(iter(batches[:2]))
    with Waits() as waits:
        trainer._launch(iter(batches[2:]))
    assert waits.seen == []


def test_a_reading_is_seen(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(*args: Tensor) -> Tensor:
        return own(*args) * float(own(*args).detach())

    own = trainer_module.flow_matching_loss
    batches = list(trainer.loader.batches(0, 2))
    on_meta(trainer, monkeypatch)
    monkeypatch.setattr(trainer_module, "flow_matching_loss", loss)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        trainer._launch(iter(batches))


def test_on_an_accelerator_a_step_is_read_when_the_next_one_is_launched(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is written, painted or last is waited for at once."""
    told = list[str]()

    def launch(batches: Any) -> Launched:
        trainer.step += 1
        told.append(f"launched {trainer.step}")
        return Launched(trainer.step, 0.1, [], SimpleNamespace(stop=False))  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(trainer, "_launch", launch)
    monkeypatch.setattr(trainer, "_settle", lambda launched, tell: told.append(f"read {launched.step}"))
    monkeypatch.setattr(trainer, "save", lambda: None)
    monkeypatch.setattr(trainer, "accelerator", stands_for(torch.device("cuda")))
    trainer._steps(lambda report: None)
    assert told == [
        "launched 1", "launched 2", "read 1", "launched 3", "read 2", "read 3", "launched 4", "read 4",
    ]  # fmt: skip
