"""Shared by metrics: what a frozen model made of references and prompts, kept while other pictures of their cases are scored."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

MOST = 256
"""Batches that are kept, those asked for last."""


class Kept:
    """Tensors by the batch that they were made of: the same batch again is the same to the bit, and is not computed again."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.made: OrderedDict[str, Tensor] = OrderedDict()

    def of(self, batch: Sequence[Image.Image | str], make: Callable[[Sequence[Any]], Tensor]) -> Tensor:
        """What ``make`` gives for a batch of pictures or texts; nobody may write into it."""
        key = digest(batch)
        if key not in self.made:
            self.made[key] = make(batch)
        self.made.move_to_end(key)
        while len(self.made) > self.most:
            self.made.popitem(last=False)
        return self.made[key]

    def forget(self) -> None:
        """Keep nothing: the model has moved, and another device rounds in another way."""
        self.made.clear()


def in_batches(
    given: Sequence[Any], size: int, make: Callable[[Sequence[Any]], Tensor], kept: Kept | None
) -> list[Tensor]:
    """What ``make`` gives for so many at a time; batches that are ``kept`` are not computed again."""
    batches = [given[start : start + size] for start in range(0, len(given), size)]
    return [make(batch) if kept is None else kept.of(batch, make) for batch in batches]


def digest(batch: Sequence[Image.Image | str]) -> str:
    """SHA-256 of pictures (mode, size, pixels) and texts."""
    found = hashlib.sha256()
    for each in batch:
        about = ("text", len(each)) if isinstance(each, str) else (each.mode, each.size)
        found.update(repr(about).encode())
        found.update(each.encode() if isinstance(each, str) else each.tobytes())
    return found.hexdigest()
