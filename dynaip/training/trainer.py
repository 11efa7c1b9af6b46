"""The training loop: a frozen base, a growing adapter, and nothing lost when it is broken off."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from dynaip.adapter.model import DynaIP, TrainingPass
from dynaip.atomic import write_text
from dynaip.config import ExperimentConfig
from dynaip.contracts import Backbone
from dynaip.device import to_device
from dynaip.errors import DynaIPError, Interrupted
from dynaip.paths import at_home
from dynaip.runs import Run
from dynaip.signals import interruptible, noting
from dynaip.training import checkpoints
from dynaip.training.buckets import note_buckets
from dynaip.training.data import PairDataset
from dynaip.training.encoding import encode_text
from dynaip.training.fingerprint import Fingerprint, check_pairs, fingerprint, write_pairs
from dynaip.training.gauges import Gauges
from dynaip.training.identity import Identity, identity
from dynaip.training.keeping import Keeper
from dynaip.training.levels import unpacked
from dynaip.training.loader import Batch, LoaderDied, PairLoader, deaths_told
from dynaip.training.lodgers import Lodgers
from dynaip.training.logs import append_log
from dynaip.training.machines import here
from dynaip.training.objective import Draw, draw, flow_matching_loss, learning_rate, mixed, noisy
from dynaip.training.optimizers import check_optimizer, optimizer_for
from dynaip.training.processes import gathered_ids, losses_told, shared
from dynaip.training.progress import OnProgress, Preparation, StepReport, Warn, to_stderr
from dynaip.training.references import Drawn, drawn
from dynaip.training.resume import check_folder, finished, note_trained
from dynaip.training.room import Room
from dynaip.training.setup import accelerator_for, loader_for, models_for, on_cpu, pairs_of, validation_for
from dynaip.training.sharding import apart, shard
from dynaip.training.speed import (
    checkpoint,
    compiled_blocks,
    determinism,
    products_in,
    reserve_workspace,
)
from dynaip.training.update import Launched, Update
from dynaip.training.validation import Validation
from dynaip.training.watching import Watch, check_trackers


@dataclass
class Trainer:
    """One adapter in training; build it with ``Trainer.of``.

    A step is one update of the adapter, from ``parts`` batches in each process.
    """

    config: ExperimentConfig
    run: Run
    accelerator: Any
    """The process's ``accelerate.Accelerator``."""
    pipe: Any
    backbone: Backbone
    dyna: DynaIP
    loader: PairLoader
    optimizer: torch.optim.Optimizer
    identity: Identity
    """What checkpoints of this training belong to."""
    parts: int
    """Batches that each process takes a step: ``gradient_accumulation``, or its share of what a resumed run's steps hold."""
    lodgers: Lodgers
    """Models that leave the device when everything is encoded."""
    room: Room
    validation: Validation | None = None
    warn: Warn = to_stderr
    empty: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Encodings of the empty prompt."""
    gauges: Gauges | None = None
    """What is measured in the step that is launched; None where it is not logged."""
    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    asked: Callable[[], bool] = lambda: False
    """Whether somebody wants the training to stop after the step at hand."""
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.watch = Watch(self.config, self.run, self.accelerator)
        self.keeper = Keeper(
            self.config, self.run, self.accelerator, self.pipe, self.dyna, self.optimizer, self.identity, self.lodgers,
            self.room.sharded, self.warn,
        )  # fmt: skip

    @classmethod
    def of(
        cls, config: ExperimentConfig, run: Run, *, warn: Warn = to_stderr, pairs: PairDataset | None = None,
        room: Room | None = None,
    ) -> Trainer:  # fmt: skip
        """Load the frozen models and make the adapter; ``pairs`` and ``room`` are by default those of the config."""
        settings = config.training
        if settings.threads:
            torch.set_num_threads(settings.threads)
        reserve_workspace(settings.deterministic)
        check_trackers([*settings.trackers])
        check_optimizer(settings.optimizer)
        accelerator = accelerator_for(settings, run)
        room = room or Room.of(config, here(), processes=accelerator.num_processes)
        models = pipe, _, dyna = models_for(config, accelerator.device, sharded=room.sharded)
        optimizer = optimizer_for(settings, dyna.trainable_parameters())
        optimizer = cast(torch.optim.Optimizer, accelerator.prepare(optimizer))
        loader = loader_for(config, run, accelerator, models, pairs or pairs_of(config), warn)
        validation = validation_for(config, run, accelerator, models, loader, warn)
        marks, lodgers = identity(config, pipe, dyna), Lodgers.of(pipe, dyna, accelerator.device)
        room = room if room.plan else Room.of(config, here(), pipe.transformer, processes=accelerator.num_processes)
        return cls(
            config, run, accelerator, *models, loader, optimizer, marks, settings.gradient_accumulation, lodgers, room,
            validation, warn,
        )  # fmt: skip

    # -- the loop ------------------------------------------------------------------------------------------------------

    def fit(self, on_progress: OnProgress | None = None) -> None:
        """Train up to ``training.steps``; ``Interrupted`` after SIGTERM, with everything saved."""
        try:
            full = self.room.told_when_full()
            with noting() as self.asked, torch.random.fork_rng(devices=[]), deaths_told(), losses_told(), full:
                self._steps(on_progress or _silent)
        except LoaderDied:
            if self.asked():  # whoever asked us to stop asked our workers, too
                raise self._stopped() from None
            raise

    def _steps(self, tell: OnProgress) -> None:
        """Launch steps; what became of one is read when the next one is launched, unless somebody needs it at once."""
        settings = self.config.training
        first, last = (step * self.parts for step in (self.step, settings.steps))
        transformer, waiting = self.pipe.transformer, list[Launched]()
        with determinism(settings.deterministic), apart(self.pipe, self.room.sharded):
            self.loader.fill(first, last, on_progress=lambda done, total: self._prepared(tell, done, total))
            self.empty = encode_text([""], self.pipe, self.backbone)
            if self.validation:
                self.validation.prepare()
        if self.loader.complete:
            self.lodgers.leave()
            self.loader.encode = self.lodgers.around(self.loader.encode)
        if self.room.sharded:
            shard(transformer, [site.block for site in self.backbone.blocks(transformer)], self.accelerator.device)
        self.dyna.train()
        checkpoint(transformer, self.room.checkpointing)
        if not self.room.fits and self.accelerator.is_main_process:
            self.warn(self.room.advice())
        with (
            determinism(settings.deterministic),
            compiled_blocks(transformer, settings.compile, self.warn),
            closing(self.loader.batches(first, last)) as batches,
        ):
            while self.step < settings.steps:
                waiting.append(self._launch(batches))
                while len(waiting) > 1 or (waiting and self._needed(waiting[0])):
                    self._settle(waiting.pop(0), tell)
        checkpoint(transformer, False)
        self.loader.remarks.tell()
        self.save()

    def _prepared(self, tell: OnProgress, done: int, total: int) -> None:
        tell(Preparation(done, total))
        if self.asked():
            raise self._stopped()

    def _stopped(self) -> Interrupted:
        place = f"at step {self.step}" if self.step else "before the first step"
        return Interrupted(f"stopped {place}; go on with --resume (run folder {self.run.path})")

    def _launch(self, batches: Iterator[Batch]) -> Launched:
        settings, ids = self.config.training, list[list[str]]()
        rate = learning_rate(settings, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        update = Update(self.accelerator, self.optimizer, clip=settings.clip, parts=self.parts)
        self.gauges = Gauges(self.dyna, self.accelerator) if self._logged(self.step + 1) else None
        for part in range(self.parts):
            batch, number = next(batches), self.loader.order.number(self.step * self.parts + part)
            # A fusion strategy may draw at random (dropout): it draws the same after a resume, in whichever process.
            torch.manual_seed(mixed(settings.seed, number, 0, 1))
            with self._loss(batch, number) as loss:
                update.add(loss)
            ids.append(batch.ids)
        outcome = update.finish(stop=self.asked())
        self.step += 1
        if self.keeper.average:
            self.keeper.average.follow(self.step)
        return Launched(self.step, rate, ids, outcome, self.gauges.gauged() if self.gauges else None)

    @contextmanager
    def _loss(self, batch: Batch, number: int) -> Generator[Tensor]:
        """The loss of a training's batch, plus the fusion's auxiliary loss; in a logged step it is measured."""
        settings, gauges = self.config.training, self.gauges
        chance = draw(settings, batch.latents.shape, number=number)
        chosen = drawn(batch.counts, settings.references, mixed(settings.seed, number, 0, 3))
        with (
            gauges.watching() if gauges else nullcontext(),
            self.predicted(batch, chance, chosen) as (loss, made),
        ):
            if gauges:
                gauges.routed(made.fused)
            extra = made.fused.auxiliary_loss if made.fused else None
            yield loss if extra is None else loss + extra

    @contextmanager
    def predicted(self, batch: Batch, chance: Draw, chosen: Drawn) -> Generator[tuple[Tensor, TrainingPass]]:
        """Flow matching on the frozen base with each sample's references, and what was made of them.

        The injection is open while the caller has the loss: gradient checkpointing runs blocks again in the backward pass.
        """
        device, base = self.accelerator.device, self.pipe.transformer
        clean, noise = to_device(batch.latents, device), to_device(chance.noise, device)
        features = {level: unpacked(to_device(chosen.of(values), device)) for level, values in batch.features.items()}
        text, seen = self._text(batch, chance), noisy(clean, noise, to_device(chance.timesteps, device))
        keep, regions = to_device(chance.keep_reference, device), chosen.regions(batch.regions)
        with self.dyna.training_pass(features, keep, rows=chosen.rows, regions=regions) as made:
            with products_in(self.accelerator, device):
                given = seen if device.type == "cpu" else seen.to(base.dtype)
                velocity = self.backbone.velocity(self.pipe, given, chance.timesteps, text, batch.size)
            yield flow_matching_loss(velocity, clean, noise), made

    def _text(self, batch: Batch, chance: Draw) -> dict[str, Tensor]:
        """Encodings of the prompts, or of the empty prompt where it is dropped."""
        text: Mapping[str, Tensor] = batch.text
        if bool(chance.drop_prompt.any()):
            text = {
                name: torch.where(chance.drop_prompt.view(-1, *[1] * (rows.ndim - 1)), self.empty[name], rows)
                for name, rows in batch.text.items()
            }
        shown = self.backbone.shortened(text)
        return {name: to_device(rows, self.accelerator.device) for name, rows in shown.items()}

    def _needed(self, launched: Launched) -> bool:
        """Whether the host has to know of a step before it launches another: it is written, painted, agreed on, the last."""
        settings, step = self.config.training, launched.step
        alone = self.accelerator.num_processes == 1 and self.accelerator.scaler is None
        written = step % settings.checkpoint_every == 0 or step == settings.steps
        painted = settings.sample_every and step % settings.sample_every == 0
        seen = written or bool(painted) or self._validated(step)
        return not alone or self.accelerator.device.type != "cuda" or launched.outcome.stop or seen

    def _logged(self, step: int) -> bool:
        settings = self.config.training
        return step % settings.log_every == 0 or step == settings.steps or self._validated(step)

    def _validated(self, step: int) -> bool:
        return self.validation is not None and self.validation.due(step, self.config.training.steps)

    def _settle(self, launched: Launched, tell: OnProgress) -> None:
        """Read what became of a step, count, tell and write it down."""
        applied, norm, loss = launched.outcome.read()
        self.skipped_in_row = 0 if applied else self.skipped_in_row + 1
        self.skipped += not applied
        if self.skipped_in_row >= self.config.training.max_bad_steps:
            raise DynaIPError(
                f"loss or gradient was not finite in {self.skipped_in_row} steps in a row (up to step {launched.step}); "
                "lower training.learning_rate or choose training.precision: fp32"
            )
        seconds = time.monotonic() - self.started
        report = StepReport(
            launched.step, self.config.training.steps, loss if applied else nan, launched.rate,
            norm if applied or isfinite(norm) else nan, self.skipped, seconds, self._measured(launched),
        )  # fmt: skip
        tell(report)
        self._write_down(report, gathered_ids(self.accelerator, launched.ids))
        if launched.outcome.stop:
            self.save()
            raise self._stopped()

    def _measured(self, launched: Launched) -> dict[str, Any]:
        """What is told of a step beside its loss."""
        measured = launched.gauged.read() if launched.gauged else {}
        if self.validation is None or not self._validated(launched.step):
            return measured
        self.dyna.eval()
        try:
            return measured | self.validation.losses(self.predicted)
        finally:
            self.dyna.train()

    # -- what is written -----------------------------------------------------------------------------------------------

    def _write_down(self, report: StepReport, ids: list[str]) -> None:
        settings = self.config.training
        if self.accelerator.is_main_process:
            append_log(self.run.order, {"step": report.step, "ids": ids})
        if self._logged(report.step) or not isfinite(report.loss):
            self.watch.log(report)
        if report.step % settings.checkpoint_every == 0 and self.skipped_in_row == 0:
            self.save()
        if settings.sample_every and report.step % settings.sample_every == 0:
            self.keeper.paint(report.step)

    def save(self) -> None:
        """Commit a checkpoint of adapter, optimizer and counters, once a step."""
        counters = {
            "skipped": self.skipped,
            "skipped_in_row": self.skipped_in_row,
            "seconds": time.monotonic() - self.started,
            "batches": self.parts * self.accelerator.num_processes,
        }
        self.keeper.save(self.step, counters)

    def restore(self) -> bool:
        """Go back to the newest complete checkpoint; False if there is none. Logs are cut to its step.

        Raises ``MismatchError`` naming the field if the checkpoint belongs to other models or parts.
        """
        found = self.keeper.newest()
        if found is None:
            return False
        self.parts = shared(found.state.get("batches"), self.parts, self.accelerator, self.run.path, self.warn)
        self.keeper.take_up(found)
        self.step = found.step
        self.skipped, self.skipped_in_row = int(found.state["skipped"]), int(found.state["skipped_in_row"])
        self.started -= float(found.state["seconds"])
        return True


def train(
    config: ExperimentConfig,
    run: Path,
    *,
    resume: bool = False,
    allow_changed_data: bool = False,
    on_progress: OnProgress | None = None,
    warn: Warn = to_stderr,
) -> Path:
    """Train one adapter into the run folder ``run`` and give the folder.

    Raises ``InputError`` if the folder holds a run already (without ``resume``) or is in use, ``MismatchError`` naming
    the field if a resumed run's config changed, or what changed in its pairs (unless ``allow_changed_data``),
    ``Interrupted`` after SIGTERM.
    """
    target, state = Run(at_home(run)), PartialState(cpu=on_cpu())
    early = f"stopped; nothing that was trained is lost: go on with --resume (run folder {target.path})"
    with interruptible(early), target.locked() if state.is_main_process else nullcontext():
        if state.is_main_process:
            check_folder(target, config, resume=resume)
        state.wait_for_everyone()
        if resume and finished(target, config.training.steps):
            warn(f"{target.path} has its {config.training.steps} steps already: nothing to do")
            return target.path
        room = Room.of(config, here(), processes=state.num_processes)
        if config.training.check_memory:
            room.refuse()
        pairs, known = pairs_of(config), None
        if state.is_main_process:
            known = fingerprint(pairs.source)
            trained = bool(checkpoints.found(target.checkpoints))
            if trained and (changed := check_pairs(target, known, allowed=allow_changed_data)):
                warn(f"the pairs are others than those that the run was begun with: {changed}")
        trainer = Trainer.of(config, target, warn=warn, pairs=pairs, room=room)
        try:
            _carry_out(trainer, known, resume=resume, on_progress=on_progress)
        finally:
            trainer.dyna.detach()
    return target.path


def _carry_out(trainer: Trainer, pairs: Fingerprint | None, *, resume: bool, on_progress: OnProgress | None) -> None:
    config, run, main = trainer.config, trainer.run, trainer.accelerator.is_main_process
    if main:
        device = {"device": str(trainer.accelerator.device), "processes": trainer.accelerator.num_processes}
        run.prepare(config.to_yaml(), seed=config.training.seed, **device)
        write_pairs(run, pairs or {})
        note_buckets(run, trainer.loader.dataset.source, trainer.warn)
        for log in (run.quarantine, run.notes):
            log.unlink(missing_ok=True)
    if resume:
        trainer.restore()
    trainer.watch.begin()
    try:
        trainer.fit(on_progress)
    finally:
        trainer.watch.end()
    if main:
        if trainer.keeper.average:
            trainer.dyna.save_pretrained(run.last.adapter)
            write_text(run.last.config, config.to_yaml())
        with trainer.keeper.averaged():
            trainer.dyna.save_pretrained(run.adapter)
        note_trained(run, trainer.step)


def _silent(_: Any) -> None:
    return None
