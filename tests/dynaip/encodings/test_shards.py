"""Shards: what is written comes back bit for bit, and what is not what was written is never given out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynaip.encodings import shards

VALUE = {
    "id": "pair-3",
    "size": (64, 32),
    "latents": torch.randn(4, 2, generator=torch.Generator().manual_seed(0)),
    "levels": [{"low": torch.arange(6, dtype=torch.int8)}, {"low": torch.ones(2, dtype=torch.bfloat16)}],
    "regions": (None, 0.5),
}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    file = tmp_path / "0000000-abc.safetensors"
    shards.write(file, {3: VALUE, 5: {"latents": torch.zeros(0, 2)}}, {"prompts": ["a\tmug", "é"]})
    return file


def test_what_is_written_comes_back(shard: Path) -> None:
    found = shards.read(shard, 3)
    assert found["id"] == "pair-3"
    assert found["size"] == (64, 32)
    assert found["regions"] == (None, 0.5)
    assert torch.equal(found["latents"], VALUE["latents"])  # pyright: ignore[reportArgumentType]
    assert found["levels"][0]["low"].dtype == torch.int8
    assert torch.equal(found["levels"][1]["low"], torch.ones(2, dtype=torch.bfloat16))
    assert shards.read(shard, 5)["latents"].shape == (0, 2)
    assert shards.head(shard) == ({3, 5}, {"prompts": ["a\tmug", "é"]})
    with pytest.raises(KeyError):
        shards.read(shard, 4)
    assert [file.name for file in shard.parent.iterdir()] == [shard.name]


def test_every_flipped_byte_and_every_cut_is_noticed(shard: Path) -> None:
    whole = shard.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")  # the header's length comes first, then the header, then tensors
    for place in range(begin, len(whole)):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(shards.Damaged):
            shards.read_all(shard)
    for length in (0, 4, begin - 1, begin, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(shards.Damaged):
            shards.read_all(shard)
    shard.write_bytes(b"\0" * len(whole))
    with pytest.raises(shards.Damaged):
        shards.head(shard)
