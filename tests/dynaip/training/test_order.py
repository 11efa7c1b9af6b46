"""The order of pairs: epochs, groups that share batches, blocks that lie together."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from dynaip.training.order import TOGETHER, Shuffle, groups_of, permutation


def test_a_cycle_by_hand() -> None:
    """Six pairs of group 0 and three of group 1: in two epochs, batches of two are six of group 0 and three of group 1."""
    groups = [0, 1, 0, 0, 1, 0, 1, 0, 0]
    made = Shuffle(9, 5, groups)
    schedule = [groups[place] for place in np.random.default_rng((5, 0, 0x5C)).permutation(9)]
    epochs = [index for epoch in range(2) for index in np.random.default_rng((5, epoch)).permutation(9).tolist()]
    streams = {group: [index for index in epochs if groups[index] == group] for group in (0, 1)}
    expected = [[streams[group].pop(0), streams[group].pop(0)] for group in schedule]
    assert [made.batch(step, 2) for step in range(9)] == expected


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_in_as_many_epochs_as_a_batch_has_pairs_each_comes_equally_often(batch: int) -> None:
    groups = np.random.default_rng(0).integers(0, 4, 37)
    made = Shuffle(37, 1, groups)
    for cycle in range(2):
        batches = [made.batch(step, batch) for step in range(cycle * 37, (cycle + 1) * 37)]
        assert all(len(set(groups[each])) == 1 for each in batches), "a batch holds one group"
        assert Counter(index for each in batches for index in each) == dict.fromkeys(range(37), batch)


def test_any_batch_is_known_without_what_came_before() -> None:
    groups = np.arange(50) % 3
    straight = [Shuffle(50, 2, groups).batch(step, 4) for step in range(120)]
    again = pickle.loads(pickle.dumps(Shuffle(50, 2, groups)))
    assert [again.batch(step, 4) for step in (110, 3, 77)] == [straight[110], straight[3], straight[77]]


def test_one_group_is_the_plain_order() -> None:
    plain, grouped = Shuffle(10, 3), Shuffle(10, 3, [0] * 10)
    assert Counter(index for step in range(5) for index in grouped.batch(step, 2)) == dict.fromkeys(range(10), 1)
    assert [index for step in range(5) for index in plain.batch(step, 2)] == permutation(3, 0, 10).tolist()


def test_blocks_are_taken_a_few_at_a_time() -> None:
    blocks = tuple(range(1, 3 * TOGETHER + 1))
    owner = np.repeat(np.arange(len(blocks)), blocks)
    first, second = (permutation(0, epoch, len(owner), blocks) for epoch in (0, 1))
    assert sorted(first) == list(range(len(owner)))
    assert not np.array_equal(first, second)
    places = [np.flatnonzero(owner[first] == block) for block in range(len(blocks))]
    opened = [sum(one.min() <= place <= one.max() for one in places) for place in range(len(first))]
    assert max(opened) <= TOGETHER
    assert sum(int(one.max() - one.min()) > len(one) for one in places) > TOGETHER, "shuffled among each other"


def test_stand_ins_are_of_the_same_group() -> None:
    assert list(Shuffle(6, 0, [0, 1, 0, 1, 0, 1]).after(3)) == [3, 5, 1]
    assert list(Shuffle(3, 0).after(1)) == [1, 2, 0]


def test_groups_are_the_different_sizes() -> None:
    sizes, numbers = groups_of([(64, 48), (48, 64), (64, 48)])
    assert sizes == [(48, 64), (64, 48)]
    assert numbers.tolist() == [1, 0, 1]
