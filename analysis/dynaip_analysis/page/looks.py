"""What a picture was made of, over the picture and over its references: attention by word and region, routing by level."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from dynaip.contracts.data import Box
from dynaip.errors import InputError
from dynaip.setting import PictureSetting
from dynaip_analysis.drawing import canvas
from dynaip_analysis.page.studio import Studio
from dynaip_analysis.recording.maps import on_patches
from dynaip_analysis.recording.recorder import AttentionRequest, JointRequest, Recording, record

EVERYWHERE: Box = (0.0, 0.0, 1.0, 1.0)
Seen = tuple[Image.Image, str]
"""A drawing and the words below it."""


def look(studio: Studio, setting: PictureSetting, words: Sequence[str] = ()) -> list[Seen]:
    """Paint once more, recording; give maps over the picture for each word and reference, and over each reference."""
    if not setting.references and not words:
        raise InputError("there is nothing to look at: add a reference, or name a word of the prompt")
    joint = JointRequest(words=list(words)) if words else None
    with studio.lock, record(
        studio.world.dyna, attention=AttentionRequest() if setting.references else False, joint=joint,
        prompts=[setting.prompt],
    ) as recording:  # fmt: skip
        references = setting.read()
        picture = setting.paint(studio.world, references=references)[0]
    seen = [_word(recording, word, picture) for word in words]
    for number, reference in enumerate(references):
        region = setting.references[number].region
        box = region if isinstance(region, tuple) else EVERYWHERE
        seen += _reference(recording, number, box, picture, reference.picture())
        seen += _routing(studio.levels, recording, number, reference.picture())
    return seen


def _word(recording: Recording, word: str, picture: Image.Image) -> Seen:
    values = recording.columns.sel(branch="image", key=word).spatial("query")
    return _drawn(picture, values, f"which places of the picture look at “{word}”")


def _reference(recording: Recording, number: int, box: Box, picture: Image.Image, reference: Image.Image) -> list[Seen]:
    acts = recording.share.sel(branch="image", reference=number).spatial("query")
    seen = [_drawn(picture, acts, f"where reference {number + 1} acts on the picture (its term beside the base's)")]
    attention = recording.attention.sel(branch="image", reference=number)
    where = "the picture" if box == EVERYWHERE else "its region"
    looked = attention.region(box, axis="query").spatial("key")
    return [*seen, _drawn(reference, looked, f"what {where} looks at in reference {number + 1}")]


def _routing(levels: Sequence[str], recording: Recording, number: int, reference: Image.Image) -> list[Seen]:
    """The router's weight of every level over the reference; one figure a level where it routes whole images."""
    given = [fused.weights for fused in recording.routing if fused.weights is not None]
    rows = [row for weights in given for row in weights.float().numpy()]
    if number >= len(rows):
        return []
    weights = rows[number]
    if weights.ndim == 1:
        told = ", ".join(f"{level} {value:.2f}" for level, value in zip(levels, weights, strict=False))
        return [(reference.resize((256, 256)), f"reference {number + 1} is routed as a whole: {told}")]
    edge = math.isqrt(len(weights))
    maps = [(level, on_patches(weights[:, place], (edge, edge))) for place, level in enumerate(levels)]
    return [_drawn(reference, values, f"reference {number + 1}: what the router takes from level {level}", high=1.0)
            for level, values in maps if values is not None]  # fmt: skip


def _drawn(picture: Image.Image, values: Any, words: str, high: float | None = None) -> Seen:
    with canvas.own_figure((3.2, 3.2)) as figure:
        axes = figure.subplots()
        canvas.overlay(axes, picture, np.asarray(values), high=high)
        drawn = Image.open(io.BytesIO(canvas.png_of(figure))).convert("RGB")
    return drawn, words
