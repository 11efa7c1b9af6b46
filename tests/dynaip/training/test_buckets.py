"""What is said of buckets before training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynaip.contracts import Pair, PairSource
from dynaip.runs import Run
from dynaip.training.buckets import Bucket, buckets_of, note_buckets


class Shaped(PairSource):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Pair:
        raise AssertionError("nothing is read")

    def sizes(self) -> list[tuple[int, int]]:
        return [(64, 64), (64, 64), (32, 64), (64, 64)]

    def picture_sizes(self) -> list[tuple[int, int]]:
        return [(64, 64), (128, 64), (32, 60), (0, 0)]


def test_counts_and_losses_by_hand(tmp_path: Path) -> None:
    first, second = buckets_of(Shaped())
    assert first == Bucket(64, 64, 3, pytest.approx(0.25), 1)
    assert second == Bucket(32, 64, 1, pytest.approx(1 - 60 / 64), 0)
    assert first.line() == "64 x 64: 3 pairs, 25.0% cropped on average, 1 of them over 20%"
    said: list[str] = []
    note_buckets(Run(tmp_path), Shaped(), said.append)
    assert said == ["buckets: 64 x 64 (3 pairs); 32 x 64 (1 pairs)"]
    assert [each["pairs"] for each in json.loads((tmp_path / "buckets.json").read_text())] == [3, 1]
