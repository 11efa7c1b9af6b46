"""Tar shards: read in place as webdataset reads them, with faults in them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.errors import BadSample, InputError
from dynaip.training.order import Shuffle
from tests.plugins.sources.conftest import number

Built = Callable[..., Any]
Png = Callable[..., bytes]


def shard(file: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(file, "w") as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return file


def sample(key: str, png: Png, one: int, **meta: Any) -> list[tuple[str, bytes]]:
    return [
        (f"{key}.reference.png", png(2 * one)), (f"{key}.target.png", png(2 * one + 1)), (f"{key}.txt", f"prompt {one}".encode()),
        (f"{key}.json", json.dumps({"score": one, "caption": f"caption {one}"} | meta).encode()),
    ]  # fmt: skip


def shards(folder: Path, png: Png, count: int = 3, each: int = 4) -> None:
    for place in range(count):
        names = range(place * each, (place + 1) * each)
        shard(folder / f"{place:03}.tar", [one for name in names for one in sample(f"s{name:04}", png, name)])


def test_samples_are_those_that_webdataset_reads(tmp_path: Path, png: Png, built: Built) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    for place in range(2):
        with webdataset.TarWriter(str(tmp_path / f"{place:03}.tar")) as writer:
            for one in range(3):
                row = 3 * place + one
                writer.write(
                    {"__key__": f"k/{row}", "target.png": png(row), "reference.png": png(row), "txt": f"p {row}"}
                )
    source = built("shards", shards=str(tmp_path / "{000..001}.tar"), height=8)
    peers = list(webdataset.WebDataset([str(tmp_path / f"{place:03}.tar") for place in range(2)], shardshuffle=False))
    assert [source[place].id.partition("/")[2] for place in range(len(source))] == [each["__key__"] for each in peers]
    assert [source[place].prompt for place in range(len(source))] == [each["txt"].decode() for each in peers]
    assert [number(source[place].target) for place in range(6)] == list(range(6))


def test_processes_and_workers_share_the_shards_without_repeats_or_gaps(tmp_path: Path, png: Png, built: Built) -> None:
    from torch.utils.data import DataLoader

    from dynaip.training.data import BatchOrder, PairDataset

    shards(tmp_path, png, count=5, each=4)
    source = built("shards", shards=str(tmp_path / "*.tar"), height=8)
    seen: list[str] = []
    for rank in range(2):
        order = BatchOrder(2, 0, len(source), rank, 2, blocks=source.blocks())
        plan: Any = [order.at(batch) for batch in range(5)]
        loader = DataLoader(
            PairDataset(source), batch_sampler=plan, num_workers=2, collate_fn=list, multiprocessing_context="fork"
        )
        seen += [pair.id for batch in loader for pair in batch]
    assert sorted(seen) == sorted(source[place].id for place in range(20))
    straight = [Shuffle(20, 0, blocks=source.blocks()).batch(step, 2) for step in range(30)]
    again = built("shards", shards=str(tmp_path / "*.tar"), height=8)
    assert [Shuffle(20, 0, blocks=again.blocks()).batch(step, 2) for step in range(13, 30)] == straight[13:]


def test_filters_texts_and_several_references(tmp_path: Path, png: Png, built: Built) -> None:
    more = [("s0009.reference2.png", png(77)), *sample("s0009", png, 9)]
    shard(tmp_path / "a.tar", [*sample("s0001", png, 1), *more, *sample("s0002", png, 2, score="x")])
    source = built("shards", shards=str(tmp_path / "a.tar"), height=8, prompt="json.caption", where="score > 5")
    assert len(source) == 1
    assert source[0].prompt == "caption 9"
    assert [number(each.image) for each in source[0].references] == [18, 77]
    assert source.name(0) == "a.tar/s0009"


def test_faults_are_known_by_name(tmp_path: Path, png: Png, built: Built) -> None:
    shards(tmp_path, png, count=1)
    whole = (tmp_path / "000.tar").read_bytes()
    last = whole.index(b"s0003.target.png") + 512 + 30
    (tmp_path / "cut.tar").write_bytes(whole[:last])
    twice = [*sample("k", png, 1), *sample("other", png, 2), *sample("k", png, 3)]
    shard(
        tmp_path / "faults.tar",
        [
            *twice,
            ("lone.txt", b"p"),
            ("x.pkl", b"never read"),
            *sample("bad", png, 4)[1:],
            ("bad.reference.png", b"no"),
        ],
    )
    with pytest.warns(UserWarning, match=r"cut.tar: .*4 samples of it are there"):
        source = built("shards", shards=[str(tmp_path / "cut.tar"), str(tmp_path / "faults.tar")], height=8)
    assert [source[place].id for place in (0, 1, 2, 4, 5, 6)] == [
        "cut.tar/s0000", "cut.tar/s0001", "cut.tar/s0002", "faults.tar/k", "faults.tar/other", "faults.tar/k#2"
    ]  # fmt: skip
    faults = {
        3: "cut.tar/s0003: the shard is broken there",
        7: "faults.tar/lone: it has no part reference",
        8: "faults.tar/bad: reference",
    }
    for place, fault in faults.items():
        with pytest.raises(BadSample, match=fault):
            source[place]
    assert len(source) == 9


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("pipe:cat x", "commands are not run"),
        ("gone-{00..03}.tar", "there is no such file"),
        ("packed.tar.gz", "unpack it"),
    ],
)
def test_what_is_refused(tmp_path: Path, built: Built, given: str, words: str) -> None:
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(InputError, match=words):
        built("shards", shards=given if ":" in given else str(tmp_path / given), height=8)


def test_shards_by_address_are_copied_as_far_as_there_is_room(tmp_path: Path, png: Png, built: Built) -> None:
    shards(tmp_path, png)
    addresses = [f"file://{tmp_path / f'{place:03}.tar'}" for place in range(3)]
    size = (tmp_path / "000.tar").stat().st_size
    source = built("shards", shards=addresses, height=8, cache_gb=2.5 * size / 1e9)
    assert [source[place].prompt for place in range(12)] == [f"prompt {place}" for place in range(12)]
    copies = list((tmp_path / "remembered" / "shards").glob("*.tar"))
    assert len(copies) == 2
    (tmp_path / "001.tar").unlink()
    for copy in copies:
        copy.unlink()
    with pytest.raises(BadSample, match=r"001.tar cannot be read"):
        source[5]


def test_buckets(tmp_path: Path, png: Png, built: Built) -> None:
    members = [("a.target.png", png(1, (64, 32))), ("b.target.png", png(1, (32, 32)))]
    members += [(f"{key}.{part}", data) for key in "ab" for part, data in (("reference.png", png(1)), ("txt", b"p"))]
    shard(tmp_path / "a.tar", sorted(members))
    source = built("shards", shards=str(tmp_path / "a.tar"), buckets={"area": 32, "multiple": 8})
    assert source.sizes() == [(24, 40), (32, 32)]
    assert [(pair.target.height, pair.target.width) for pair in (source[0], source[1])] == source.sizes()
