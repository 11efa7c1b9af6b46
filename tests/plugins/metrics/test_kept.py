"""Embeddings of references and prompts that are kept: the same numbers, computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from dynaip_plugins.metrics.kept import Kept, digest


def test_a_batch_is_made_once_and_the_oldest_leaves() -> None:
    made: list[Any] = []

    def make(batch: Sequence[Any]) -> torch.Tensor:
        made.append(batch)
        return torch.full((len(batch),), float(len(made)))

    kept = Kept(most=2)
    assert [float(kept.of([name], make)[0]) for name in ("a", "b", "a", "c", "a", "b")] == [1, 2, 1, 3, 1, 4]
    kept.forget()
    assert float(kept.of(["a"], make)[0]) == 5


def test_only_the_same_pictures_in_the_same_order_are_the_same_batch() -> None:
    red, blue = (Image.new("RGB", (4, 2), tone) for tone in ("red", "blue"))
    batches: list[list[Any]] = [
        [red, blue], [blue, red], [red], [red.resize((2, 4))], [red.convert("RGBA")], ["ab", "c"], ["a", "bc"],
    ]  # fmt: skip
    assert len({digest(batch) for batch in batches}) == len(batches)
    assert digest([red.copy(), blue.copy()]) == digest([red, blue])
