"""Compiled blocks of microworld on the accelerator."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

import dynaip
from dynaip import Reference

REFERENCE = Reference(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)))


def test_compiled_blocks_paint_the_same(device: torch.device) -> None:
    world = dynaip.load("microworld", device=device, dtype=torch.float32)
    prompt = "a large star at the left, on sea"
    plain = np.asarray(world.generate(prompt, REFERENCE, seed=3)).astype(float)
    bare = np.asarray(world.generate(prompt, seed=3)).astype(float)
    world.pipe.transformer.compile_repeated_blocks(fullgraph=True)
    compiled = np.asarray(world.generate(prompt, REFERENCE, seed=3)).astype(float)
    torch.compiler.reset()
    assert np.abs(plain - compiled).mean() < 2
    assert np.abs(bare - compiled).mean() > 2
