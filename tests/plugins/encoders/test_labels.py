"""The encoder of labels says what the renderer drew, one attribute a token, in the level of its band."""

from __future__ import annotations

import pytest
import torch

from dynaip.config import ComponentSpec
from dynaip.errors import ConfigError
from dynaip.promises import check_levels, check_pixels
from dynaip.registry import registry
from dynaip_plugins.encoders.labels.model import KINDS, LabelEncoder
from dynaip_plugins.microworld.world.render import pictures
from dynaip_plugins.microworld.world.table import draw_table
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES


def build(*levels: str) -> LabelEncoder:
    spec = {"use": "labels", "model": "microworld"} | ({"levels": list(levels)} if levels else {})
    return registry().build(ComponentSpec.parse("encoder", spec))


def test_every_attribute_is_a_token_of_its_band() -> None:
    table = draw_table(11, 24, "test", {1: 1.0})
    encoder = build("fine", "middle", "coarse", "context")
    pixels = encoder.preprocess(pictures(table.scenes()))
    check_pixels("labels", pixels, 24)
    found = encoder(pixels)
    check_levels("labels", encoder, found, 24)
    words = [f"{name} {value}" for name, values in ATTRIBUTES.items() for value in values]
    wrong = 0
    for level, tokens in found.items():
        assert torch.equal(tokens.sum(-1), torch.ones(24, 3)) and tokens.max() == 1
        for row in range(len(table)):
            said = {words[number] for number in tokens[row].argmax(-1).tolist()}
            drawn = {f"{name} {ATTRIBUTES[name][table.column(name)[row, 0]]}" for name in KINDS[level]}
            wrong += said != drawn
    assert wrong <= 5  # of 96: the oracle is a reader, and posture is its hardest question


def test_levels_may_be_chosen_but_not_twice() -> None:
    encoder = build("coarse", "fine")
    assert list(encoder.levels) == ["coarse", "fine"] and set(encoder.widths) == {"coarse", "fine"}
    with pytest.raises(ConfigError, match="named twice"):
        build("fine", "fine")
