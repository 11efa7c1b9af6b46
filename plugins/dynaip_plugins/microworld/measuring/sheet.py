"""A contact sheet: what the base paints from dense prompts, for a person to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diffusers import FluxPipeline
from PIL import Image

from dynaip.atomic import write_image

from ..models import pipeline
from ..world.render import SIZE
from ..world.scenes import prompt
from ..world.table import draw_table

SHEET_SEED, ROWS, COLUMNS = 77, 6, 8
MIXTURE = {1: 2 / 3, 2: 1 / 3}


def write(pipe: FluxPipeline, file: Path, seed: int = 0) -> None:
    """Paint 48 held-out scenes of one or two subjects and write them as one picture."""
    scenes = draw_table(SHEET_SEED + seed, ROWS * COLUMNS, "test", MIXTURE).scenes()
    painted = pipeline.sample(pipe, [prompt(scene, True) for scene in scenes], seed=seed)
    pixels = (painted * 255).round().byte().permute(0, 2, 3, 1).numpy()
    grid = pixels.reshape(ROWS, COLUMNS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
    write_image(file, Image.fromarray(np.ascontiguousarray(grid.reshape(ROWS * SIZE, COLUMNS * SIZE, 3))))
