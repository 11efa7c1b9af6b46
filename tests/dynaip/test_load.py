"""`dynaip.load`: a pipeline with its adapter, ready to paint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

import dynaip
from dynaip import DynaIP, Reference
from dynaip.errors import InputError

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
