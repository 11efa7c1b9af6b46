"""The training loop: a frozen base, a growing adapter, and nothing lost when it is broken off."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynaip.adapter.model import DynaIP
from dynaip.config import ExperimentConfig, load_experiment
from dynaip.contracts import Backbone, Pair, PairSource
from dynaip.errors import DynaIPError, InputError, MismatchError
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.training import checkpoints
from dynaip.training.data import Batch, Encoded, PairLoader, Quarantine, signed_pixels
from dynaip.training.objective import Draw, draw, flow_matching_loss, learning_rate, noisy

RESUME_ME = 75
"""Exit code of a training that was asked to stop and saved (EX_TEMPFAIL): start it again with ``--resume``."""

MAY_CHANGE = {"steps", "checkpoint_every", "keep_checkpoints", "sample_every", "log_every", "workers", "threads", "max_bad_steps"}
"""Fields of ``training`` that a resumed run may have changed; so may ``evaluation`` and the place of plugin files."""


class Interrupted(DynaIPError):
    """The training was asked to stop; it saved a checkpoint and can be resumed."""

    exit_code = RESUME_ME


@dataclass(frozen=True)
class StepReport:
    """What a step did, for progress bars and logs."""

    step: int
    """Steps done so far, from 1."""
    steps: int
    loss: float
    """NaN if the step was skipped."""
    learning_rate: float
    gradient_norm: float
    skipped: int
    """Steps skipped so far because loss or gradient was not finite."""
    seconds: float
    """Time of this process so far."""


@dataclass(frozen=True)
class Preparation:
    """How far the encoding of pairs is."""

    done: int
    total: int


OnProgress = Callable[[StepReport | Preparation], None]


@dataclass
class Trainer:
    """One adapter in training; build it with ``Trainer.of``."""

    config: ExperimentConfig
    run: Run
    accelerator: Accelerator
    pipe: Any
    backbone: Backbone
    dyna: DynaIP
    loader: PairLoader
    optimizer: torch.optim.Optimizer
    text: dict[str, dict[str, Tensor]] = field(default_factory=dict[str, dict[str, Tensor]])
    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    stopping: bool = False
    saved: int = -1
    """Step of the newest checkpoint of this process."""
    started: float = field(default_factory=time.monotonic)
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr)

    @classmethod
    def of(cls, config: ExperimentConfig, run: Run) -> Trainer:
        """Load the frozen models and make the adapter."""
        settings = config.training
        if settings.threads:
            torch.set_num_threads(settings.threads)
        mixed = "no" if settings.precision == "fp32" else settings.precision
        accelerator = Accelerator(mixed_precision=mixed, gradient_accumulation_steps=settings.gradient_accumulation)
        device = accelerator.device
        backbone: Backbone = registry().build(config.backbone)
        pipe = backbone.load(device=device, dtype=_base_type(settings.precision, device))
        freeze(pipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            dyna = DynaIP.build(config, pipe.transformer)
        dyna.attention.to(device)
        dyna.attach(pipe)
        source: PairSource = registry().build(config.source)
        loader = PairLoader(
            source,
            lambda pairs: encode(pairs, pipe, backbone, dyna),
            quarantine=Quarantine(run.quarantine, len(source), settings.max_bad_share),
            batch=settings.batch_size,
            seed=settings.seed,
            workers=settings.workers,
            cache=settings.cache_size if settings.cache else 0,
        )
        optimizer = torch.optim.AdamW(
            dyna.trainable_parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        return cls(config, run, accelerator, pipe, backbone, dyna, loader, cast(Any, accelerator.prepare(optimizer)))

    # -- the loop -----------------------------------------------------------------------------------------------------------

    def fit(self, on_progress: OnProgress | None = None) -> None:
        """Train up to ``training.steps``; ``Interrupted`` after SIGTERM, with everything saved."""
        settings, tell = self.config.training, on_progress or (lambda _: None)
        self.loader.fill(self.step, settings.steps, on_progress=lambda done, total: tell(Preparation(done, total)))
        self.dyna.train()
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        with self._asked_to_stop():
            for batch in self.loader.batches(self.step, settings.steps, rank=rank, world=world):
                report = self._one_step(batch)
                tell(report)
                self._write_down(report, batch)
                if self.stopping:
                    self.save()
                    raise Interrupted(f"stopped at step {self.step}; go on with --resume (run folder {self.run.path})")
        if self.saved != self.step:
            self.save()

    def _one_step(self, batch: Batch) -> StepReport:
        rate = learning_rate(self.config.training, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.accelerator.accumulate(self.dyna):
            loss = self._loss(batch)
            norm = self._apply(loss)
        self.step += 1
        self._count(loss, norm)
        finite = self.skipped_in_row == 0
        return StepReport(
            self.step, self.config.training.steps, float(loss.detach()) if finite else float("nan"), rate, norm,
            self.skipped, time.monotonic() - self.started,
        )  # fmt: skip

    def _loss(self, batch: Batch) -> Tensor:
        """Flow matching on the frozen base with one reference a sample, plus the fusion's auxiliary loss."""
        device = self.accelerator.device
        clean = batch.latents.to(device)
        chance = draw(self.config.training, clean.shape, step=self.step, rank=self.accelerator.process_index)
        noise, timesteps = chance.noise.to(device), chance.timesteps.to(device)
        features = {level: values.to(device) for level, values in batch.features.items()}
        text = self._text(batch.prompts, chance)
        with self._injected(features, chance.keep_reference.to(device)) as made:
            velocity = self.backbone.velocity(self.pipe, noisy(clean, noise, timesteps), timesteps, text, batch.size)
        loss = flow_matching_loss(velocity, clean, noise)
        extra = made.fused.auxiliary_loss if made.fused else None
        return loss if extra is None else loss + extra

    @contextmanager
    def _injected(self, features: Mapping[str, Tensor], keep: Tensor) -> Generator[Any]:
        with self.dyna.training_pass(features, keep) as made, self.accelerator.autocast(), _fast_attention(self.accelerator.device):
            yield made

    def _apply(self, loss: Tensor) -> float:
        """Backward, one gradient for all processes, clip, update; skip the update if anything is not finite."""
        if not bool(torch.isfinite(loss.detach())):
            self.optimizer.zero_grad()
            return float("nan")
        self.accelerator.backward(loss)
        if not self.accelerator.sync_gradients:
            return 0.0
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._average(parameters)
        norm = float(cast(Any, self.accelerator.clip_grad_norm_(parameters, self.config.training.clip)))
        if norm == norm and norm != float("inf"):
            self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _average(self, parameters: Iterable[Tensor]) -> None:
        if self.accelerator.num_processes == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = cast(Tensor, self.accelerator.reduce(parameter.grad, "mean"))

    def _count(self, loss: Tensor, norm: float) -> None:
        finite = bool(torch.isfinite(loss.detach())) and norm == norm and norm != float("inf")
        self.skipped_in_row = 0 if finite else self.skipped_in_row + 1
        self.skipped += not finite
        if self.skipped_in_row >= self.config.training.max_bad_steps:
            raise DynaIPError(
                f"loss or gradient was not finite in {self.skipped_in_row} steps in a row (up to step {self.step}); "
                "lower training.learning_rate or choose training.precision: fp32"
            )

    def _text(self, prompts: Sequence[str], chance: Draw) -> dict[str, Tensor]:
        """Encodings of the prompts, or of the empty prompt where it is dropped; each prompt is encoded once."""
        shown = ["" if drop else prompt for prompt, drop in zip(prompts, chance.drop_prompt.tolist(), strict=True)]
        for prompt in dict.fromkeys(shown):
            if prompt not in self.text:
                self.text[prompt] = self.backbone.encode_prompts(self.pipe, [prompt])
        rows = [self.text[prompt] for prompt in shown]
        if not self.config.training.cache:
            self.text.clear()
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    # -- what is written ------------------------------------------------------------------------------------------------------

    def _write_down(self, report: StepReport, batch: Batch) -> None:
        settings = self.config.training
        if self.accelerator.is_main_process:
            _append(self.run.order, {"step": report.step, "ids": batch.ids})
            if report.step % settings.log_every == 0 or report.step == settings.steps or report.loss != report.loss:
                _append(self.run.metrics, report.__dict__)
        if report.step % settings.checkpoint_every == 0 and not self.stopping and self.skipped_in_row == 0:
            self.save()
        if settings.sample_every and report.step % settings.sample_every == 0:
            self._paint()

    def save(self) -> None:
        """Commit a checkpoint of adapter, optimizer and counters."""
        self.saved = self.step
        if not self.accelerator.is_main_process:
            return
        weights = {name: value.detach().cpu().contiguous() for name, value in self.dyna.state_dict().items()}
        state = {"skipped": self.skipped, "seconds": time.monotonic() - self.started}
        inner = cast(torch.optim.Optimizer, getattr(self.optimizer, "optimizer", self.optimizer))
        made = checkpoints.Checkpoint(self.step, weights, checkpoints.optimizer_tensors(inner), state)
        checkpoints.save(self.run.checkpoints, made, keep=self.config.training.keep_checkpoints)

    def restore(self) -> bool:
        """Go back to the newest complete checkpoint; False if there is none. Logs are cut to its step."""
        found = checkpoints.latest(self.run.checkpoints, warn=self.warn)
        step = found.step if found else 0
        for log in (self.run.order, self.run.metrics):
            _cut(log, step)
        if found is None:
            return False
        self.dyna.load_state_dict(found.adapter)
        inner = cast(torch.optim.Optimizer, getattr(self.optimizer, "optimizer", self.optimizer))
        checkpoints.restore_optimizer(inner, found.optimizer)
        self.step, self.skipped = found.step, int(found.state["skipped"])
        self.started -= float(found.state["seconds"])
        return True

    def _paint(self) -> None:
        """A few samples of the adapter as it is, in one picture."""
        from dynaip.training.samples import sample_grid

        if self.accelerator.is_main_process and self.config.evaluation is not None:
            self.dyna.eval()
            sample_grid(self.dyna, self.pipe, self.config.evaluation, self.run.samples / f"step-{self.step:06d}.png")
            self.dyna.train()

    @contextmanager
    def _asked_to_stop(self) -> Generator[None]:
        """SIGTERM ends the training after the step at hand."""

        def note(number: int, frame: Any) -> None:
            self.stopping = True

        try:
            before = signal.signal(signal.SIGTERM, note)
        except ValueError:  # not in the main thread: nobody can signal us there
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def train(
    config: ExperimentConfig, run: Path, *, resume: bool = False, on_progress: OnProgress | None = None,
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Path:  # fmt: skip
    """Train one adapter into the run folder ``run`` and give the folder.

    Raises ``InputError`` if the folder holds a run already (without ``resume``) or is in use, ``MismatchError`` naming the
    field if a resumed run's config changed, ``Interrupted`` after SIGTERM.
    """
    target = Run(Path(run))
    with target.locked():
        check_folder(target, config, resume=resume)
        if resume and finished(target, config):
            return target.path
        target.prepare(config.to_yaml(), seed=config.training.seed)
        trainer = Trainer.of(config, target)
        trainer.warn = warn
        if resume:
            trainer.restore()
        try:
            trainer.fit(on_progress)
        finally:
            trainer.dyna.detach()
        if trainer.accelerator.is_main_process:
            trainer.dyna.save_pretrained(target.adapter)
    return target.path


def check_folder(run: Run, config: ExperimentConfig, *, resume: bool) -> None:
    """Refuse a folder that holds another run, or the same one without ``resume``."""
    if not run.config.exists():
        others = [entry.name for entry in run.path.iterdir() if not entry.name.startswith(".")]
        if others:
            raise InputError(f"{run.path} is not empty and holds no run: choose another folder")
        return
    if not resume:
        raise InputError(f"{run.path} holds a run already: add --resume to go on with it, or choose another folder")
    before = load_experiment(run.config).resolved()
    for path, old, new in _differences(before, config.resolved()):
        top, _, rest = path.partition(".")
        if top in {"evaluation", "plugins"} or (top == "training" and rest in MAY_CHANGE):
            continue
        raise MismatchError(f"{run.path}: {path} was {old!r} and is now {new!r}; a resumed run keeps it")


def _differences(before: Any, now: Any, path: str = "") -> Generator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        one, other = cast(dict[str, Any], before), cast(dict[str, Any], now)
        for key in sorted({*one, *other}):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path, before, now


def finished(run: Run, config: ExperimentConfig) -> bool:
    """Whether the run's adapter is there and has as many steps as the config asks for."""
    reached = [int(folder.name.removeprefix("step-")) for folder in checkpoints.found(run.checkpoints)]
    return (run.adapter / "config.json").is_file() and bool(reached) and reached[-1] >= config.training.steps


def freeze(pipe: Any) -> None:
    """Freeze every model of a pipeline and put it into evaluation mode."""
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.requires_grad_(False).eval()


@torch.no_grad()
def encode(pairs: Sequence[Pair], pipe: Any, backbone: Backbone, dyna: DynaIP) -> list[Encoded]:
    """Encode pairs: latents of the targets, level features of the references."""
    latents = backbone.encode_images(pipe, signed_pixels([pair.target for pair in pairs])).float().cpu()
    features = {level: values.cpu() for level, values in dyna.features([pair.reference for pair in pairs]).items()}
    return [
        Encoded(pair.id, pair.prompt, latents[row], {level: values[row] for level, values in features.items()})
        for row, pair in enumerate(pairs)
    ]


def _base_type(precision: str, device: torch.device) -> torch.dtype:
    """On a CPU the base stays in float32 and autocast lowers the products, which keeps the norms exact."""
    if device.type == "cpu" or precision == "fp32":
        return torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float16


@contextmanager
def _fast_attention(device: torch.device) -> Generator[None]:
    """On a CPU the fused kernel's backward pass is several times slower than two matrix products."""
    if device.type != "cpu":
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(entry)) + "\n")


def _cut(path: Path, step: int) -> None:
    """Drop the lines after ``step``, and a line that was broken off."""
    if not path.exists():
        return
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            break
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
