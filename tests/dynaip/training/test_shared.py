"""Trainings that share encodings: the same batches and weights as alone, each pair encoded once, and room is left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dynaip.encodings.store import EncodingStore
from dynaip.training import encoding, setup, shared
from dynaip.training.data import BatchOrder, PairDataset, Quarantine
from dynaip.training.loader import PairLoader
from dynaip.training.shared import SharedLoader, sharing
from dynaip.training.stored import block_digests
from tests.dynaip.training.test_stored import SIZE, Encoder, Numbers, batches, same


@pytest.fixture
def loader(tmp_path: Path) -> Callable[..., Any]:
    """Make a loader; shared ones lie in one folder."""

    def make(source: Numbers, encode: Any, kind: Any = SharedLoader, **changes: Any) -> Any:
        store = EncodingStore(tmp_path / "encodings", {part: {"part": part} for part in ("latents", "levels", "text")},
                              block_digests({"all": {"prompt": "x"}}, SIZE))  # fmt: skip
        quarantine = Quarantine(tmp_path / f"{id(encode)}.jsonl", SIZE, 0.5)
        options = {"cache": 1000, "order": BatchOrder(4, 0, SIZE)} | ({"store": store} if kind is SharedLoader else {})
        return kind(PairDataset(source), encode, quarantine=quarantine, **options | changes)

    return make


def test_what_one_has_made_the_next_reads(loader: Any) -> None:
    """Batches, quarantine and what is said are those of a loader that shares nothing."""
    bad, said = (3, 17), {name: list[str]() for name in ("alone", "first", "second")}
    alone = loader(Numbers(bad), Encoder(), PairLoader, warn=said["alone"].append)
    expected = batches(alone)
    encoders = {name: Encoder() for name in ("first", "second")}
    for name, encode in encoders.items():
        source = Numbers(bad)
        made = loader(source, encode, warn=said[name].append)
        assert same(batches(made), expected)
        assert made.complete and made.kept.keys() == alone.kept.keys()
        assert made.quarantine.bad == alone.quarantine.bad
        assert said[name] == said["alone"]
    assert sum(count for count, _ in encoders["first"].asked) == SIZE - len(bad)
    assert encoders["second"].asked == []
    assert sorted(set(source.read)) == sorted(bad), "pictures of pairs that are encoded are not opened"


def test_those_that_run_at_the_same_time_have_the_same_batches(loader: Any) -> None:
    expected = batches(loader(Numbers(), Encoder(), PairLoader, warn=lambda line: None))
    encoders = [Encoder() for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        found = [*pool.map(lambda encode: batches(loader(Numbers(), encode, warn=lambda line: None)), encoders)]
    assert all(same(each, expected) for each in found)


@pytest.mark.parametrize("short_of", ["disk", "memory"])
def test_without_room_each_makes_its_own(loader: Any, short_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batches(loader(Numbers(), Encoder(), PairLoader, warn=lambda line: None))
    if short_of == "disk":
        monkeypatch.setattr(shared, "shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1)))
    said: list[str] = []
    made = loader(Numbers(), Encoder(), warn=said.append, **({"memory": 1} if short_of == "memory" else {}))
    assert same(batches(made), expected)
    assert made.complete == (short_of == "disk")
    assert any("of memory" in line for line in said) == (short_of == "memory")
    assert not made.store.missing(made.order.at(0)[0] // 16) or len([*made.store.folder.rglob("*.safetensors")]) <= 3


def test_damaged_shards_are_made_again(loader: Any) -> None:
    expected = batches(loader(Numbers(), Encoder(), PairLoader, warn=lambda line: None))
    batches(loader(Numbers(), Encoder(), warn=lambda line: None))
    encode = Encoder()
    made = loader(Numbers(), encode, warn=lambda line: None)
    file = made.store.file("text", 1)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert same(batches(made), expected)
    assert encode.asked


def test_trainings_share_and_end_as_they_would_alone(
    train: Callable[..., Path],
    same_weights: Callable[[Path, Path], bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[int] = []
    real = encoding.encode
    monkeypatch.setattr(setup, "encode", lambda pairs, **more: encoded.append(len(pairs)) or real(pairs, **more))
    alone = train(tmp_path / "alone", training={"steps": 2})
    count = sum(encoded)
    with sharing(tmp_path / "encodings"):
        first = train(tmp_path / "first", training={"steps": 2})
        assert sum(encoded) == 2 * count
        second = train(tmp_path / "second", training={"steps": 2})
        assert sum(encoded) == 2 * count
        other = train(tmp_path / "other", training={"steps": 2, "seed": 1})
    assert same_weights(alone, first) and same_weights(alone, second)
    assert not same_weights(alone, other)
    assert [*(tmp_path / "encodings").iterdir()]
