"""The folder of encodings: what lies in it, and what goes when room is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynaip.encodings import folder as folders
from dynaip.encodings.store import EncodingStore
from dynaip.errors import InputError

DAY = 86400.0


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., EncodingStore]:
    """Make a store with one collection of two blocks, last used so many days ago."""

    def make(model: str, days: float = 0.0) -> EncodingStore:
        store = EncodingStore(tmp_path, {"text": {"model": model}}, ["aa", "bb"])
        store.open()
        for block in range(2):
            store.write(block, {"text": {block: {"text": torch.zeros(1000)}}}, {})
        for name in (folders.USED, folders.DEPENDS):
            moment = time.time() - days * DAY
            os.utime(store.places["text"] / name, (moment, moment))
        return store

    return make


def test_what_was_not_used_for_longest_goes_first_and_only_until_the_rest_fits(
    made: Callable[..., EncodingStore],
) -> None:
    old, middle, busy = made("old", 3), made("middle", 2), made("busy")
    there = folders.collections(old.folder)
    assert [one.depends["model"] for one in there] == ["old", "middle", "busy"]
    assert all(one.shards == 2 and one.bytes > 8000 and one.part == "text" for one in there)
    gone = folders.prune(old.folder, there[0].bytes * 2.5)
    assert [one.depends["model"] for one in gone] == ["old"]
    assert not old.places["text"].exists()
    assert folders.prune(old.folder, 0, keep=[middle.places["text"]]) == []
    assert [one.depends["model"] for one in folders.prune(old.folder, 0)] == ["middle"]
    assert busy.missing(0) == [], "what was used within the hour stays, whatever the limit"


def test_nothing_of_somebody_else_is_counted_or_removed(made: Callable[..., EncodingStore], tmp_path: Path) -> None:
    made("old", 3)
    own = tmp_path / "latents-of-mine"
    own.mkdir()
    (own / "thesis.safetensors").write_bytes(b"x" * 99)
    folders.prune(tmp_path, 0)
    assert (own / "thesis.safetensors").exists()


def test_what_a_killed_process_left_goes_once_nobody_can_be_writing_it(made: Callable[..., EncodingStore]) -> None:
    place = made("one").places["text"]
    left, fresh = place / ".0000001-bb.safetensors.host-1.part", place / ".0000002-cc.safetensors.host-2.part"
    for file in (left, fresh):
        file.write_bytes(b"half")
    os.utime(left, (1, 1))
    folders.prune(place.parent, float("inf"))
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_changed_block_has_a_file_of_its_own_and_damage_is_found(made: Callable[..., EncodingStore]) -> None:
    store = made("one")
    changed = EncodingStore(store.folder, store.depends, ["aa", "cc"])
    assert (changed.missing(0), changed.missing(1)) == ([], ["text"])
    file = store.file("text", 1)
    data = bytearray(file.read_bytes())
    data[-1] ^= 64
    file.write_bytes(data)
    assert [found for found, _ in folders.damaged(store.folder)] == [file]
    with pytest.raises(InputError, match="no encodings text-zz; there are text-"):
        folders.chosen(store.folder, ["text-zz"])
