"""Bases that are shared out: when, and what is refused. Processes that train with one: test_killed.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from dynaip.errors import InputError
from dynaip.training.sharding import apart, gathered_parameters, wants_shards


@pytest.mark.parametrize(
    ("setting", "processes", "needed", "quantised", "wanted"),
    [
        (True, 2, False, False, True),
        (False, 2, True, False, False),
        ("auto", 2, True, False, True),
        ("auto", 2, False, False, False),
        ("auto", 1, True, False, False),
        ("auto", 2, True, True, False),
    ],
)
def test_when_a_base_is_shared_out(setting: Any, processes: int, needed: bool, quantised: bool, wanted: bool) -> None:
    assert wants_shards(setting, processes, needed=needed, quantised=quantised) is wanted


def test_what_cannot_be_shared_out_is_refused_in_one_line(train: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^training\.shard_base: one process has nobody to share with"):
        train(tmp_path / "run", training={"shard_base": True})
    with pytest.raises(InputError, match=r"^training\.shard_base: a quantised base cannot be shared out"):
        wants_shards(True, 2, needed=False, quantised=True)


def test_what_is_whole_at_once_is_all_that_is_outside_of_blocks_and_two_of_them() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5), nn.Linear(5, 1, bias=False))
    assert gathered_parameters(model, [model[0], model[1]]) == 5 + 2 * 20


def test_the_base_is_no_part_of_the_pipeline_while_pairs_are_encoded() -> None:
    class Pipe:
        transformer: Any = nn.Linear(1, 1)

    pipe, base = Pipe(), Pipe.transformer
    with apart(pipe, True):
        assert pipe.transformer is None
    assert pipe.transformer is base
    with apart(pipe, False):
        assert pipe.transformer is base
