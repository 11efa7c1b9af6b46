"""Sources mixed by weight."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.config import ComponentSpec
from dynaip.errors import BadSample, InputError
from dynaip_plugins.sources.mix.model import counts

Built = Callable[..., Any]


def table(folder: Path, png: Callable[..., bytes], name: str, rows: int, size: tuple[int, int] = (8, 8)) -> str:
    (folder / f"{name}.png").write_bytes(png(1, size))
    row = {"target": f"{name}.png", "reference": f"{name}.png"}
    (folder / f"{name}.jsonl").write_text(
        "\n".join(json.dumps(row | {"prompt": f"{name} {one}"}) for one in range(rows))
    )
    return str(folder / f"{name}.jsonl")


@pytest.mark.parametrize(
    ("lengths", "weights", "wanted"),
    [
        ([10, 4], None, [10, 4]),
        ([10, 4], [1, 1], [10, 10]),
        ([10, 4], [3, 1], [12, 4]),
        ([100, 1], [0.9, 0.1], [100, 11]),
    ],
)
def test_shares_by_hand(lengths: list[int], weights: list[float] | None, wanted: list[int]) -> None:
    assert counts(lengths, weights) == wanted


def test_kin_are_all_that_is_made_of_the_same_pictures(tmp_path: Path, png: Callable[..., bytes], built: Built) -> None:
    """Both directions of a row, as often as the mix repeats them."""
    one, other = ({"use": "table", "files": table(tmp_path, png, name, 2), "height": 8} for name in ("a", "b"))
    source = built("mix", sources=[one, other | {"reverse_prompt": "prompt"}], weights=[1, 4])
    assert [len(each) for each in source.sources] == [2, 4]
    assert len(source) == 10
    assert source.kin(1) == [1]
    assert sorted(source.kin(2)) == sorted(source.kin(7)) == [2, 3, 6, 7]
    assert sorted(source.kin(9)) == [4, 5, 8, 9]


def test_every_pair_comes_and_the_small_one_comes_often(
    tmp_path: Path, png: Callable[..., bytes], built: Built
) -> None:
    sources = [
        {"use": "table", "files": table(tmp_path, png, name, rows), "height": 8} for name, rows in (("a", 6), ("b", 2))
    ]
    source = built("mix", sources=sources, weights=[1, 1])
    found = Counter(source[place].id for place in range(len(source)))
    assert found == {f"0/a.jsonl, line {one}": 1 for one in range(1, 7)} | {
        f"1/b.jsonl, line {one}": 3 for one in (1, 2)
    }
    assert source.sizes() is None
    assert source.name(7) == "1/b.jsonl, line 2"
    assert {name.partition("/")[0] for name in source.fingerprint()} == {"0", "1"}


def test_sizes_are_those_of_the_sources(tmp_path: Path, png: Callable[..., bytes], built: Built) -> None:
    one = {"use": "table", "files": table(tmp_path, png, "a", 2), "height": 8}
    other = {"use": "table", "files": table(tmp_path, png, "b", 1, (64, 32)), "buckets": {"area": 32, "multiple": 8}}
    source = built("mix", sources=[one, other])
    assert source.sizes() == [(8, 8), (8, 8), (24, 40)]
    assert ComponentSpec.parse("source", {"use": "mix", "sources": [one, other]}).config.target_sizes()[0] == (8, 8)


def test_what_cannot_be_read_names_its_source(tmp_path: Path, png: Callable[..., bytes], built: Built) -> None:
    source = built("mix", sources=[{"use": "table", "files": table(tmp_path, png, "a", 2), "height": 8}])
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadSample, match=r"source 0: a\.jsonl, line 1"):
        source[0]
    with pytest.raises(InputError, match="weights: give one a source"):
        ComponentSpec.parse("source", {"use": "mix", "sources": ["microworld"], "weights": [1, 2]})


def test_a_size_that_is_left_open_is_given_to_all(tmp_path: Path) -> None:
    spec = ComponentSpec.parse(
        "source", {"use": "mix", "sources": [{"use": "table", "files": "a.jsonl"}, "microworld"]}
    )
    sized = spec.config.sized(24, 32)
    assert spec.config.target_size() is None
    assert sized.target_size() == (24, 32)
    again = ComponentSpec.parse("source", {"use": "mix", **sized.model_dump(mode="json")})
    assert again.config == sized
