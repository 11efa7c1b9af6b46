"""What plugins give back is held against their contracts: one line names the plugin and the rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip import promises
from dynaip.contracts import BranchWeights, Case, CaseReference, FusedReference, Pair
from dynaip.errors import PluginError

PICTURE = Image.new("RGB", (4, 4))
CASES = [Case(f"c-{number}", "s", "a star", (CaseReference(PICTURE),), number) for number in range(2)]
WHO = "metric acme:mine"


def refused(line: str, call: Any, *given: Any) -> None:
    with pytest.raises(PluginError, match=line) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{given[0]}: ")


def test_rows_of_any_kind_of_number() -> None:
    rows = [{"a": np.float32(0.5), "b": torch.tensor(2.0)}, {"a": float("nan"), "b": True}]
    found = promises.check_rows(WHO, ["a", "b"], rows, CASES)
    assert found[0] == {"a": 0.5, "b": 2.0}
    assert np.isnan(found[1]["a"])
    assert found[1]["b"] == 1.0
    assert all(type(value) is float for row in found for value in row.values())


ROWS: list[tuple[Any, str]] = [
    ([{"a": 1, "b": 2}], "1 rows for 2 cases"),
    (None, "gave NoneType for 2 cases"),
    ({"a": [1, 2]}, "gave dict for 2 cases"),
    ([{"a": 1, "b": 2}, 3], "gave int for case c-1"),
    ([{"a": 1, "b": 2}, {"a": 1}], "the row of case c-1 lacks b; its columns are a, b"),
    ([{"a": 1, "b": 2, "c": 3}] * 2, "the row of case c-0 has c, which columns does not name"),
    ([{"a": 1, "b": "2"}] * 2, "b of case c-0 must be a number, not '2'"),
    ([{"a": 1, "b": None}] * 2, "b of case c-0 must be a number, not None"),
    ([{"a": 1, "b": torch.zeros(2)}] * 2, "b of case c-0 must be a number"),
]


@pytest.mark.parametrize(("rows", "line"), ROWS)
def test_rows_that_break_the_promise(rows: Any, line: str) -> None:
    refused(line, promises.check_rows, WHO, ["a", "b"], rows, CASES)


@pytest.mark.parametrize("columns", ["ab", (), ("a", "a"), ("a", 1), ("",), None])
def test_columns(columns: Any) -> None:
    refused("columns must be different names", promises.check_columns, WHO, columns)


def test_cases() -> None:
    who = "benchmark acme:mine"
    assert promises.check_cases(who, "s", tuple(CASES)) == CASES
    one = CASES[0]
    wrong: list[tuple[Any, str]] = [
        (3, "must give a list of Case"),
        ([{"id": "a"}], "must give a list of Case"),
        ([replace(one, id="../x")], "is no name: write letters"),
        ([replace(one, id="..")], "is no name: write letters"),
        ([replace(one, id="a\x1b")], "is no name: write letters"),
        ([replace(one, suite="t")], "of suite s says that it is of suite 't'"),
        ([replace(one, seed=-1)], "an integer from 0 up as seed"),
        ([replace(one, prompt=None)], "a text as prompt"),  # pyright: ignore[reportArgumentType]
        ([replace(one, references=(CaseReference(np.zeros(3)),))], "must be a PIL image, not ndarray"),  # pyright: ignore[reportArgumentType]
    ]
    for cases, line in wrong:
        refused(line, promises.check_cases, who, "s", cases)
    layer = Image.new("RGBA", (2, 2), (9, 9, 9, 0))
    layer.putpixel((0, 0), (255, 0, 0, 255))
    (read,) = promises.check_cases(who, "s", [replace(one, references=(CaseReference(layer, (0, 0, 1, 0.5)),))])
    assert read.references[0].image.getpixel((1, 1)) == (255, 255, 255)
    assert read.references[0].region == (0, 0, 1, 0.5)
    promises.check_different(who, CASES)
    refused("two cases have the id c-0", promises.check_different, who, [*CASES, replace(one, suite="t")])


def test_pairs() -> None:
    who = "source acme:mine"
    pair = Pair("p", PICTURE, PICTURE, "a star")
    assert promises.check_pair(who, 3, pair) is pair
    wide = replace(pair, target=Image.fromarray(np.full((2, 2), 200 * 257, np.uint16)))
    assert promises.check_pair(who, 3, wide).target.getpixel((0, 0)) == (200, 200, 200)
    refused("item 3 must be a Pair, not tuple", promises.check_pair, who, 3, (PICTURE, PICTURE))
    refused("prompt must be a text, not None", promises.check_pair, who, 3, replace(pair, prompt=None))  # pyright: ignore[reportArgumentType]
    refused("the target of pair p must be a PIL image", promises.check_pair, who, 3, replace(pair, target="a.png"))  # pyright: ignore[reportArgumentType]


class Encoder:
    """What is asked of an encoder here."""

    levels = {"low": 1, "high": 2}
    widths = {"low": 8, "high": 6}
    grid = (2, 3)


def test_levels() -> None:
    who, good = "encoder acme:mine", {"low": torch.zeros(4, 6, 8), "high": torch.zeros(4, 7, 6)}
    promises.check_levels(who, Encoder, good, 4)
    wrong: list[tuple[Any, str]] = [
        (torch.zeros(4, 6, 8), r"must give the levels \['low', 'high'\], not Tensor"),
        ({"low": good["low"]}, r"not \['low'\]"),
        (good | {"more": good["low"]}, "'more'"),
        (good | {"low": torch.zeros(3, 6, 8)}, "level low must be 4 x 6 .* x 8 .*, not 3 x 6 x 8"),
        (good | {"low": torch.zeros(4, 5, 8)}, "not 4 x 5 x 8"),
        (good | {"high": torch.zeros(4, 6, 8)}, "level high must be .*x 6 .*, not 4 x 6 x 8"),
        (good | {"high": torch.zeros(4, 36)}, "not 4 x 36"),
        (good | {"high": [1]}, "not list"),
    ]
    for features, line in wrong:
        refused(line, promises.check_levels, who, Encoder, features, 4)
    promises.check_pixels(who, torch.zeros(4, 3, 8, 8), 4)
    refused("must give 4 x 3 x S x S, not 3 x 8 x 8", promises.check_pixels, who, torch.zeros(3, 8, 8), 4)


def test_fusions_and_policies() -> None:
    promises.check_fused("fusion acme:mine", FusedReference(torch.zeros(2, 5, 16)), 2, 16)
    for given, shown in (
        (torch.zeros(2, 5, 16), "Tensor"),
        (FusedReference(torch.zeros(2, 5, 8)), "2 x 5 x 8"),
        (FusedReference(torch.zeros(1, 5, 16)), "1 x 5 x 16"),
        (FusedReference(torch.zeros(2, 0, 16)), "2 x 0 x 16"),
        (None, "NoneType"),
    ):
        refused(f"2 x M x 16, not {shown}", promises.check_fused, "fusion acme:mine", given, 2, 16)
    promises.check_weights("decoupling Mine", BranchWeights(1, np.float32(0.5)))  # pyright: ignore[reportArgumentType]
    for wrong in (BranchWeights(float("nan"), 1), BranchWeights("a", 1), (1, 1), None):  # pyright: ignore[reportArgumentType]
        refused("two finite numbers", promises.check_weights, "decoupling Mine", wrong)


@pytest.mark.parametrize("suite", ["../up", "a b", "=1", "x\x1b"])
def test_a_suite_is_named_by_a_word(suite: str) -> None:
    refused("the name of a suite: .* is no name", promises.check_cases, "benchmark own", suite, [])


def test_what_is_not_finite() -> None:
    promises.check_finite("fusion acme:mine", "its tokens", torch.zeros(2))
    promises.check_finite("fusion acme:mine", "its tokens", torch.zeros(2, device="meta"))
    for value in (float("nan"), float("-inf")):
        wrong = torch.tensor([0.0, value])
        refused(
            "its tokens hold values that are not finite", promises.check_finite, "fusion acme:mine", "its tokens", wrong
        )


def test_an_encoder_without_a_grid_is_judged_by_the_rest() -> None:
    class Plain:
        levels = {"low": 1}
        widths = {"low": 8}

    promises.check_levels("encoder acme:mine", Plain, {"low": torch.zeros(2, 99, 8)}, 2)
    refused("2 x N x 8", promises.check_levels, "encoder acme:mine", Plain, {"low": torch.zeros(2, 99, 7)}, 2)
