"""Scenes as numbers: there and back, drawn within their split, and where jitter puts them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from dynaip_plugins.microworld.world.render import owners, paint, placements, render
from dynaip_plugins.microworld.world.scenes import LAYOUTS, labels, region, sample_scene
from dynaip_plugins.microworld.world.table import boxes_of, draw_table, table_of, table_of_labels
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES


def test_scenes_survive_their_table() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, number, None) for number in (1, 2, 3, 4) * 5]
    table = table_of(scenes)
    assert table.scenes() == scenes
    assert table.count.tolist() == [1, 2, 3, 4] * 5
    known = table_of_labels([[labels(scene, k) for k in range(len(scene.subjects))] for scene in scenes])
    assert torch.equal(known.values, table.values)
    assert (paint(table).permute(0, 2, 3, 1).numpy() == render(scenes)).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_drawn_tables_keep_to_their_split_and_mixture(split: str) -> None:
    table = draw_table(3, 600, split, {1: 0.5, 3: 0.5})
    scenes = table.scenes()
    assert {subject.identity.split for scene in scenes for subject in scene.subjects} == {split}
    assert all(tuple(s.place for s in scene.subjects) in LAYOUTS[len(scene.subjects)] for scene in scenes)
    assert all(len({s.category for s in scene.subjects}) == len(scene.subjects) for scene in scenes)
    assert 230 < Counter(len(scene.subjects) for scene in scenes)[1] < 370
    assert torch.equal(draw_table(3, 600, split, {1: 0.5, 3: 0.5}).values, table.values)


def test_every_value_of_every_attribute_is_drawn() -> None:
    table = draw_table(0, 4000, None)
    for name, words in ATTRIBUTES.items():
        assert set(table.column(name)[table.present].tolist()) == set(range(len(words))), name


def test_boxes_are_the_regions_of_the_scenes() -> None:
    table = draw_table(1, 40)
    rows, slots = torch.nonzero(table.present, as_tuple=True)
    scenes = table.scenes()
    wanted = [region(scenes[row], slot) for row, slot in zip(rows.tolist(), slots.tolist(), strict=True)]
    torch.testing.assert_close(boxes_of(table, rows, slots), torch.tensor(wanted))


def test_subjects_own_the_tokens_around_their_place_alone() -> None:
    table = draw_table(2, 60)
    owner, place = owners(table, 8).view(60, 8, 8), placements(table)
    for row, column in ((7, 9), (11, 2), (23, 0)):
        for slot in range(int(table.count[row])):
            x, y, radius = place[row, slot].tolist()
            mine = torch.nonzero(owner[row] == slot)
            assert len(mine) > 0, (row, column)
            middle = (mine.flip(1) + 0.5) * 16 - torch.tensor([x, y])
            assert torch.hypot(middle[:, 0], middle[:, 1]).max() < radius
