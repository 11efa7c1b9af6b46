"""Batches: what is encoded when, bad pairs, workers that die."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip.errors import BadSample, DynaIPError, InputError
from dynaip.notes import tell
from dynaip.training.data import BatchOrder, PairDataset, Quarantine
from dynaip.training.loader import Encoded, PairLoader


class Numbers(PairSource):
    """Pairs that are known by their number; some are bad, one has another size, one kills its process."""

    def __init__(self, size: int, bad: Sequence[int] = (), odd: int = -1, deadly: int = -1) -> None:
        self.size, self.bad, self.odd, self.deadly = size, set(bad), odd, deadly
        self.parent = os.getpid()
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Pair:
        self.read.append(index)
        if index in self.bad:
            raise BadSample(f"pair {index} is broken")
        if index == self.deadly and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        image = Image.new("RGB", (8, 16 if index == self.odd else 8))
        return Pair(f"pair-{index}", image, image, f"prompt {index}")


def encode(pairs: Sequence[Pair]) -> list[Encoded]:
    made = [torch.tensor([[float(pair.id.removeprefix("pair-"))]]) for pair in pairs]
    return [
        Encoded(pair.id, one, {"low": one[None] + 1}, {"text": one + 2}, (pair.target.height, pair.target.width))
        for pair, one in zip(pairs, made, strict=True)
    ]


def loader(source: Numbers, folder: Path, *, batch: int = 4, cache: int = 1000, **options: Any) -> PairLoader:
    quarantine = Quarantine(folder / "quarantine.jsonl", len(source), options.pop("share", 0.5))
    order = BatchOrder(batch, 0, len(source))
    return PairLoader(PairDataset(source), encode, quarantine=quarantine, order=order, cache=cache, **options)


def ids(made: PairLoader, batches: int) -> list[list[str]]:
    return [batch.ids for batch in made.batches(0, batches)]


def test_a_batch_holds_the_pairs_of_the_order(tmp_path: Path) -> None:
    made = loader(Numbers(40), tmp_path)
    for number, batch in enumerate(made.batches(0, 12)):
        expected = torch.tensor(made.order.at(number)).float().view(-1, 1, 1)
        assert torch.equal(batch.latents, expected)
        assert torch.equal(batch.features["low"], expected + 1)
        assert torch.equal(batch.text["text"], expected + 2)
        assert batch.size == (8, 8)


def test_every_pair_is_read_once_with_a_cache(tmp_path: Path) -> None:
    source = Numbers(40)
    made = loader(source, tmp_path)
    told: list[tuple[int, int]] = []
    made.fill(0, 30, on_progress=lambda done, total: told.append((done, total)))
    ids(made, 30)
    assert sorted(source.read) == list(range(40))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_only_what_is_asked_for_is_encoded(tmp_path: Path) -> None:
    source = Numbers(10_000)
    made = loader(source, tmp_path, batch=2, cache=10_000)
    made.fill(0, 3)
    assert len(source.read) <= 6 * 16


@pytest.mark.parametrize("options", [{"cache": 0}, {"cache": 39}, {"memory": 10}])
def test_without_a_cache_batches_are_the_same(tmp_path: Path, options: Any) -> None:
    cached, plain = loader(Numbers(40), tmp_path), loader(Numbers(40), tmp_path, warn=lambda line: None, **options)
    plain.fill(0, 12)
    assert not plain.caching
    for one, other in zip(cached.batches(0, 12), plain.batches(0, 12), strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.latents, other.latents)
    assert len(plain.kept) <= 4, "nothing piles up"


@pytest.mark.parametrize("cache", [0, 1000])
def test_a_bad_pair_gives_way_to_the_next_good_one(tmp_path: Path, cache: int) -> None:
    good, some = loader(Numbers(40), tmp_path, cache=cache), loader(Numbers(40, bad=(7, 8, 39)), tmp_path, cache=cache)
    some.fill(0, 10)
    instead = {"pair-7": "pair-9", "pair-8": "pair-9", "pair-39": "pair-0"}
    assert ids(some, 10) == [[instead.get(name, name) for name in batch] for batch in ids(good, 10)]
    assert some.quarantine.bad.keys() == {7, 8, 39}


def test_a_resumed_stream_with_bad_pairs_is_the_straight_one(tmp_path: Path) -> None:
    for cache in (0, 1000):
        straight = ids(loader(Numbers(40, bad=(3, 4)), tmp_path, cache=cache), 20)
        resumed = loader(Numbers(40, bad=(3, 4)), tmp_path, cache=cache)
        resumed.fill(13, 20)
        assert [batch.ids for batch in resumed.batches(13, 20)] == straight[13:]


@pytest.mark.parametrize("cache", [0, 1000])
def test_what_is_left_out_is_told(tmp_path: Path, cache: int) -> None:
    said: list[str] = []
    made = loader(Numbers(4, bad=(2,)), tmp_path, cache=cache, warn=said.append)
    made.fill(0, 2)
    ids(made, 2)
    assert said == ["1 of 4 pairs left out: pair 2: pair 2 is broken"]


@pytest.mark.parametrize("cache", [0, 1000])
@pytest.mark.parametrize(
    ("part", "words"),
    [("latents", "latents of its target"), ("features", "reference at level low"), ("text", r"prompt \(text\)")],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: int, part: str, words: str, value: float
) -> None:
    def poisoned(pairs: Sequence[Pair]) -> list[Encoded]:
        made = encode(pairs)
        for one in made:
            if one.id == "pair-2":
                found = getattr(one, part)
                next(iter(found.values())).fill_(value) if isinstance(found, dict) else found.fill_(value)
        return made

    said: list[str] = []
    made = loader(Numbers(4), tmp_path, cache=cache, warn=said.append)
    made.encode = poisoned
    made.fill(0, 8)
    batches = list(made.batches(0, 8))
    assert {name for batch in batches for name in batch.ids} == {"pair-0", "pair-1", "pair-3"}
    assert all(bool(batch.latents.isfinite().all()) for batch in batches)
    assert len(said) == 1
    assert re.match(f"1 of 4 pairs left out: pair 2: pair-2: the .*{words} are not finite", said[0])


def test_notes_of_pairs_are_told_once_and_counted(tmp_path: Path) -> None:
    class Telling(Numbers):
        def __getitem__(self, index: int) -> Pair:
            if index in (3, 20, 21):
                tell(f"pair {index} is small", kind="small")
            return super().__getitem__(index)

    said: list[str] = []
    made = loader(Telling(40), tmp_path, warn=said.append)
    made.fill(0, 10)
    made.remarks.tell()
    assert len(said) == 1
    assert re.fullmatch(r"pair (3|20|21) is small \(2 more like this\)", said[0])


def test_without_a_cache_notes_are_told_early(tmp_path: Path) -> None:
    class Telling(Numbers):
        def __getitem__(self, index: int) -> Pair:
            tell(f"pair {index} is small", kind="small")
            return super().__getitem__(index)

    said: list[str] = []
    batches = loader(Telling(4000), tmp_path, cache=0, batch=1, warn=said.append).batches(0, 1000)
    for _ in range(50):
        next(batches)
    assert said == []
    next(batches)
    assert len(said) == 1
    assert "49 more" in said[0]


def test_a_size_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    def check(name: str, size: tuple[int, int]) -> None:
        raise InputError(f"{name} is {size}")

    made = loader(Numbers(40), tmp_path, check=check)
    made.encode = lambda pairs: pytest.fail("encoded")
    with pytest.raises(InputError, match=r"the target of pair pair-\d+ is \(8, 8\)"):
        made.fill(0, 10)


def test_nothing_good_at_all(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no pair can be used: pair 0: .*broken; pair 1: .*; pair 2: pair 2 is broken"
    ):
        ids(loader(Numbers(3, bad=(0, 1, 2)), tmp_path, share=1.0), 1)
    with pytest.raises(InputError, match="there is no pair"):
        loader(Numbers(0), tmp_path)


def test_targets_have_one_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the target of pair pair-5 has 8 x 16 pixels"):
        loader(Numbers(40, odd=5), tmp_path).fill(0, 20)


@pytest.fixture
def soon_ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers that are broken off end here and now: torch would wait five seconds for each, in whichever test comes next."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    yield
    gc.collect()


@pytest.mark.usefixtures("soon_ended")
def test_a_worker_that_dies_ends_the_run_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked, since this module cannot be imported by a process of its own."""
    monkeypatch.setattr(PairLoader, "_start_method", lambda self: "fork")
    started = time.monotonic()
    with pytest.raises(DynaIPError, match=r"a process that loads pairs died .*--resume"):
        loader(Numbers(40, deadly=11), tmp_path, workers=2).fill(0, 20)
    assert time.monotonic() - started < 60


@pytest.mark.usefixtures("soon_ended")
def test_errors_of_the_source_itself_pass_through_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairLoader, "_start_method", lambda self: "fork")
    monkeypatch.setattr(Numbers, "__getitem__", lambda self, index: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loader(Numbers(40), tmp_path, workers=1).fill(0, 20)
