"""Hints against the rendered pixels."""

from __future__ import annotations

import numpy as np
import torch

from dynaip_plugins.microworld.making import hints
from dynaip_plugins.microworld.models.pixels import pixels
from dynaip_plugins.microworld.world.render import backgrounds
from dynaip_plugins.microworld.world.scenes import draw, labels
from dynaip_plugins.microworld.world.table import table_of
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES


def test_hints_name_the_subject_that_covers_a_token() -> None:
    """Against the rendered pixels: a token that a subject owns shows it, a free one the background."""
    scenes = draw(6, 40, mixture={2: 1.0})
    made = hints.make_hints(table_of(scenes))
    empty = backgrounds(scenes)
    changed = np.abs(pixels(scenes).permute(0, 2, 3, 1).numpy() - empty).sum(-1) > 8
    covered = torch.from_numpy(changed).view(40, 8, 16, 8, 16).float().mean((2, 4)).flatten(1)
    assert covered[made.owners >= 0].mean() > 0.6 and covered[made.owners < 0].mean() < 0.12
    targets = made.of(torch.tensor([7]))[0]
    for token, owner in enumerate(made.owners[7].tolist()):
        if owner < 0:
            assert (targets[token] == hints.NOWHERE).all()
        else:
            found = labels(scenes[7], owner)
            assert targets[token].tolist() == [found[name] for name in ATTRIBUTES]
