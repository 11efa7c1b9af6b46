"""Held-out pairs: never trained on, the same figures by hand, with any number of processes and after a resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip.errors import InputError, MismatchError
from dynaip.runs import Run
from dynaip.training.data import BatchOrder
from dynaip.training.encoding import encode_text
from dynaip.training.objective import mixed
from dynaip.training.trainer import Trainer
from dynaip.training.validation import CHANCE, first_ones, held_out

Lines = Callable[[Path], list[dict[str, Any]]]
OTHER = {"use": "microworld", "size": 7, "pixels": 64, "seed": 5}


class Both(PairSource):
    """Six rows, each in both directions."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Pair:
        return Pair(str(index), Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8)), "p")

    def kin(self, index: int) -> Sequence[int]:
        return (index - index % 2, index - index % 2 + 1)


def test_what_is_held_out_by_hand() -> None:
    found = held_out(Both(), 3)
    assert found.pairs == [2, 6, 10]
    assert found.kin == {2, 3, 6, 7, 10, 11}
    with pytest.raises(InputError, match=r"validation\.pairs: 6 held out of 12 leave none"):
        held_out(Both(), 6)


def test_held_out_pairs_never_come_and_others_come_as_often_as_before() -> None:
    found = held_out(Both(), 2)
    order = BatchOrder(3, 4, 12, groups=found.groups(None, 12))
    epochs = [index for number in range(8) for index in order.at(number)]
    assert sorted(epochs) == sorted(3 * [index for index in range(12) if index not in found.kin])
    assert not found.kin & {*order.after(0)}


def test_the_first_references_alone_are_seen() -> None:
    chosen = first_ones([3, 1, 2], 2)
    assert (chosen.places, chosen.rows) == ([0, 1, 3, 4, 5], [0, 0, 1, 2, 2])


@pytest.mark.parametrize("cache", [True, False, "disk"])
def test_the_loss_by_hand(experiment: Any, tmp_path: Path, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an adapter that adds nothing yet it is the base's own error, at the noise that each pair has at each timestep."""
    monkeypatch.setenv("DYNAIP_ENCODINGS", str(tmp_path / "encodings"))
    validation = {"pairs": 5, "timesteps": [0.25, 0.75]}
    config = experiment(training={"steps": 1, "batch_size": 2, "seed": 3, "cache": cache, "validation": validation})
    trainer = Trainer.of(config, Run(tmp_path / "run"))
    assert trainer.validation is not None
    trainer.empty = encode_text([""], trainer.pipe, trainer.backbone)
    trainer.validation.prepare()
    found = trainer.validation.losses(trainer.predicted)
    trainer.dyna.detach()
    source, held = trainer.loader.dataset.source, held_out(trainer.loader.dataset.source, 5).pairs
    expected: dict[str, list[float]] = {"0.25": [], "0.75": []}
    for index in held:
        pair = source[index]
        [encoded] = trainer.loader.encode([pair])
        for place, (name, losses) in enumerate(expected.items()):
            noise = torch.randn(
                encoded.latents.shape, generator=torch.Generator().manual_seed(mixed(3, index, place, CHANCE))
            )
            t = float(name)
            seen = ((1 - t) * encoded.latents + t * noise)[None]
            prompt = trainer.backbone.encode_prompts(trainer.pipe, [pair.prompt])
            with torch.no_grad():
                velocity = trainer.backbone.velocity(trainer.pipe, seen, torch.tensor([t]), prompt, (64, 64))
            losses.append(float(((velocity[0] - (noise - encoded.latents)) ** 2).mean()))
    means = {name: sum(losses) / 5 for name, losses in expected.items()}
    assert found["validation_losses"] == pytest.approx(means, rel=1e-4)
    assert found["validation_loss"] == pytest.approx(sum(means.values()) / 2, rel=1e-4)


def test_a_run_validates_its_config_and_goes_on_exactly(
    train: Callable[..., Path], same_weights: Any, lines: Lines, tmp_path: Path
) -> None:
    """What is held out is never trained on; a resumed run has the figures of a straight one, and trains the same."""
    training = {"validation": {"pairs": 4, "every": 2}, "log_every": 3, "steps": 5}
    straight, run = train(tmp_path / "straight", training=training), tmp_path / "run"
    train(run, training=training | {"steps": 4})
    train(run, training=training, resume=True)
    assert same_weights(straight, run)
    told = [(line["step"], line.get("validation_loss")) for line in lines(straight / "metrics.jsonl")]
    assert [step for step, loss in told if loss is not None] == [2, 4, 5]
    assert [step for step, _ in told] == [2, 3, 4, 5]
    assert told == [(line["step"], line.get("validation_loss")) for line in lines(run / "metrics.jsonl")]
    seen = {name for line in lines(straight / "samples.jsonl") for name in line["ids"]}
    assert len(seen) == 20, "24 pairs, and all but those of the validation came"
    with pytest.raises(MismatchError, match=r"pairs that training\.validation holds out was 4 and is now 0"):
        train(run, training={**training, "validation": {"source": OTHER}}, resume=True)


def test_pairs_of_another_source_change_no_weight(
    train: Callable[..., Path], undisturbed: Path, same_weights: Any, lines: Lines, tmp_path: Path, experiment: Any
) -> None:
    validation = {"source": OTHER, "pairs": 3, "every": 1}
    other = train(tmp_path / "other", training={"validation": validation})
    assert same_weights(undisturbed, other)
    assert all(line["validation_loss"] for line in lines(other / "metrics.jsonl"))
    same = [experiment(training={"steps": 6, "batch_size": 4, "validation": each}) for each in (None, validation)]
    assert same[0].training_hash() == same[1].training_hash()
    assert (
        same[0].training_hash() != experiment(training={"steps": 6, "batch_size": 4, "validation": 3}).training_hash()
    )


def test_other_processes_and_batches_of_a_turn_change_nothing(experiment: Any, tmp_path: Path) -> None:
    """Two processes share the batches; what both of them sum is what one has."""
    config = experiment(training={"steps": 1, "batch_size": 2, "validation": {"pairs": 5, "timesteps": [0.5]}})
    trainer = Trainer.of(config, Run(tmp_path / "run"))
    assert trainer.validation is not None
    trainer.empty = encode_text([""], trainer.pipe, trainer.backbone)
    alone, halves = trainer.validation, list[torch.Tensor]()
    alone.prepare()

    class Half:
        num_processes, device = 2, torch.device("cpu")

        def __init__(self, process_index: int) -> None:
            self.process_index = process_index

        def reduce(self, values: torch.Tensor, how: str) -> torch.Tensor:
            assert how == "sum"
            halves.append(values)
            return torch.stack(halves).sum(0)

    expected = alone.losses(trainer.predicted)
    for rank in range(2):
        alone.accelerator, alone.kept = Half(rank), []
        alone.prepare()
        assert len(alone.kept) == 2, "both run as often"
        found = alone.losses(trainer.predicted)
    assert found == expected
    trainer.dyna.detach()


@pytest.mark.parametrize(
    ("given", "said"),
    [({"timesteps": [0.5, 1]}, "between 0 and 1"), (0, "greater than 0"), ({"evry": 3}, "every")],
)
def test_a_mistake_is_one_line(experiment: Any, given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        experiment(training={"steps": 1, "batch_size": 1, "validation": given})
    assert "\n" not in str(caught.value)
