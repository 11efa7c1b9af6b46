"""Several references a sample: which are drawn, where they may appear, what is seen of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.contracts import Pair, PairReference
from dynaip.training.references import Drawn, drawn, grid_of, picture, regions_of

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")


def test_a_pair_of_one_reference_is_written_as_before() -> None:
    pair = Pair("a", RED, BLUE, "p", "mug")
    assert pair.references == (PairReference(RED, subject="mug"),)
    assert replace(pair, reference=BLUE).references[0].image is BLUE
    assert replace(pair, prompt="q").references == pair.references


def test_a_pair_of_several() -> None:
    given = (PairReference(RED, region=(0, 0, 0.5, 1)), PairReference(BLUE))
    pair = Pair.of("a", given, RED, "p")
    assert pair.reference is RED
    assert pair.references == given
    other = pair.with_references(given[1:])
    assert other.reference is BLUE
    assert other.references == given[1:]
    assert replace(pair, reference=BLUE).references == (replace(given[0], image=BLUE), given[1])


def test_one_each_is_no_draw() -> None:
    assert drawn([1, 1, 1], 4, 0) == Drawn(None, [0, 1, 2])


def test_numbers_and_choices_are_even() -> None:
    numbers, places = Counter[int](), Counter[int]()
    for seed in range(3000):
        made = drawn([1, 3], 2, seed)
        assert made.places is not None
        assert made.places[0] == 0
        assert made.places == sorted(set(made.places))
        assert made.rows == [0] + [1] * (len(made.places) - 1)
        numbers[made.rows.count(1)] += 1
        places.update(made.places[1:])
    assert numbers[1] / 3000 == pytest.approx(0.5, abs=0.03)
    assert set(numbers) == {1, 2}
    assert [places[place] / 3000 for place in (1, 2, 3)] == pytest.approx([0.5] * 3, abs=0.04)
    assert all(len(drawn([3], 1, seed).rows) == 1 for seed in range(20))


def test_regions_are_those_of_the_grid_and_share_what_overlaps() -> None:
    references = [
        PairReference(RED, (0, 0, 0.5, 1)),
        PairReference(RED),
        PairReference(RED, Image.new("L", (4, 4), 255)),
    ]
    made = regions_of(references, 6, (20, 30))
    assert grid_of(6, (20, 30)) == (2, 3)
    assert made is not None
    assert made[0].tolist() == [1.0, 0.5, 0.0, 1.0, 0.5, 0.0]
    assert made[1].tolist() == made[2].tolist() == [1.0] * 6
    assert regions_of([PairReference(RED)], 6, (20, 30)) is None
    both = Drawn([0, 2], [0, 0]).regions(list(made))
    assert both is not None
    assert torch.stack([one for one in both if one is not None]).sum(0).tolist() == pytest.approx([1.0] * 6)
    assert Drawn([0, 2], [0, 1]).regions(list(made))[0].tolist() == made[0].tolist()  # pyright: ignore
    assert Drawn(None, [0]).regions([None]) is None


def test_a_mask_leaves_the_subject_on_white() -> None:
    mask = Image.fromarray(np.repeat([[255, 0]], 8, 0).repeat(4, 1).astype(np.uint8))
    seen = np.asarray(picture(PairReference(RED, mask=mask)))
    assert seen[0, 0].tolist() == [255, 0, 0]
    assert seen[0, 7].tolist() == [255, 255, 255]
    assert picture(PairReference(RED)) is RED


PLUGIN = """
from PIL import Image
import numpy as np
import dynaip
from dynaip.config import ComponentConfig
from dynaip.contracts import Pair, PairReference, PairSource


class Config(ComponentConfig):
    pass


@dynaip.register("source", "several", config=Config)
class Several(PairSource):
    shapes = [(64, 64), (32, 64), (64, 32)]

    def __init__(self, config):
        pass

    def __len__(self):
        return 24

    def sizes(self):
        return [self.shapes[index % 3] for index in range(24)]

    def __getitem__(self, index):
        chance = np.random.default_rng(index)
        draw = lambda height, width: Image.fromarray(chance.integers(0, 256, (height, width, 3), dtype=np.uint8))
        given = [PairReference(draw(64, 64), region=(0, 0, 0.5, 1) if index % 2 else None) for _ in range(1 + index % 3)]
        return Pair.of(f"n-{index}", given, draw(*self.shapes[index % 3]), "a star")
"""


def test_training_with_several_references_and_sizes_goes_on_as_if_it_had_not_been_broken_off(
    train: Any, same_weights: Any, lines: Any, tmp_path: Any
) -> None:
    from dynaip.registry import registry

    (tmp_path / "several.py").write_text(PLUGIN)
    registry().load_file(tmp_path / "several.py")

    class Stop(Exception):
        pass

    def stop(report: Any) -> None:
        if getattr(report, "step", 0) == 3:
            raise Stop

    given = {"source": "several", "training": {"references": 3, "batch_size": 2}}
    straight = train(tmp_path / "straight", **given)
    with pytest.raises(Stop):
        train(tmp_path / "broken", on_progress=stop, **given)
    broken = train(tmp_path / "broken", resume=True, **given)
    assert same_weights(straight, broken)
    taken = lines(straight / "samples.jsonl")
    assert taken == lines(broken / "samples.jsonl")
    assert all(len({int(each.removeprefix("n-")) % 3 for each in line["ids"]}) == 1 for line in taken)
