"""Slots: the references of a batch, sorted so that as few attention calls as possible serve all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaip.device import rows_of, to_device


@dataclass
class Slot:
    """The k-th reference of every sample that has one: their tokens, scales and regions, row by row.

    ``rows`` are places in the list of samples, each of which stands for ``repeats`` consecutive rows of the pass;
    ``regions`` are M_r on the pass's grid, None for 1 everywhere.
    """

    rows: list[int]
    tokens: Tensor
    """P x M x D, one row for each of ``rows``."""
    scales: Tensor
    """s_r, P."""
    regions: list[Tensor | None]
    repeats: int = 1
    number: int = 0
    """k: the reference's place in its sample's list."""


def training_slots(
    tokens: Tensor, keep: Tensor, rows: Sequence[int], regions: Sequence[Tensor | None] | None, repeats: int
) -> list[Slot]:
    """Slots of references given one after another: ``tokens`` (P x M x D), the sample of each, its region.

    ``keep`` (B) says which samples see theirs.
    """
    numbers = [list(rows[:place]).count(row) for place, row in enumerate(rows)]
    where = [None] * len(rows) if regions is None else list(regions)
    slots: list[Slot] = []
    for number in range(max(numbers, default=-1) + 1):
        places = [place for place, each in enumerate(numbers) if each == number]
        owners = [rows[place] for place in places]
        scales = rows_of(keep.to(tokens), owners)
        slots.append(Slot(owners, rows_of(tokens, places), scales, [where[place] for place in places], repeats, number))
    return slots


@dataclass(frozen=True)
class Group:
    """Rows of a slot that look from the same image tokens: one attention call serves them."""

    members: Tensor | None
    """Positions within the slot, one for each row of the pass; None if each position is one row, in order."""
    samples: Tensor | None
    """Rows of the pass (b); None for all of them."""
    index: Tensor | None
    """Image tokens that the region holds (t); None for all of them."""
    scale: Tensor
    """s_r M_r, b x t x 1 or b x 1 x 1, in the type of the pass."""
    level: float | None = None
    """``scale`` as one number, where it is one that the host knows."""


@dataclass(frozen=True)
class Gathered:
    """Groups of all references that look from parts of the image, so many tokens each: one attention call serves them.

    No token is met by two of them, so that what they add can be written without adding up.
    """

    groups: list[tuple[int, Group]]
    """(place of the slot, group); their rows follow each other."""
    index: Tensor
    """Places among the B * T tokens of the pass, G x t; shorter rows repeat their last token, which gives it the same term."""
    scale: Tensor
    """s_r M_r, G x t x 1."""
    level: float | None
    """``scale`` as one number, where it is one."""
    counts: list[int]
    """Tokens of each group without repetition."""


PADDING = 1.25
"""A row is padded to this many times its own tokens at most."""


def plan(slot: Slot, batch: int, like: Tensor, *, regional: bool) -> list[Group]:
    """Sort a slot's rows by the tokens that their regions hold, so that attention runs for these queries alone.

    What a pass needs of them lies on the device of ``like``, weights in its type. ``regional`` False leaves the regions out:
    text tokens have no place on the grid.
    """
    regions = slot.regions if regional else [None] * len(slot.rows)
    sets: dict[bytes | None, list[int]] = {}
    for position, region in enumerate(regions):
        sets.setdefault(_tokens_held(region), []).append(position)
    return [_group(slot, positions, regions, batch, like) for positions in sets.values()]


def _tokens_held(region: Tensor | None) -> bytes | None:
    """The set of tokens inside a region in a form that can be compared; None for all of them."""
    if region is None or bool((region > 0).all()):
        return None
    return (region > 0).numpy().tobytes()


def _group(slot: Slot, positions: list[int], regions: Sequence[Tensor | None], batch: int, like: Tensor) -> Group:
    device = like.device
    first = regions[positions[0]]
    index = None if first is None or bool((first > 0).all()) else (first > 0).nonzero().flatten()
    members = torch.tensor(positions).repeat_interleave(slot.repeats)
    starts = torch.tensor([slot.rows[position] for position in positions]) * slot.repeats
    samples = (starts[:, None] + torch.arange(slot.repeats)).flatten()
    scale = _scale(slot, positions, [regions[position] for position in positions], index)
    in_order = torch.equal(members, torch.arange(len(slot.rows)))
    everyone = torch.equal(samples, torch.arange(batch))
    return Group(
        None if in_order else to_device(members, device),
        None if everyone else to_device(samples, device),
        None if index is None else to_device(index, device),
        to_device(scale, device).to(like.dtype),
        _one_number(scale),
    )


def _one_number(scale: Tensor) -> float | None:
    """The value of a scale that is the same everywhere; None if it is not, or if only the device knows."""
    if scale.device.type != "cpu":
        return None
    first = scale.flatten()[0]
    return float(first) if bool((scale == first).all()) else None


def gather(groups: Sequence[Sequence[Group]], batch: int, tokens: int) -> list[Gathered]:
    """Bring the groups of all slots that look from a part of ``tokens`` image tokens into few calls.

    Groups in one call have about as many tokens each (``PADDING``) and share none.
    """
    regional = [(place, group) for place, found in enumerate(groups) for group in found if group.index is not None]
    calls: list[tuple[list[tuple[int, Group]], list[Tensor]]] = []
    for place, group in sorted(regional, key=lambda each: -len(_index(each[1]))):
        rows = torch.arange(batch) if group.samples is None else group.samples.cpu()
        flat = rows[:, None] * tokens + _index(group).cpu()
        fitting = (call for call in calls if _fits(flat, call[1]))
        members, flats = next(fitting, None) or calls.append(([], [])) or calls[-1]
        members.append((place, group))
        flats.append(flat)
    return [_gathered(*call) for call in calls]


def _index(group: Group) -> Tensor:
    assert group.index is not None
    return group.index


def _fits(flat: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether a group is long enough for a call and shares no token with it."""
    held = torch.cat([each.flatten() for each in others])
    return others[0].shape[1] <= PADDING * flat.shape[1] and not bool(torch.isin(flat, held).any())


def _gathered(groups: list[tuple[int, Group]], flats: list[Tensor]) -> Gathered:
    longest, device = flats[0].shape[1], _index(groups[0][1]).device
    counts = [flat.shape[1] for flat in flats]
    fill = [torch.arange(longest).clamp(max=count - 1) for count in counts]
    index = torch.cat([flat[:, places] for flat, places in zip(flats, fill, strict=True)])
    scales = [
        group.scale.expand(-1, count, 1)[:, places.to(group.scale.device)]
        for (_, group), count, places in zip(groups, counts, fill, strict=True)
    ]
    levels = {group.level for _, group in groups}
    return Gathered(groups, index.to(device), torch.cat(scales), levels.pop() if len(levels) == 1 else None, counts)


def _scale(slot: Slot, positions: list[int], regions: Sequence[Tensor | None], index: Tensor | None) -> Tensor:
    """s_r M_r of some rows at the tokens ``index``, every row as often as it stands for rows of the pass."""
    scales = rows_of(slot.scales, positions)[:, None, None].float()
    given = [region for region in regions if region is not None]
    if given:
        rows = [torch.ones_like(given[0]) if region is None else region for region in regions]
        weights = torch.stack(rows if index is None else [row[index] for row in rows])
        scales = scales * to_device(weights[..., None], scales.device)
    return scales.repeat_interleave(slot.repeats, dim=0)


def looking(query: Tensor, group: Group) -> Tensor:
    """The queries of a group (b x H x t x d/H) out of all (B x H x T x d/H)."""
    rows = query if group.samples is None else query[group.samples.to(query.device)]
    return rows if group.index is None else rows[:, :, group.index.to(query.device)]


def spread(part: Tensor, group: Group) -> Tensor:
    """Keys or values of a group's rows (b x H x M x d/H) out of the slot's (P x H x M x d/H)."""
    return part if group.members is None else part[group.members.to(part.device)]
