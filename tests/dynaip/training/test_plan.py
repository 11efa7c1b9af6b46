"""Plans: what is computed without weights against the models themselves, and what is offered where it does not fit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynaip.config import load_experiment, recipes
from dynaip.errors import InputError
from dynaip.registry import registry
from dynaip.runs import Run
from dynaip.training import machines
from dynaip.training.encoding import encode_text
from dynaip.training.machines import GIB, Machine
from dynaip.training.memory import CONTEXT
from dynaip.training.plan import TrainingPlan, Weights, make_plan
from dynaip.training.sharding import gathered_parameters
from dynaip.training.traced import Traced, skeleton_of, trace
from dynaip.training.trainer import Trainer
from tests.tiny_models import FAMILIES, save


@pytest.mark.parametrize("family", ["flux", "sd3", "qwen_image", "flux2-klein"])
def test_a_skeleton_has_the_parameters_and_the_shapes_of_the_pipeline(family: str, tmp_path: Path) -> None:
    from dynaip.config import ComponentSpec

    folder = save(family, tmp_path / family)
    backbone = registry().build(ComponentSpec.parse("backbone", {"use": FAMILIES[family][0], "model": str(folder)}))
    skeleton = backbone.skeleton()
    pipe = backbone.load(device="cpu", dtype=torch.float32)
    real = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    made = {name: part for name, part in skeleton.pipe.components.items() if isinstance(part, nn.Module)}
    assert made.keys() == real.keys()
    for name, part in real.items():
        assert Weights.of(made[name]) == Weights.of(part), name
        assert all(each.is_meta for each in made[name].parameters())
    text = backbone.encode_prompts(pipe, ["a mug"])
    assert {name: value.shape for name, value in skeleton.text.items()} == {
        name: each.shape for name, each in text.items()
    }
    edge = backbone.config.size_multiple()
    latents = backbone.encode_images(pipe, torch.zeros(1, 3, edge * 2, edge * 2))
    assert latents.shape == (1, 4, skeleton.channels)


def test_operations_are_those_of_a_real_step(experiment: Any, tmp_path: Path) -> None:
    """The forward pass alone: a CPU's attention has another backward pass than that of an accelerator."""
    config = experiment(training={"steps": 1, "batch_size": 3})
    skeleton, dyna = skeleton_of(config)
    made = trace(skeleton, dyna, (64, 64), 3)
    trainer = Trainer.of(config, Run(tmp_path))
    batch = next(trainer.loader.batches(0, 1))
    trainer.empty = encode_text([""], trainer.pipe, trainer.backbone)
    with FlopCounterMode(display=False) as counter, trainer._loss(batch, 0):
        pass
    counted = counter.get_total_flops()
    assert made.forward == pytest.approx(counted, rel=0.01)
    assert Weights.of(dyna).all == Weights.of(trainer.dyna).all
    one = trace(skeleton, dyna, (64, 64), 1)
    assert one.kept_again < one.kept < made.kept < 3.01 * one.kept
    assert 0 < one.backward < 3 * one.forward


def test_a_plan_of_the_embedded_world_is_made_without_loading(experiment: Any) -> None:
    made = make_plan(experiment())
    assert made.size == (64, 64)
    memory = made.memory(checkpointing=False)
    assert memory["gradients"] == made.trained * 4 == memory["optimizer"] // 2
    assert memory["encoders"] == 0, "they leave when all is cached"
    assert (
        make_plan(experiment(training={"steps": 1, "batch_size": 4, "cache": False})).memory(checkpointing=False)[
            "encoders"
        ]
        > 0
    )


@pytest.fixture(scope="module")
def flux() -> TrainingPlan:
    """FLUX.1-dev at 512 px with a batch of one: blocks of a kind take the same, so that three small plans give the large one.

    (But for the first one, before which there is no gradient.)
    """
    from dynaip.config import load_experiment
    from dynaip_plugins.backbones.layouts import LAYOUTS

    name, config = "black-forest-labs/FLUX.1-dev", load_experiment("flux/dynaip", ["training.batch_size=1"])
    library, kind, options = LAYOUTS[name]["transformer"]
    made: list[TrainingPlan] = []
    for double, single in ((2, 1), (3, 1), (2, 2)):
        parts = LAYOUTS[name] | {
            "transformer": (library, kind, options | {"num_layers": double, "num_single_layers": single})
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(LAYOUTS, name, parts)
            made.append(make_plan(config))

    def whole(of: Callable[[TrainingPlan], int]) -> int:
        first, double, single = map(of, made)
        return first + 17 * (double - first) + 37 * (single - first)

    fields = ("kept", "kept_again", "forward", "backward")
    step = Traced(*(whole(lambda each, field=field: getattr(each.step, field)) for field in fields))
    base = Weights(whole(lambda each: each.base.products), whole(lambda each: each.base.others))
    return replace(made[0], step=step, base=base, trained=whole(lambda each: each.trained))


@pytest.mark.parametrize(("batch", "checkpointing", "seen"), [(1, False, 36.3), (4, True, 31.9)])
def test_a_plan_is_what_an_h200_showed(flux: TrainingPlan, batch: int, checkpointing: bool, seen: float) -> None:
    """``make gpu`` on FLUX.1-dev's layout without text encoders; torch's count, which leaves the context out."""
    settings = flux.settings.model_copy(update={"batch_size": batch, "gradient_accumulation": 1})
    made = replace(flux, settings=settings)
    tower = flux.vision.bytes(flux.vision_type)
    assert made.base.all == pytest.approx(11.90e9, rel=0.001)
    assert made.trained == pytest.approx(501e6, rel=0.002)
    planned = (made.training(checkpointing=checkpointing) - CONTEXT + tower) / GIB
    assert planned == pytest.approx(seen, rel=0.07)


@pytest.mark.parametrize(("batch", "seen"), [(1, 39.4), (4, 60.3)])
def test_a_plan_is_what_an_h100_showed(flux: TrainingPlan, batch: int, seen: float) -> None:
    """A training with 6 of T5's 24 layers: 7 GiB less than the whole one, by the driver's count."""
    settings = flux.settings.model_copy(update={"batch_size": batch, "gradient_accumulation": 1, "cache": False})
    planned = replace(flux, settings=settings).training(checkpointing=False) / GIB - 7
    assert planned == pytest.approx(seen, rel=0.03)


def plan(config: Any, base: int, kept: int, kept_again: int, **settings: Any) -> TrainingPlan:
    """A plan with round numbers, in GiB."""
    step = Traced(kept * GIB, kept_again * GIB, 100, 200)
    given = config.training.model_copy(update={"precision": "bf16", "batch_size": 4} | settings)
    return TrainingPlan(
        Weights(base * GIB // 2, 0), Weights(0, 0), Weights(0, 0), GIB // 16, "fp32", given, {}, step, (64, 64), 0
    )


def test_what_fits_and_what_is_offered_where_it_does_not(experiment: Any) -> None:
    config = experiment()
    wide = plan(config, base=20, kept=8, kept_again=1, gradient_checkpointing=False)
    # Weights, the adapter in fp32 and lowered, its optimizer, what is kept (the lowered weights once), the context.
    # Gradients come while what is kept goes.
    kept = 4 * (8 - 1 / 8) + 1 / 8
    assert wide.needed(checkpointing=False) / GIB == pytest.approx(20 + 1 / 4 + 1 / 2 + kept + 0.9, abs=0.01)
    summed = replace(wide, settings=wide.settings.model_copy(update={"gradient_accumulation": 2}))
    assert summed.needed(checkpointing=False) - wide.needed(checkpointing=False) == GIB // 4
    of = {gib: Machine(f"a {gib}", gib * GIB, None) for gib in (80, 40, 24, 12)}
    assert wide.fits(of[80])
    assert not wide.fits(of[40])
    assert wide.remedy(of[40]) == {"training.gradient_checkpointing": "auto"}
    assert wide.remedy(of[24]) == {
        "training.gradient_checkpointing": "auto", "training.batch_size": 1, "training.gradient_accumulation": 4,
    }  # fmt: skip
    assert set(wide.remedy(of[12]) or {}) > {"backbone.quantization"}
    assert wide.remedy(Machine("tiny", GIB, None)) is None
    auto = replace(wide, settings=wide.settings.model_copy(update={"gradient_checkpointing": "auto"}))
    assert (auto.checkpoints(of[80]), auto.checkpoints(of[40])) == (False, True)
    assert auto.flops(checkpointing=False) == 4 * 300
    assert auto.flops(checkpointing=True) == 4 * 400


def test_moments_in_8_bits_and_an_average_are_counted(experiment: Any) -> None:
    made = plan(experiment(), base=20, kept=8, kept_again=1, optimizer="adamw8bit", ema=0.99)
    memory = made.memory(checkpointing=False)
    assert memory["optimizer"] == pytest.approx(GIB // 16 * 2, rel=0.03)
    assert memory["average"] == GIB // 16 * 4


def test_a_base_is_shared_out_where_nothing_else_fits_it(experiment: Any) -> None:
    made = replace(plan(experiment(), base=20, kept=8, kept_again=1), processes=4, gathered=GIB)
    of = {gib: Machine(f"a {gib}", gib * GIB, None) for gib in (80, 40, 16)}
    assert [made.on(of[gib]).sharded for gib in (80, 40, 16)] == [False, False, True]
    small = made.on(of[16])
    assert small.memory(checkpointing=True)["base"] == 20 * GIB // 4 + 2 * GIB, (
        "a part of it, and what is whole at once"
    )
    assert small.fits(of[16])
    assert small.loading() < made.loading() - 19 * GIB, "while pairs are encoded it is not there yet"
    for settings in ({"shard_base": False}, {"gradient_checkpointing": False}):
        other = replace(made, settings=made.settings.model_copy(update=settings)).on(of[16])
        assert other.sharded is (settings != {"shard_base": False})
    assert not replace(made, processes=1).on(of[16]).sharded
    assert not replace(made, quantised={"transformer": "nf4"}).on(of[16]).sharded
    refused = replace(made, settings=made.settings.model_copy(update={"shard_base": False})).on(of[16])
    assert (refused.remedy(of[16]) or {}).get("training.shard_base") == "auto"


@pytest.mark.parametrize(
    ("use", "model", "billions"),
    [("flux2", "black-forest-labs/FLUX.2-dev", 32.2), ("qwen_image", "Qwen/Qwen-Image", 20.4)],
)
def test_parts_of_the_true_shapes_are_what_a_process_holds(use: str, model: str, billions: float) -> None:
    """FSDP cuts every weight along its first axis: of eight processes each holds an eighth, rounded up."""
    from dynaip.config import ComponentSpec

    backbone = registry().build(ComponentSpec.parse("backbone", {"use": use, "model": model}))
    transformer = backbone.skeleton().pipe.transformer
    blocks = [site.block for site in backbone.blocks(transformer)]
    whole = Weights.of(transformer)
    assert whole.all / 1e9 == pytest.approx(billions, rel=0.01)
    part = sum(-(-each.shape[0] // 8) * each[0].numel() for each in transformer.parameters())
    assert part == pytest.approx(whole.all / 8, rel=0.001)
    outside = [each for name, each in transformer.named_parameters() if "transformer_blocks." not in name]
    largest = max(sum(each.numel() for each in block.parameters()) for block in blocks)
    assert gathered_parameters(transformer, blocks) == sum(each.numel() for each in outside) + 2 * largest
    assert (part + gathered_parameters(transformer, blocks)) * 2 < 13 * GIB, "instead of 60 and 38 GiB"


def test_a_training_that_cannot_fit_is_refused_before_anything_is_loaded(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Machine("a small one", 2**20, None)
    monkeypatch.setattr("dynaip.training.trainer.here", lambda: small)
    with pytest.raises(InputError, match=r"this training takes about .* GiB, and a small one has 0\.0: no setting"):
        train(tmp_path / "run")
    train(tmp_path / "run", training={"steps": 1, "check_memory": False})


def test_machines_have_names() -> None:
    assert machines.named("H100").memory > 79 * GIB
    assert machines.named("l4").name == "l4-24gb"
    with pytest.raises(InputError, match=r"must be one of .*a100-40gb"):
        machines.named("a100")


PLANNED = ("flux2/dynaip", "flux/dynaip", "flux/dynaip-24gb", "sd3/dynaip", "qwen_image/dynaip")
"""Recipes that say what they take; the first takes two seconds here, ``DYNAIP_TEST_PLANS=all`` asks all of them."""


@pytest.mark.parametrize("name", PLANNED if os.environ.get("DYNAIP_TEST_PLANS") == "all" else PLANNED[:1])
def test_recipes_say_what_their_plans_say(name: str) -> None:
    lines = takewhile(lambda line: line.startswith("#"), recipes()[name].read_text(encoding="utf-8").splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines)
    said = re.search(r"--gpu (\S+)`: (.*?) 512 px: (.*?) 1024 px: (.*?)(?: The second stage|$)", comment)
    assert said is not None
    machine = machines.named(said[1])
    for width, text in (("512", said[3]), ("1024", said[4])):
        made = make_plan(load_experiment(name, [f"source.width={width}"])).on(machine)
        again = made.checkpoints(machine)
        hours = (made.seconds(machine, checkpointing=again) or 0) * made.settings.steps / 3600
        must = {f"{made.training(checkpointing=True) / GIB:.0f}", f"{made.flops(checkpointing=again) / 1e12:.0f}"}
        may = {f"{each / GIB:.0f}" for each in (made.training(checkpointing=False), made.loading())}
        may |= {f"{hours:.0f}", f"{round(2 * hours) / 2:g}", str(made.settings.steps)}
        numbers = {*re.findall(r"(?<![\w.])\d[\d.]*\b(?![\w-])", text)}
        assert must <= numbers <= must | may, (width, sorted(must), sorted(may))
    assert said[2].startswith(
        f"{made.base.all / 1e9:.2f} B frozen parameters in the base, {made.trained / 1e6:.0f} M trained"
    )
