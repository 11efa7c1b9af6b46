"""Encodings on disk: the same batches as from memory, whatever was there, is damaged, or is bad."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip.encodings.folder import collections, damaged
from dynaip.encodings.store import EncodingStore
from dynaip.errors import BadSample, InputError
from dynaip.training.data import BatchOrder, PairDataset, Quarantine
from dynaip.training.loader import BLOCK, Encoded, PairLoader
from dynaip.training.processes import Share
from dynaip.training.stored import StoredLoader, block_digests

SIZE = 40


class Numbers(PairSource):
    """Pairs that are known by their number; some are bad."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad, self.read = set(bad), list[int]()

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Pair:
        self.read.append(index)
        if index in self.bad:
            raise BadSample(f"pair {index} is broken")
        image = Image.new("RGB", (8, 8))
        return Pair(f"pair-{index}", image, image, f"prompt {index}", notes=(("crop", f"{index} is cropped"),))


class Encoder:
    """Encodes pairs as their numbers and remembers which parts it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, pairs: Sequence[Pair], parts: Sequence[str] = ("latents", "levels", "text")) -> list[Encoded]:
        self.asked.append((len(pairs), tuple(parts)))
        made = [torch.tensor([[float(pair.id.removeprefix("pair-"))]]) for pair in pairs]
        return [
            Encoded(
                pair.id,
                one if "latents" in parts else torch.empty(0),
                {"low": (one + 1)[None]} if "levels" in parts else {},
                {"text": one + 2} if "text" in parts else {},
                (8, 8),
            )
            for pair, one in zip(pairs, made, strict=True)
        ]


@pytest.fixture
def loader(tmp_path: Path) -> Callable[..., Any]:
    """Make a loader on one folder of encodings; ``depends`` changes what a part depends on."""

    def make(source: Numbers, encode: Any, *, kind: Any = StoredLoader, **changes: Any) -> Any:
        depends = {part: {"part": part, "model": changes.pop(part, "one")} for part in ("latents", "levels", "text")}
        options: dict[str, Any] = {"cache": 1000}
        if kind is StoredLoader:
            blocks = block_digests({"all": {"prompt": "x"}}, SIZE)
            options = {"store": EncodingStore(tmp_path / "encodings", depends, blocks)}
        quarantine = Quarantine(tmp_path / "quarantine.jsonl", SIZE, 0.5)
        return kind(
            PairDataset(source), encode, quarantine=quarantine, order=BatchOrder(4, 0, SIZE), **options | changes
        )

    return make


def batches(made: PairLoader) -> list[Any]:
    made.fill(0, 25)
    return list(made.batches(0, 25))


def same(one: list[Any], other: list[Any]) -> bool:
    return [batch.ids for batch in one] == [batch.ids for batch in other] and all(
        torch.equal(a.latents, b.latents)
        and torch.equal(a.features["low"], b.features["low"])
        and torch.equal(a.text["text"], b.text["text"])
        and a.size == b.size
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_memory_and_are_made_once(loader: Any, workers: int) -> None:
    bad = (3, 17)
    expected = batches(loader(Numbers(bad), Encoder(), kind=PairLoader, warn=lambda line: None))
    first, said = Encoder(), list[str]()
    assert same(batches(loader(Numbers(bad), first, warn=said.append)), expected)
    assert sum(count for count, _ in first.asked) == SIZE - len(bad)

    again, source, repeated = Encoder(), Numbers(bad), list[str]()
    made = loader(source, again, warn=repeated.append, workers=workers)
    assert same(batches(made), expected)
    assert again.asked == []
    assert sorted(source.read) == sorted(bad), "pictures of pairs that are encoded are not opened"
    assert repeated == said, "what is left out or cropped is said, whoever encoded it"
    assert made.quarantine.bad.keys() == set(bad)


def test_another_encoder_shares_what_does_not_depend_on_it(loader: Any) -> None:
    batches(loader(Numbers(), Encoder(), warn=lambda line: None))
    other = Encoder()
    made = batches(loader(Numbers(), other, levels="two", warn=lambda line: None))
    assert {parts for _, parts in other.asked} == {("levels",)}
    assert torch.equal(made[0].features["low"], made[0].latents + 1)


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_damage_under_a_training_is_mended(loader: Any, harm: str) -> None:
    expected = batches(loader(Numbers(), Encoder(), kind=PairLoader, warn=lambda line: None))
    encode, said = Encoder(), list[str]()
    made = loader(Numbers(), encode, warn=said.append)
    made.fill(0, 25)
    file = made.store.file("text", 1)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(data if harm == "flip" else data[:-9])
    assert same(list(made.batches(0, 25)), expected)
    assert encode.asked[-1] == (BLOCK, ("latents", "levels", "text"))
    assert len(encode.asked) == 4, "one block is made again, once"
    made.remarks.tell()
    assert any("made again" in line for line in said)


def test_a_pair_that_was_mended_is_used(loader: Any) -> None:
    batches(loader(Numbers([5]), Encoder(), warn=lambda line: None))
    again = Encoder()
    made = loader(Numbers(), again, warn=lambda line: None)
    assert {"pair-5"} <= {name for batch in batches(made) for name in batch.ids}
    assert again.asked == [(BLOCK, ("latents", "levels", "text"))]


def test_a_limit_that_does_not_hold_is_refused_after_one_block(loader: Any) -> None:
    encode = Encoder()
    with pytest.raises(InputError, match=r"training\.cache_limit: encodings take .* more than .*: raise it"):
        batches(loader(Numbers(), encode, limit=100.0, warn=lambda line: None))
    assert len(encode.asked) == 1


def test_what_the_source_says_of_a_block_names_it() -> None:
    known = {f"row {index}": {"prompt": str(index)} for index in range(40)}
    before = block_digests(known, 40)
    after = block_digests(known | {"row 20": {"prompt": "other"}, "row 40": {"prompt": "40"}}, 41)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False]
    assert len(set(block_digests({"probe": {"prompt": "a"}}, 40))) == 1


def test_processes_share_what_is_missing_and_none_waits_for_one_that_is_gone(
    loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each makes every second block, waits for the rest while it comes, and makes it where it does not."""
    expected = batches(loader(Numbers(), Encoder(), kind=PairLoader, warn=lambda line: None))
    encoders = [Encoder(), Encoder()]
    first, second = (
        loader(Numbers(), each, share=Share(place, 2), warn=lambda line: None) for place, each in enumerate(encoders)
    )
    monkeypatch.setattr("dynaip.training.stored.LOOK", 0.01)
    with ThreadPoolExecutor() as pool:
        working = pool.submit(first.fill, 0, 25)
        second.fill(0, 25)
        working.result()
    assert [sum(count for count, _ in each.asked) for each in encoders] in ([24, 16], [32, 8]), "no pair twice"
    assert same(list(first.batches(0, 25)), expected)

    monkeypatch.setattr("dynaip.training.stored.PATIENCE", 0.05)
    alone = Encoder()
    made = loader(Numbers(), alone, levels="two", share=Share(0, 2), warn=lambda line: None)
    made.fill(0, 25)
    assert sum(count for count, _ in alone.asked) == SIZE, "the other's share, too"


# -- trainings --------------------------------------------------------------------------------------------------------


def test_a_training_from_disk_is_the_one_from_memory(
    train: Any, undisturbed: Path, same_weights: Any, lines: Any, tmp_path: Path
) -> None:
    disk = {"cache": "disk", "cache_folder": str(tmp_path / "encodings")}
    memory = undisturbed
    cold, warm = train(tmp_path / "cold", training=disk), train(tmp_path / "warm", training=disk | {"workers": 1})
    assert same_weights(memory, cold)
    assert same_weights(memory, warm)
    assert lines(cold / "samples.jsonl") == lines(memory / "samples.jsonl")
    places = {path.name.partition("-")[0] for path in (tmp_path / "encodings").iterdir()}
    assert places == {"latents", "levels", "text"}
    # Another fusion shares all of it, other levels share the rest.
    train(tmp_path / "arm", training=disk, fusion="concat")
    assert len(list((tmp_path / "encodings").iterdir())) == 3
    train(tmp_path / "int8", training=disk | {"cache_levels": "int8"})
    assert len(list((tmp_path / "encodings").iterdir())) == 4
    in_memory = train(tmp_path / "int8-memory", training={"cache_levels": "int8"})
    assert same_weights(in_memory, tmp_path / "int8"), "the place changes nothing"
    assert not same_weights(in_memory, memory)


ENCODE = """
import torch, time
torch.set_num_threads(1)
from dynaip.config import load_experiment
from dynaip.training import prepare, stored
real = stored.StoredLoader._make
def slow(self, *given, **named):
    print("block", flush=True)
    time.sleep(0.02)
    return real(self, *given, **named)
stored.StoredLoader._make = slow
made = prepare.encode_pairs(load_experiment(config))
print("done", made.made, flush=True)
"""


@pytest.mark.slow
def test_encoding_killed_at_any_moment_goes_on_and_two_at_once_agree(
    train: Any, same_weights: Any, script: Any, experiment: Any, tmp_path: Path
) -> None:
    """Killed over and over at random moments, then finished by two processes: whole, and the training is the straight one's."""
    source, place = {"use": "microworld", "size": 160, "pixels": 64}, tmp_path / "encodings"
    training = {"cache": "disk", "cache_folder": str(place)}
    file = tmp_path / "tiny.yaml"
    settings = {"steps": 6, "batch_size": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "log_every": 1}
    file.write_text(experiment(source=source, training=settings | training).to_yaml())
    chance = random.Random(os.environ.get("DYNAIP_TEST_SEED", "7"))
    for _ in range(int(os.environ.get("DYNAIP_TEST_KILLS", "1"))):
        process = script(ENCODE, config=str(file))
        for _ in range(chance.randrange(1, 4)):
            process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    both = [script(ENCODE, config=str(file)), script(ENCODE, config=str(file))]
    said = [process.communicate()[0] for process in both]
    assert all("done" in each for each in said), said
    assert sum(int(each.split()[-1]) for each in said) <= 16, "they share the work"
    assert sum(one.shards for one in collections(place)) == 30
    assert list(damaged(place)) == []
    straight = train(tmp_path / "straight", source=source)
    assert same_weights(straight, train(tmp_path / "run", source=source, training=training))
