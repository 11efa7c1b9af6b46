"""Filters: what they ask, what they refuse, and that nothing is run."""

from __future__ import annotations

import pytest

from dynaip_plugins.shared.filters import Filter

ROW = {
    "score": 3.5,
    "text": "4.0",
    "kind": "a",
    "none": None,
    "deep": {"x": 2},
    "odd name": 1,
    "flag": True,
    "list": ["a"],
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("score >= 3.5", True), ("3.5 < score <= 4", False), ("3 < score < 4", True), ("text > 3", True), ("text == 4", True),
        ("kind > 3", False), ("none > 3", False), ("none is None", True), ("gone is None", True), ("gone > 0", False),
        ("gone != 3", True), ("not gone > 0", True), ("deep.x == 2 and kind == 'a'", True), ("deep.y.z == 2", False),
        ("kind in ('a', 'b')", True), ("kind not in ['a']", False), ("'a' in list", True), ("column('odd name') == 1", True),
        ("flag", True), ("score", False), ("kind == 'b' or deep.x < 3", True), ("score > -1", True), ("kind in 'abc'", True),
    ],
)  # fmt: skip
def test_what_a_row_fulfils(text: str, wanted: bool) -> None:
    assert Filter(text)(ROW) is wanted


def test_the_columns_that_are_asked() -> None:
    assert list(Filter("a.b > 1 and not (c in (1, 2) or column('d e') is None)").columns) == ["a.b", "c", "d e"]


@pytest.mark.parametrize(
    "text",
    ["", "1 < 2", "score >", "open('x')", "a.b()", "a[0] > 1", "(lambda: 1) == a", "a == b.__class__()", "f'{a}' == b", "a := 1",
     "[x for x in a]", "score > 1; import os", "column(name) > 1", "x" * 5000],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|letters|asks no column"):
        Filter(text)
