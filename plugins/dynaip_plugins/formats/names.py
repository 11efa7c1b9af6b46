"""Names of tensors: ours against somebody else's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from dynaip.errors import InputError

FLUX_DEV: Mapping[str, object] = {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True}
"""FLUX.1-dev's transformer: everything else is the class's default."""
PARTS = ("weight", "bias")


def ours(branch: str, place: int, part: str) -> str:
    """Name of a part (``to_k.weight``, …) of the pair K, V of a chosen block."""
    return f"attention.branches.{branch}.{place}.{part}"


def table(
    blocks: int, pairs: Mapping[str, str], projection: str, *, layers: Sequence[str], pieces: Sequence[str] = PARTS
) -> dict[str, str]:
    """Our name -> somebody else's, of K and V (``pieces`` of each) and of the projection's ``layers``.

    ``pairs`` maps ``to_k`` and ``to_v`` to the name of a layer of block {}, ``projection`` begins the projection's names.
    """
    names = {
        ours("image", number, f"{part}.{piece}"): f"{theirs.format(number)}.{piece}"
        for number in range(blocks)
        for part, theirs in pairs.items()
        for piece in pieces
    }
    return names | {f"fusion.{layer}.{piece}": f"{projection}.{layer}.{piece}" for layer in layers for piece in PARTS}


def blocks_of(tensors: Iterable[str], pattern: str, what: str) -> int:
    """How many blocks a file holds, numbered from 0; ``pattern`` names one tensor of block {}."""
    names = set(tensors)
    count = 0
    while pattern.format(count) in names:
        count += 1
    if not count:
        raise InputError(f"this is no {what} file: it has no {pattern.format(0)}")
    return count


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> dict[str, Tensor]:
    """Tensors under our names; ``names`` maps ours to theirs. Raises ``InputError`` if one is missing or left over."""
    for theirs in names.values():
        if theirs not in tensors:
            raise InputError(f"this is no complete {what} file: it has no {theirs}")
    left = sorted(set(tensors) - set(names.values()))
    if left:
        raise InputError(f"this is no {what} file: nothing is known of {left[0]}")
    return {mine: tensors[theirs] for mine, theirs in names.items()}


def projected_tokens(rows: int, width: int, what: str) -> int:
    """M: how many tokens of ``width`` a projection of so many rows makes."""
    if rows % width:
        raise InputError(f"this is no {what} file: its projection has {rows} rows, no multiple of {width}")
    return rows // width
