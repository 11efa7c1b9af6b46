"""A shard: the encodings of one block of pairs in one safetensors file, with a checksum a pair.

A value is a tensor, or a mapping, list or tuple of values, or plain data; its tensors lie in the file, and the header says
how they belong together.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynaip.atomic import replacing
from dynaip.errors import DynaIPError

TENSOR, TUPLE = "$tensor", "$tuple"


class Damaged(DynaIPError):
    """A shard that is not there, cut off, or not what was written."""


def write(file: Path, rows: Mapping[int, Any], details: Mapping[str, Any]) -> None:
    """Write the values of a block (number of the pair -> value) and ``details`` of it: complete or not at all.

    Several processes may write the same shard: each has a file of its own until it is whole.
    """
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {}
    for number, value in rows.items():
        own: list[Tensor] = []
        shape = _taken_apart(value, own)
        tensors |= {f"{number}/{place}": tensor for place, tensor in enumerate(own)}
        header[str(number)] = {"value": shape, "sum": checksum(own)}
    with replacing(file) as part:
        save_file(tensors, part, metadata={"rows": json.dumps(header), "details": json.dumps(dict(details))})


def read(file: Path, number: int) -> Any:
    """Read the value of one pair, checked; ``KeyError`` if the shard has none for it, ``Damaged`` if it cannot be trusted."""
    with _opened(file) as shard:
        return _row(file, shard, _header(file, shard)[str(number)], number)


def read_all(file: Path) -> dict[int, Any]:
    """Read and check every value of a shard."""
    with _opened(file) as shard:
        header = _header(file, shard)
        return {int(number): _row(file, shard, row, int(number)) for number, row in header.items()}


def head(file: Path) -> tuple[set[int], dict[str, Any]]:
    """Numbers of the pairs that a shard holds, and its details; no tensor is read. ``Damaged`` if there is no such shard."""
    with _opened(file) as shard:
        return {int(number) for number in _header(file, shard)}, _json(file, shard, "details")


def checksum(tensors: list[Tensor]) -> int:
    """CRC-32 over the bytes of tensors: made against accidents, and four times as fast as a cryptographic one."""
    found = 0
    for tensor in tensors:
        found = zlib.crc32(_bytes(tensor), found)
    return found


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError, ValueError) as error:
        raise Damaged(f"{file}: {error}") from error


def _header(file: Path, shard: Any) -> dict[str, Any]:
    return _json(file, shard, "rows")


def _json(file: Path, shard: Any, name: str) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(shard.metadata()[name]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{file}: its header holds no {name}") from error


def _row(file: Path, shard: Any, row: Any, number: int) -> Any:
    try:
        tensors: list[Tensor] = []

        def tensor(place: int) -> Tensor:
            tensors.append(shard.get_tensor(f"{number}/{place}"))
            return tensors[-1]

        value = _put_together(row["value"], tensor)
        if checksum(tensors) != row["sum"]:
            raise Damaged(f"{file}: pair {number} does not match its checksum")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{file}: pair {number} cannot be read ({error})") from error
    return value


def _taken_apart(value: Any, tensors: list[Tensor]) -> Any:
    """The shape of a value as JSON; its tensors, in order of their places in it, go to ``tensors``."""
    if isinstance(value, Tensor):
        tensors.append(value.detach().cpu().contiguous())
        return {TENSOR: len(tensors) - 1}
    if isinstance(value, Mapping):
        return {str(key): _taken_apart(each, tensors) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple):
        return {TUPLE: [_taken_apart(each, tensors) for each in cast("tuple[Any, ...]", value)]}
    if isinstance(value, list):
        return [_taken_apart(each, tensors) for each in cast("list[Any]", value)]
    return value


def _put_together(shape: Any, tensor: Any) -> Any:
    if isinstance(shape, list):
        return [_put_together(each, tensor) for each in cast("list[Any]", shape)]
    if not isinstance(shape, dict):
        return shape
    found = cast("dict[str, Any]", shape)
    if TENSOR in found:
        return tensor(found[TENSOR])
    if TUPLE in found:
        return tuple(_put_together(each, tensor) for each in found[TUPLE])
    return {key: _put_together(each, tensor) for key, each in found.items()}
