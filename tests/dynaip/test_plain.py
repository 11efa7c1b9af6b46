"""Text of strangers: nothing of it commands a terminal, leaves a folder or is computed by a spreadsheet."""

from __future__ import annotations

import unicodedata

import pytest

from dynaip.errors import InputError
from dynaip.plain import cell, check_name, name_from, one_plain_line, plain


def test_no_control_character_is_left() -> None:
    every = "".join(map(chr, range(0x3000))) + "\ud800"
    shown = plain(every)
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"]
    shown.encode()  # no lone surrogate, which a terminal's encoding refuses
    assert "\u202e" not in shown
    assert plain("\x1b[2Jgone\r\x07 \x9b31m") == "\\x1b[2Jgone\\r\\x07 \\x9b31m"


def test_what_people_write_stays_as_it_is() -> None:
    text = "café 猫 \N{FAMILY} 👩\u200d🎨 – “x”\n\tnext"
    assert plain(text) == text
    assert one_plain_line("a\nb\t c\x1b") == "a b c\\x1b"


@pytest.mark.parametrize("name", ["hmoe", "a.b-c_d", "2", "lr_1e-3", "x" * 120])
def test_names_are_words(name: str) -> None:
    assert check_name(name, "arm") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a..b",
        "=cmd",
        "a b",
        "é",
        "a\x1b",
        "a\n",
        "x" * 121,
        "a:b",
        "@x",
        ".a",
        "-rf",
    ],
)
def test_whatever_is_more_than_a_word_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^arm .* is no name: write letters") as caught:
        check_name(name, "arm")
    assert "\n" not in str(caught.value)
    assert check_name(name_from(name, "run"), "arm")


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_no_cell(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1.5, 3, "-1.5", "+2", "-1e-3", "plain", "a=b", None, float("-inf")])
def test_numbers_and_words_stay_as_they_are(value: object) -> None:
    assert cell(value) is value


def test_a_table_keeps_its_numbers() -> None:
    import pandas as pd

    table = pd.DataFrame({"arm": ["=1+1", "fine"], "n": [3, 4], "@cp": [-0.5, float("nan")]})
    assert table.rename(columns=cell).map(cell).to_csv(index=False) == "arm,n,'@cp\n'=1+1,3,-0.5\nfine,4,\n"
