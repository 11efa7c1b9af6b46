"""Training: what changes, what does not, and that nothing is lost when it is broken off."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dynaip.errors import DynaIPError, InputError, Interrupted, MismatchError
from dynaip.runs import Run
from dynaip.training import trainer as trainer_module
from dynaip.training.keeping import Keeper
from dynaip.training.loader import PairLoader
from dynaip.training.trainer import StepReport, Trainer
from tests.tiny_models import FAMILIES, save

Train = Callable[..., Path]
Lines = Callable[[Path], list[dict[str, Any]]]


def losses(lines: Lines, run: Path) -> list[float]:
    return [line["loss"] for line in lines(run / "metrics.jsonl")]


def test_only_the_adapter_changes_and_the_base_stays_bit_identical(experiment: Any, tmp_path: Path) -> None:
    trainer = Trainer.of(experiment(decoupling="image_only"), Run(tmp_path))
    frozen = {
        name: copy.deepcopy(module.state_dict())
        for name, module in [*trainer.pipe.components.items(), ("encoder", trainer.dyna.encoder)]
        if isinstance(module, torch.nn.Module)
    }
    before = copy.deepcopy(trainer.dyna.state_dict())
    trainer.fit()
    modules = trainer.pipe.components | {"encoder": trainer.dyna.encoder}
    for name, state in frozen.items():
        assert not any(parameter.requires_grad for parameter in modules[name].parameters())
        assert not modules[name].training
        assert all(torch.equal(value, modules[name].state_dict()[key]) for key, value in state.items()), name
    moved = {name for name, value in trainer.dyna.state_dict().items() if not torch.equal(value, before[name])}
    assert all(".text." not in name for name in moved), "image_only never trains the text branch"
    assert {name for name in before if ".image." in name or name.startswith("fusion.")} == moved


def test_step_by_hand(experiment: Any, tmp_path: Path) -> None:
    """The first loss is the base's own flow-matching error: V is zero, so the adapter changes nothing yet."""
    config = experiment(training={"steps": 1, "batch_size": 4, "drop_prompt": 0.5, "seed": 3})
    trainer = Trainer.of(config, Run(tmp_path))
    seen: list[StepReport] = []
    trainer.fit(lambda report: seen.append(report) if isinstance(report, StepReport) else None)
    batch = next(trainer.loader.batches(0, 1))
    chance = trainer_module.draw(config.training, batch.latents.shape, number=0)
    t = chance.timesteps.view(-1, 1, 1)
    mixed = (1 - t) * batch.latents + t * chance.noise
    source = trainer.loader.dataset.source
    pairs = [source[index] for index in trainer.loader.order.at(0)]
    prompts = ["" if drop else pair.prompt for pair, drop in zip(pairs, chance.drop_prompt, strict=True)]
    trainer.dyna.detach()
    with torch.no_grad():
        velocity = trainer.backbone.velocity(
            trainer.pipe, mixed, chance.timesteps, trainer.backbone.encode_prompts(trainer.pipe, prompts), (64, 64)
        )
    expected = ((velocity - (chance.noise - batch.latents)) ** 2).mean()
    assert seen[0].loss == pytest.approx(float(expected), rel=1e-5)


def test_one_pair_is_learned(train: Train, lines: Lines, tmp_path: Path) -> None:
    training = {"steps": 60, "learning_rate": 2e-2, "drop_reference": 0, "drop_prompt": 0, "checkpoint_every": 100}
    train(tmp_path / "run", training=training, source={"use": "microworld", "size": 1, "pixels": 64})
    found = losses(lines, tmp_path / "run")
    assert sum(found[-10:]) < 0.8 * sum(found[:10])


def test_cached_or_not_the_loss_is_the_same(train: Train, undisturbed: Path, lines: Lines, tmp_path: Path) -> None:
    other = train(tmp_path / "uncached", training={"cache": False})
    assert losses(lines, undisturbed) == pytest.approx(losses(lines, other), abs=1e-5)


def test_a_cache_beyond_memory_is_given_up(
    train: Train, undisturbed: Path, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynaip.training.loader.machine_memory", lambda: 10_000)
    said: list[str] = []
    other = train(tmp_path / "small", warn=said.append)
    assert losses(lines, undisturbed) == pytest.approx(losses(lines, other), abs=1e-5)
    assert len(said) == 1
    assert "GB of memory" in said[0]


@pytest.mark.parametrize("changes", [{}, {"cache": False}, {"gradient_accumulation": 2, "steps": 3}])
def test_resumed_equals_uninterrupted(
    train: Train, undisturbed: Path, same_weights: Any, lines: Lines, tmp_path: Path, changes: dict[str, Any]
) -> None:
    straight = train(tmp_path / "straight", training=changes) if changes else undisturbed
    broken = tmp_path / "broken"

    def stop(report: Any) -> None:
        if isinstance(report, StepReport) and report.step in stops:
            raise KeyboardInterrupt

    for stops in ({3}, {5}):
        with pytest.raises(KeyboardInterrupt) if min(stops) <= changes.get("steps", 6) else _nothing():
            train(broken, training=changes, resume=True, on_progress=stop)
    train(broken, training=changes, resume=True)
    assert same_weights(straight, broken)
    assert lines(straight / "samples.jsonl") == lines(broken / "samples.jsonl")
    assert losses(lines, straight) == losses(lines, broken)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_accumulated_gradient_is_that_of_one_large_batch(
    train: Train, weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same noise for every pair, two batches of 2 give the step of one batch of 4."""
    real = trainer_module.draw

    def constant(settings: Any, shape: Any, *, number: int) -> Any:
        made = real(settings, torch.Size([1, *shape[1:]]), number=0)
        return trainer_module.Draw(
            made.timesteps.expand(shape[0]),
            made.noise.expand(shape),
            torch.zeros(shape[0], dtype=torch.bool),
            torch.ones(shape[0], dtype=torch.bool),
        )

    monkeypatch.setattr(trainer_module, "draw", constant)
    one = weights(train(tmp_path / "one", training={"steps": 2}))
    two = weights(train(tmp_path / "two", training={"steps": 2, "batch_size": 2, "gradient_accumulation": 2}))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=1e-3)


def poisoned(trainer: Trainer, steps: set[int], *, where: str) -> None:
    """Make the loss, or only the gradient, of some steps NaN."""
    real = trainer._loss

    @contextmanager
    def loss(batch: Any, number: int) -> Any:
        with real(batch, number) as value:
            if number not in steps:
                yield value
            elif where == "loss":
                yield value * float("nan")
            else:  # d sqrt(0) = inf
                yield value + 0 * torch.sqrt(sum(p.sum() * 0 for p in trainer.dyna.trainable_parameters()))

    trainer._loss = loss


def read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(self: Trainer, launched: Any) -> bool:
        settings, step = self.config.training, launched.step
        return step % settings.checkpoint_every == 0 or step == settings.steps or launched.outcome.stop

    monkeypatch.setattr(Trainer, "_needed", needed)


def test_steps_that_are_read_late_are_written_the_same(
    train: Train, same_weights: Any, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"steps": 7, "checkpoint_every": 3}
    at_once = train(tmp_path / "at-once", training=training)
    read_late(monkeypatch)
    late = train(tmp_path / "late", training=training)
    assert same_weights(at_once, late)
    clock = dict.fromkeys(("seconds", "steps_a_second", "samples_a_second", "seconds_left"), 0)
    one, other = ([row | clock for row in lines(run / "metrics.jsonl")] for run in (at_once, late))
    assert one == other
    assert lines(at_once / "samples.jsonl") == lines(late / "samples.jsonl")


@pytest.mark.parametrize("family", ["flux", "sd3", "qwen_image", "flux2-klein"])
def test_gradient_checkpointing_trains_the_same_adapter(experiment: Any, tmp_path: Path, family: str) -> None:
    """Blocks run again in the backward pass, where they need their references; weights are the same bit for bit."""
    folder = save(family, tmp_path / family)
    backbone = {"use": FAMILIES[family][0], "model": str(folder)}
    trained: list[dict[str, torch.Tensor]] = []
    calls: list[int] = []
    for checkpointing in (False, True):
        training = {"steps": 2, "batch_size": 2, "learning_rate": 1e-2, "gradient_checkpointing": checkpointing}
        trainer = Trainer.of(experiment(backbone=backbone, training=training), Run(tmp_path / str(checkpointing)))
        trainer.run.prepare("")
        count: list[int] = []
        block = trainer.backbone.blocks(trainer.pipe.transformer)[0].block
        block.register_forward_pre_hook(lambda *args, count=count: count.append(1))
        before = copy.deepcopy(trainer.dyna.state_dict())
        trainer.fit()
        trained.append(copy.deepcopy(trainer.dyna.state_dict()))
        assert any(not torch.equal(value, before[name]) for name, value in trained[-1].items())
        calls.append(len(count))
        trainer.dyna.detach()
    assert calls == [2, 4], "once more for each backward pass"
    for name, value in trained[0].items():
        assert torch.equal(trained[1][name], value), name


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_skipped(experiment: Any, lines: Lines, tmp_path: Path, where: str) -> None:
    training = {"steps": 6, "batch_size": 4, "checkpoint_every": 2, "keep_checkpoints": 9, "log_every": 1}
    trainer = Trainer.of(experiment(training=training), Run(tmp_path))
    poisoned(trainer, {1, 2}, where=where)
    before: dict[int, Any] = {}

    def watch(report: Any) -> None:
        if isinstance(report, StepReport):
            before[report.step] = copy.deepcopy(trainer.dyna.state_dict())

    trainer.fit(watch)
    for step in (2, 3):
        assert all(torch.equal(value, before[1][name]) for name, value in before[step].items()), "nothing moved"
    assert any(not torch.equal(value, before[1][name]) for name, value in before[4].items())
    metrics = lines(tmp_path / "metrics.jsonl")
    assert [line["skipped"] for line in metrics] == [0, 1, 2, 2, 2, 2]
    assert [line["loss"] is None for line in metrics] == [False, True, True, False, False, False]
    saved = [folder.name for folder in sorted((tmp_path / "checkpoints").iterdir())]
    assert saved == ["step-000004", "step-000006"], "a bad step is no checkpoint"


def test_too_many_bad_steps_stop_the_run(experiment: Any, tmp_path: Path) -> None:
    training = {"steps": 20, "batch_size": 4, "max_bad_steps": 3, "checkpoint_every": 2}
    trainer = Trainer.of(experiment(training=training), Run(tmp_path))
    poisoned(trainer, set(range(4, 20)), where="loss")
    with pytest.raises(DynaIPError, match=r"not finite in 3 steps in a row \(up to step 7\)"):
        trainer.fit()
    assert [folder.name for folder in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000002", "step-000004"]


def test_a_finished_run_has_nothing_to_do(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    weights = (run / "adapter" / "adapter.safetensors").stat().st_mtime_ns
    said: list[str] = []
    shutil.rmtree(run / "checkpoints")  # to save room
    train(run, resume=True, warn=said.append)
    assert said == [f"{run} has its 6 steps already: nothing to do"]
    assert (run / "adapter" / "adapter.safetensors").stat().st_mtime_ns == weights


def test_an_adapter_that_is_older_than_the_checkpoints_is_written_again(
    train: Train, same_weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps, then eight, killed between the last checkpoint and the adapter."""
    straight = train(tmp_path / "straight", training={"steps": 8})
    run = train(tmp_path / "run", training={"steps": 4})

    def killed(self: Any, folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.DynaIP, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            train(run, resume=True, training={"steps": 8})
    assert not same_weights(straight, run)
    said: list[str] = []
    train(run, resume=True, training={"steps": 8}, warn=said.append)
    assert said == []
    assert same_weights(straight, run)
    train(run, resume=True, training={"steps": 8}, warn=said.append)
    assert said == [f"{run} has its 8 steps already: nothing to do"]


@pytest.mark.parametrize("asked", [False, True])
def test_a_loading_process_that_dies_while_this_one_computes(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """torch raises its death wherever the main process is; here that is in the middle of a report of progress."""
    monkeypatch.setattr(PairLoader, "_start_method", lambda self: "fork")

    def compute(report: Any) -> None:
        if asked:  # a scheduler asks every process of a job
            os.kill(os.getpid(), signal.SIGTERM)
        for child in multiprocessing.active_children():
            os.kill(cast(int, child.pid), signal.SIGKILL)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.001)

    kind, message = (Interrupted, r"stopped .*--resume") if asked else (DynaIPError, r"loads pairs died .*--resume")
    with pytest.raises(kind, match=message) as caught:
        train(tmp_path / "run", training={"cache": False, "workers": 1}, on_progress=compute)
    assert "\n" not in str(caught.value)


def test_loading_processes_outlive_a_request_to_stop(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM to every process of the job: the step at hand is finished and saved all the same."""
    monkeypatch.setattr(PairLoader, "_start_method", lambda self: "fork")

    def ask(report: Any) -> None:
        if report.step == 3:
            for pid in (os.getpid(), *(cast(int, child.pid) for child in multiprocessing.active_children())):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.3)

    with pytest.raises(Interrupted, match="stopped at step 4"):
        train(tmp_path / "run", training={"cache": False, "workers": 1}, on_progress=ask)
    assert [folder.name for folder in sorted((tmp_path / "run" / "checkpoints").iterdir())][-1] == "step-000004"


def test_asked_to_stop_while_models_load(
    train: Train, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_weights: Any
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "identity", lambda *args: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(30))
        with pytest.raises(Interrupted, match=r"--resume"):
            train(run)
    train(run, resume=True)
    assert same_weights(undisturbed, run)


def test_more_steps_go_on_where_the_run_ended(train: Train, same_weights: Any, tmp_path: Path) -> None:
    straight = train(tmp_path / "straight", training={"steps": 8})
    longer = train(tmp_path / "longer", training={"steps": 5})
    train(longer, resume=True, training={"steps": 8, "checkpoint_every": 3, "keep_checkpoints": 5})
    assert same_weights(straight, longer)


def test_a_run_folder_is_not_overwritten(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", training={"steps": 1})
    with pytest.raises(InputError, match="holds a run already: add --resume"):
        train(run, training={"steps": 1})
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(InputError, match="not empty and holds no run"):
            train(other, resume=resume)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"training": {"learning_rate": 2e-3}}, "training.learning_rate was 0.001 and is now 0.002"),
        ({"training": {"seed": 1}}, "training.seed"),
        ({"fusion": "concat"}, "fusion.use was 'builtin:hmoe' and is now 'builtin:concat'"),
        ({"adapter": {"token_width": 8}}, "adapter.token_width was 16 and is now 8"),
        ({"source": {"use": "microworld", "size": 25, "pixels": 64}}, "source.size"),
    ],
)
def test_a_changed_config_is_refused(train: Train, tmp_path: Path, sections: Any, field: str) -> None:
    run = tmp_path / "run"
    _interrupted_at(train, run, 3)
    with pytest.raises(MismatchError, match=field.replace(".", r"\.")):
        train(run, resume=True, **sections)


def _interrupted_at(train: Train, run: Path, step: int, **sections: Any) -> None:
    def stop(report: Any) -> None:
        if isinstance(report, StepReport) and report.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, on_progress=stop, **sections)


def test_a_damaged_checkpoint_is_skipped_and_said(
    train: Train, undisturbed: Path, same_weights: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    _interrupted_at(train, run, 5)
    file = run / "checkpoints" / "step-000004" / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    said: list[str] = []
    train(run, resume=True, warn=said.append)
    assert len(said) == 1
    assert "step-000004: optimizer.safetensors is damaged; the one before is used" in said[0]
    assert same_weights(undisturbed, run)


def test_precision_may_differ_between_trainings_of_one_process(train: Train, tmp_path: Path, weights: Any) -> None:
    train(tmp_path / "one", training={"steps": 1})
    run = train(tmp_path / "two", training={"steps": 2, "precision": "bf16"})
    assert {value.dtype for value in weights(run).values()} == {torch.float32}


def test_a_random_fusion_resumes_bit_for_bit(train: Train, same_weights: Any, tmp_path: Path) -> None:
    """Dropout draws from torch's global generator: it is seeded by step, and given back as it was."""
    import dynaip
    from dynaip_plugins.fusion.single_layer.config import SingleLayerConfig
    from dynaip_plugins.fusion.single_layer.model import SingleLayerFusion

    @dynaip.register("fusion", "dropping", config=SingleLayerConfig)
    class Dropping(SingleLayerFusion):  # pyright: ignore[reportUnusedClass]
        def forward(self, levels: Any, **options: Any) -> Any:
            noisy = {name: torch.nn.functional.dropout(value, 0.3, self.training) for name, value in levels.items()}
            return super().forward(noisy, **options)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    straight = train(tmp_path / "straight", fusion="dropping")
    assert torch.equal(torch.rand(3), expected), "training leaves the global generator alone"
    _interrupted_at(train, tmp_path / "broken", 5, fusion="dropping")
    torch.manual_seed(17)
    train(tmp_path / "broken", resume=True, fusion="dropping")
    assert same_weights(straight, tmp_path / "broken")


PAINTED = {
    "benchmark": "microworld", "metrics": ["oracle"], "options": {"num_inference_steps": 2, "true_cfg_scale": 1.0},
}  # fmt: skip


def test_samples_are_painted_and_leave_training_as_it_was(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fusion that draws at random, in training alone: weights, chance and modes are those of a run without samples."""
    from PIL import Image

    import dynaip
    from dynaip_plugins.fusion.single_layer.config import SingleLayerConfig
    from dynaip_plugins.fusion.single_layer.model import SingleLayerFusion

    modes: list[bool] = []

    @dynaip.register("fusion", "moody", config=SingleLayerConfig)
    class Moody(SingleLayerFusion):  # pyright: ignore[reportUnusedClass]
        def forward(self, levels: Any, **options: Any) -> Any:
            modes.append(self.training)
            noisy = {name: torch.nn.functional.dropout(value, 0.3, self.training) for name, value in levels.items()}
            return super().forward(noisy, **options)

    def run(name: str, **sections: Any) -> tuple[Trainer, list[bool]]:
        modes.clear()
        config = experiment(fusion="moody", training={"steps": 3, "batch_size": 4, "sample_every": 2}, **sections)
        trainer = Trainer.of(config, Run(tmp_path / name))
        trainer.run.prepare(config.to_yaml())
        real = trainer.keeper.paint

        def watched(step: int) -> None:
            torch.manual_seed(1)
            expected = torch.rand(2)
            torch.manual_seed(1)
            real(step)
            assert torch.equal(torch.rand(2), expected), "painting draws nothing from training's generator"
            assert trainer.dyna.training
            assert trainer.dyna.fusion.training

        trainer.keeper.paint = watched
        trainer.fit()
        trainer.dyna.detach()
        return trainer, list(modes)

    plain, trained = run("plain")
    painting, both = run("painting", evaluation=PAINTED)
    assert trained == [True] * 3
    assert both[:2] == both[-1:] * 2 == [True] * 2
    assert not any(both[2:-1]), "samples are painted in evaluation mode"
    assert len(both) > 3
    with Image.open(tmp_path / "painting" / "samples" / "step-000002.png") as grid:
        assert grid.width == 6 * grid.height // 2
    assert not (tmp_path / "plain" / "samples").exists()
    for name, value in plain.dyna.state_dict().items():
        assert torch.equal(painting.dyna.state_dict()[name], value), name

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no room for a picture")

    monkeypatch.setattr("dynaip.training.samples.sample_grid", broken)
    with pytest.raises(RuntimeError, match="no room"):
        Keeper.paint(painting.keeper, 4)
    assert painting.dyna.training, "also when painting fails"


def test_the_auxiliary_loss_reaches_training(train: Train, weights: Any, lines: Lines, tmp_path: Path) -> None:
    """Flow matching plus 3 sum(tax), by hand: the loss is higher by that, and the parameter moves down its slope."""
    import dynaip
    from dynaip_plugins.fusion.single_layer.config import SingleLayerConfig
    from dynaip_plugins.fusion.single_layer.model import SingleLayerFusion

    @dynaip.register("fusion", "taxed", config=SingleLayerConfig)
    class Taxed(SingleLayerFusion):  # pyright: ignore[reportUnusedClass]
        factor = 3.0

        def __init__(self, config: Any, **context: Any) -> None:
            super().__init__(config, **context)
            self.tax = torch.nn.Parameter(torch.tensor([0.5, -0.25]))

        def forward(self, levels: Any, **options: Any) -> Any:
            return replace(super().forward(levels, **options), auxiliary_loss=self.factor * self.tax.sum())

    training = {"steps": 1, "weight_decay": 0.0, "learning_rate": 0.01}
    taxed = train(tmp_path / "taxed", fusion="taxed", training=training)
    Taxed.factor = 0.0
    free = train(tmp_path / "free", fusion="taxed", training=training)
    extra = losses(lines, taxed)[0] - losses(lines, free)[0]
    assert extra == pytest.approx(3 * (0.5 - 0.25), rel=1e-5)
    # The first step of Adam is the learning rate against the gradient's sign.
    torch.testing.assert_close(weights(taxed)["fusion.tax"], torch.tensor([0.49, -0.26]))
    torch.testing.assert_close(weights(free)["fusion.tax"], torch.tensor([0.5, -0.25]))


def test_skipped_steps_are_counted_across_a_resume(
    experiment: Any, lines: Lines, tmp_path: Path, same_weights: Any
) -> None:
    training = {"steps": 8, "batch_size": 4, "checkpoint_every": 2, "log_every": 1, "max_bad_steps": 3}
    config = experiment(training=training)

    def begun(bad: set[int], run: Path, *, resume: bool) -> Trainer:
        trainer = Trainer.of(config, Run(run))
        trainer.run.prepare(config.to_yaml())
        poisoned(trainer, bad, where="loss")
        assert trainer.restore() is resume
        return trainer

    def stop(report: Any) -> None:
        if isinstance(report, StepReport) and report.step == 4:
            raise KeyboardInterrupt

    first = begun({1, 2}, tmp_path / "run", resume=False)
    with pytest.raises(KeyboardInterrupt):
        first.fit(stop)
    first.save()
    begun({5}, tmp_path / "run", resume=True).fit()
    assert [line["skipped"] for line in lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2, 2, 3, 3, 3]

    def ask(report: Any) -> None:
        if isinstance(report, StepReport) and report.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    second = begun({4, 5, 6}, tmp_path / "bad", resume=False)
    with pytest.raises(Interrupted):
        second.fit(ask)
    with pytest.raises(DynaIPError, match=r"3 steps in a row \(up to step 7\)"):
        begun({4, 5, 6}, tmp_path / "bad", resume=True).fit()


def test_environment_says_where_it_ran(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", training={"steps": 1})
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["device"], environment["processes"], environment["seed"]) == ("cpu", 1, 0)
    assert environment["versions"]["torch"] == torch.__version__
