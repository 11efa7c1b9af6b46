"""The order of pairs, workers' data sets, and the quarantine."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, InputError
from dynaip.notes import tell
from dynaip.training.data import Bad, BatchOrder, PairDataset, Quarantine, indices_at


def test_every_epoch_holds_every_pair_once_in_an_order_of_its_own() -> None:
    stream = [index for step in range(25) for index in indices_at(step, batch=4, size=20, seed=3)]
    epochs = [stream[start : start + 20] for start in range(0, 100, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_batches_run_across_the_end_of_an_epoch() -> None:
    stream = [index for step in range(6) for index in indices_at(step, batch=4, size=6, seed=0)]
    assert Counter(stream) == dict.fromkeys(range(6), 4)


def test_the_order_is_known_without_what_came_before() -> None:
    straight = [indices_at(step, batch=8, size=100, seed=1) for step in range(50)]
    assert indices_at(37, batch=8, size=100, seed=1) == straight[37]
    assert indices_at(37, batch=8, size=100, seed=2) != straight[37]


def test_a_batch_larger_than_the_set() -> None:
    assert Counter(indices_at(0, batch=9, size=3, seed=0)) == {0: 3, 1: 3, 2: 3}


def test_processes_share_one_stream() -> None:
    one = [BatchOrder(4, 0, 64).at(number) for number in range(8)]
    two = [BatchOrder(4, 0, 64, rank=rank, world=2).at(number) for number in range(4) for rank in range(2)]
    assert one == two


class Broken(PairSource):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Pair:
        if index == 1:
            raise BadSample("truncated")
        if index == 2:
            raise ZeroDivisionError("a bug of the source, not of a sample")
        return Pair("a", Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8)), "p")


def test_bad_samples_come_back_and_bugs_do_not() -> None:
    dataset = PairDataset(Broken())
    assert isinstance(dataset[0], Pair)
    assert dataset[1] == Bad(1, "truncated")
    with pytest.raises(ZeroDivisionError):
        dataset[2]


def test_what_is_told_of_a_pair_comes_with_it() -> None:
    """Pairs are read in other processes, whose warnings nobody sees."""

    class Telling(Broken):
        def __getitem__(self, index: int) -> Pair:
            tell("it is small", kind="small")
            tell("it is odd")
            return super().__getitem__(index)

    pair = pickle.loads(pickle.dumps(PairDataset(Telling())[0]))
    assert pair.notes == (("small", "it is small"), ("", "it is odd"))
    assert PairDataset(Broken())[0].notes == ()


def test_a_source_of_a_plugin_file_reaches_workers(experiment: Any) -> None:
    from dynaip.registry import registry

    spec = experiment().source
    dataset = PairDataset(registry().build(spec), spec)
    again = pickle.loads(pickle.dumps(dataset))
    assert len(again) == len(dataset)
    assert again[3].prompt == dataset[3].prompt
    assert again[3].target.tobytes() == dataset[3].target.tobytes()


def test_quarantine_writes_down_and_stops_above_the_share(tmp_path: Path) -> None:
    file = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(file, 300, 0.01)
    for index in (4, 8, 15, 8):
        quarantine.add(Bad(index, f"reason {index}"))
    assert quarantine.told() == "3 of 300 pairs left out: pair 4: reason 4; pair 8: reason 8; pair 15: reason 15"
    with pytest.raises(InputError, match=r"4 of 300 pairs cannot be used.*0\.01.*4: reason 4; pair 8: .*16: reason 16"):
        quarantine.add(Bad(16, "reason 16"))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"index": index, "reason": f"reason {index}"} for index in (4, 8, 15, 16)
    ]


def test_a_share_of_zero_bears_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 300"):
        Quarantine(tmp_path / "q", 300, 0).add(Bad(0, "bad"))


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q", 1100, 0.01)
    for index in range(11):
        quarantine.add(Bad(index, "r"))
    with pytest.raises(InputError, match=r"9: r; and 2 more$"):
        quarantine.add(Bad(11, "r"))
