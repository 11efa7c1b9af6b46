"""Groups: whatever regions, repeats and scales there are, every row and token gets its own weight exactly once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynaip.adapter.slots import Slot, plan

T = 6
LEFT = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
SOFT = torch.tensor([1.0, 0.5, 0.25, 0.0, 0.0, 0.0])
RIGHT = 1 - LEFT
EVERYWHERE_SOFT = torch.full((T,), 0.5)


def weights(slot: Slot, batch: int, *, regional: bool = True) -> Tensor:
    """s_r M_r on every row and token of the pass, put together from the groups; each is met once at most."""
    total, met = torch.zeros(batch, T), torch.zeros(batch, T)
    for group in plan(slot, batch, torch.zeros(0), regional=regional):
        rows = torch.arange(batch) if group.samples is None else group.samples
        columns = torch.arange(T) if group.index is None else group.index
        members = torch.arange(len(slot.rows)) if group.members is None else group.members
        assert len(members) == len(rows) == group.scale.shape[0]
        for place, row in enumerate(rows.tolist()):
            assert slot.rows[int(members[place])] == row // slot.repeats
            total[row, columns] += group.scale[place, :, 0]
            met[row, columns] += 1
    assert met.max() <= 1
    return total


@pytest.mark.parametrize("repeats", [1, 3])
def test_rows_tokens_and_weights_by_a_plain_loop(repeats: int) -> None:
    regions = [None, LEFT, SOFT, RIGHT, EVERYWHERE_SOFT]
    rows, scales = [0, 2, 3, 4, 6], torch.tensor([1.0, 0.5, 2.0, 0.25, 1.5])
    batch = 7 * repeats
    slot = Slot(rows, torch.zeros(5, 2, 4), scales, regions, repeats)
    expected = torch.zeros(batch, T)
    for row, scale, region in zip(rows, scales, regions, strict=True):
        for image in range(repeats):
            expected[row * repeats + image] = scale * (torch.ones(T) if region is None else region)
    torch.testing.assert_close(weights(slot, batch), expected)


def test_without_regions_every_token_is_reached() -> None:
    slot = Slot([0, 1], torch.zeros(2, 2, 4), torch.tensor([1.0, 0.5]), [LEFT, None])
    assert weights(slot, 2, regional=False).tolist() == [[1.0] * T, [0.5] * T]


def test_rows_with_one_set_of_tokens_share_one_call() -> None:
    slot = Slot([0, 1, 2, 3], torch.zeros(4, 2, 4), torch.ones(4), [LEFT, SOFT, RIGHT, None])
    groups = plan(slot, 4, torch.zeros(0), regional=True)
    assert [None if group.samples is None else group.samples.tolist() for group in groups] == [[0, 1], [2], [3]]


def test_the_plain_case_indexes_nothing() -> None:
    (group,) = plan(Slot([0, 1], torch.zeros(2, 2, 4), torch.ones(2), [None, None]), 2, torch.zeros(0), regional=True)
    assert group.members is group.samples is group.index is None
