"""`dynaip.load`: a pipeline with its adapter, ready to paint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

import dynaip
from dynaip import DynaIP, Reference
from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.notes import Note

Make = Callable[..., Any]
REFERENCE = Reference(Image.linear_gradient("L").convert("RGB"))


def test_a_run_folder_paints_as_its_parts_do(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    dyna = adapter()
    dyna.save_pretrained(tmp_path / "adapter")
    with dyna.references(REFERENCE):
        (expected,) = dyna.backbone.generate(tiny_flux, ["a star"], seeds=[3], num_inference_steps=2)
    loaded = dynaip.load(tmp_path)
    pipe, again = loaded
    assert pipe is loaded.pipe
    assert again.attached
    assert next(pipe.transformer.parameters()).dtype == torch.float32
    assert repr(loaded).startswith("FluxPipeline with DynaIP of ")
    image = loaded.generate("a star", REFERENCE, seed=3, num_inference_steps=2)
    assert image.size == (64, 64)
    assert ImageChops.difference(image, expected).getbbox() is None
    bare = loaded.generate("a star", seed=3, num_inference_steps=2, size=(32, 64))
    assert bare.size == (64, 32)


def test_it_paints_as_the_command_line_does(tmp_path: Path) -> None:
    """The run's own steps, guidance and negative prompt go with it: the card's figures are measured with them."""
    REFERENCE.picture().save(tmp_path / "ref.png")
    arguments = ["generate", "microworld", "a large star on sea", "--ref", str(tmp_path / "ref.png"), "--seed", "5"]
    assert main([*arguments, "-o", str(tmp_path / "out.png")]) == 0
    world = dynaip.load("microworld")
    assert world.options == {"num_inference_steps": 16, "true_cfg_scale": 3.0, "negative_prompt": ""}
    assert world.guidance == 3.0 and replace(world, options={}).guidance == 1.0, "FLUX's pipeline has none by itself"
    image = world.generate("a large star on sea", Reference(tmp_path / "ref.png"), seed=5)
    assert ImageChops.difference(image, Image.open(tmp_path / "out.png")).getbbox() is None
    # What is given goes before the run's own.
    options = {"num_inference_steps": 2, "true_cfg_scale": 1.0, "negative_prompt": None}
    with world.dyna.references(REFERENCE):
        (plain,) = world.dyna.backbone.generate(world.pipe, ["a star"], seeds=[5], num_inference_steps=2)
    assert ImageChops.difference(plain, world.generate("a star", REFERENCE, seed=5, **options)).getbbox() is None


def test_guidance_needs_no_negative_prompt_of_the_users_own(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    adapter().save_pretrained(tmp_path / "adapter")
    world = dynaip.load(tmp_path)
    two: dict[str, Any] = {"num_inference_steps": 2}
    plain, guided = (world.generate("a star", guidance=scale, **two) for scale in (1.0, 4.0))
    truth = world.generate("a star", true_cfg_scale=4.0, negative_prompt="", **two)
    assert ImageChops.difference(guided, truth).getbbox() is None
    assert ImageChops.difference(guided, plain).getbbox() is not None
    with pytest.warns(Note, match="true_cfg_scale has no effect without a negative prompt"):
        assert world.generate("a star", true_cfg_scale=4.0, **two).tobytes() == plain.tobytes()


def test_a_saved_pipeline_paints_its_own_size(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    adapter()
    tiny_flux.save_pretrained(tmp_path / "both")
    pipe, dyna = dynaip.load(tmp_path / "both", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a star", num_inference_steps=1, max_sequence_length=24).images[0].size == (64, 64)
    assert DynaIP.on(pipe) is dyna


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter there"):
        dynaip.load(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        dynaip.load(str(tmp_path / "missing"))
