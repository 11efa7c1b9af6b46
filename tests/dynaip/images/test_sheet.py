"""A contact sheet holds every picture, untouched, in reading order."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dynaip.images.sheet import GAP, WIDEST, contact_sheet


def test_every_picture_lies_where_it_is_read() -> None:
    pictures = [Image.new("RGB", (40, 30), (50 * k, 0, 0)) for k in range(5)]
    sheet = np.asarray(contact_sheet(pictures, [f"seed {k}" for k in range(5)], columns=3))
    assert sheet.shape[1] == GAP + 3 * (40 + GAP)
    starts = [np.argwhere((sheet == (50 * k, 0, 0)).all(2)) for k in range(1, 5)]
    assert [len(each) for each in starts] == [1200] * 4
    corners = [tuple(int(v) for v in each.min(0)) for each in starts]
    assert [x for _, x in corners] == [GAP + 48, GAP + 96, GAP, GAP + 48]
    assert corners[0][0] == corners[1][0] == GAP < corners[2][0] == corners[3][0]


def test_a_word_is_written_below_and_cut_where_it_is_too_long() -> None:
    bare, worded = (contact_sheet([Image.new("RGB", (60, 60), "red")], [word]) for word in ("", "seed 12" * 20))
    assert worded.height > bare.height
    below = np.asarray(worded)[GAP + 60 : -GAP]
    assert (below < 128).any() and (below[:, -GAP:] == 255).all()


def test_every_line_of_the_words_has_its_place() -> None:
    one, two = (contact_sheet([Image.new("RGB", (90, 60), "red")], [words]) for words in ("seed 1", "seed 1\nlow 2"))
    first, second = (np.asarray(two)[top : top + 17] < 128 for top in (GAP + 60, GAP + 60 + 17))
    assert two.height == one.height + 17 and first.any() and second.any()
    assert np.array_equal(np.asarray(one)[: GAP + 60 + 14], np.asarray(two)[: GAP + 60 + 14])


def test_a_sheet_does_not_outgrow_memory() -> None:
    sheet = contact_sheet([Image.new("RGB", (4000, 200))] * 4, [""] * 4)
    assert max(sheet.size) < WIDEST + 100
