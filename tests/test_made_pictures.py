"""The pictures of README and documentation can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dynaip_site import pictures


def test_references_stand_above_what_was_painted() -> None:
    one, two, painted = (Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue"))
    sheet = pictures.two_rows([([one], painted), ([one, two], painted)])
    assert sheet.size == (6 + 2 * 22, 6 + 2 * 22)
    assert [sheet.getpixel(at) for at in ((6, 6), (6, 28), (28, 18), (39, 18), (28, 6))] == [
        (255, 0, 0), (0, 0, 255), (255, 0, 0), (0, 128, 0), (255, 255, 255)]  # fmt: skip


def test_figures_that_pages_show_are_taken_and_missing_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, made = tmp_path / "images", tmp_path / "made"
    for folder, names in ((home / "findings", ("a.png", "b.png")), (made, ("a.png", "other.png"))):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(str(folder))
    monkeypatch.setattr(pictures, "IMAGES", home)
    assert pictures.take_findings(made) == ["b.png"]
    assert (home / "findings" / "a.png").read_text() == str(made)
    assert {path.name for path in (home / "findings").iterdir()} == {"a.png", "b.png"}
