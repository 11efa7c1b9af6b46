"""What is missing comes with the nearest name there is."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from dynaip.paths import missing


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("corgi.png", "corgy.png"),
        ("A.PNG", "a.png"),
        ("a.png", "a.png "),
        ("a.png", " a.png"),
        ("a.png", "'a.png'"),
        ("a b/c.png", "a b\\c.png"),
        ("pictures/a.png", "pictrues/a.png"),
        ("Pictures/a.png", "pictures/a.png"),
        ("a.jpeg", "a.png"),
    ],
)
def test_the_nearest_name(there: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    known = there if written.count("/") == there.count("/") == 0 or "\\" in written else there.split("/")[0]
    assert missing(written) == f" Did you mean {known}?"


def test_other_unicode_forms(tmp_path: Path) -> None:
    there = unicodedata.normalize("NFD", "café.png")
    (tmp_path / there).touch()
    assert missing(tmp_path / "caf\u00e9.png") == (
        f" Did you mean {tmp_path / there} (the same letters in another Unicode form)?"
    )


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").touch()
    assert missing("~/a.png") == f" Did you mean {tmp_path / 'a.png'}?"
    assert missing("~/b.png") == f" Did you mean {tmp_path / 'a.png'}?"


def test_dead_links_and_nothing_near(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert missing(tmp_path / "link.png") == f" It is a link to {tmp_path / 'gone.png'}, which is not there."
    assert missing(tmp_path / "qqqqqqqqqqq") == ""
    assert missing("a" * 5000) == ""
    assert missing("null\0byte") == ""
