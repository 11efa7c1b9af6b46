"""What of a finished arm counts as damaged, from its files alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from dynaip.ablation.folder import FINISHED, RUNNING, AblationFolder, ArmFolder, ArmGroup, GroupArm
from dynaip.atomic import write_image, write_table, write_tensors
from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError


@pytest.fixture
def arm(tmp_path: Path) -> ArmFolder:
    """A finished arm of three cases."""
    made = AblationFolder(tmp_path).arm("one-0123")
    rows = [{"case": f"case-{k}", "suite": "single", "seed": k, "cp": 0.5} for k in range(3)]
    write_table(made.scores, pd.DataFrame(rows))
    for k in range(3):
        write_image(made.samples / f"case-{k}" / f"{k}.png", Image.effect_noise((16, 16), 60))
    write_tensors(made.adapter / "adapter.safetensors", {"w": torch.ones(50)})
    made.mark(FINISHED, seconds=1.0)
    return made


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


BREAK: dict[str, Callable[[ArmFolder], object]] = {
    "scores.parquet": lambda arm: cut(arm.scores),
    "scores.parquet is missing": lambda arm: arm.scores.unlink(),
    "status.json": lambda arm: arm.status.write_text("{"),
    "0.png": lambda arm: cut(arm.samples / "case-0" / "0.png"),
    "1.png is missing": lambda arm: (arm.samples / "case-1" / "1.png").unlink(),
    "2.png": lambda arm: (arm.samples / "case-2" / "2.png").write_bytes(b""),
    "adapter.safetensors": lambda arm: cut(arm.adapter / "adapter.safetensors"),
}


@pytest.mark.parametrize("what", BREAK)
def test_each_damage_is_one_line_that_names_the_file(arm: ArmFolder, what: str) -> None:
    assert arm.damage() == []
    BREAK[what](arm)
    [line] = arm.damage()
    assert what in line
    assert "\n" not in line


def test_what_lacks_columns_is_damaged(arm: ArmFolder) -> None:
    write_table(arm.scores, pd.DataFrame({"cp": [0.5]}))
    assert "has no cases" in arm.damage()[0]


def test_an_arm_that_is_not_finished_has_no_damage(arm: ArmFolder) -> None:
    cut(arm.scores)
    arm.mark(RUNNING)
    assert arm.damage() == []
    assert not arm.finished()


def test_who_makes_room_keeps_the_scores(arm: ArmFolder) -> None:
    for path in sorted(arm.samples.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    arm.samples.rmdir()
    assert arm.damage() == []
    assert arm.finished()


def test_a_group_comes_back_as_it_was_written(tmp_path: Path) -> None:
    group = ArmGroup("g", [GroupArm("a", "a-1", None), GroupArm("base", "base-2", "base")], "abc", 40, None, ["/x.py"])
    group.write(tmp_path / "g.json")
    assert ArmGroup.read(tmp_path / "g.json") == group


@pytest.mark.parametrize("held", [None, "{}", '{"arms": [{"what": 1}]}', '{"arms": 3}'])
def test_a_group_that_is_gone_or_damaged_is_one_line(tmp_path: Path, held: str | None) -> None:
    if held is not None:
        (tmp_path / "g.json").write_text(held)
    with pytest.raises(InputError, match=r"g\.json is gone or damaged: start the ablation again"):
        ArmGroup.read(tmp_path / "g.json")


def test_cases_are_written_once_and_again_where_they_are_damaged(tmp_path: Path) -> None:
    from dynaip.ablation.cases import write_cases
    from dynaip.notes import Note

    folder = AblationFolder(tmp_path)
    pictures = [Image.effect_noise((12, 12), 60).convert("RGB") for _ in range(2)]
    cases = [Case(f"c{k}", "single", "a star", (CaseReference(one),), k) for k, one in enumerate(pictures)]
    write_cases(cases, folder)
    files = {path: path.read_bytes() for path in folder.cases.rglob("*") if path.is_file()}
    assert len(files) == 3
    for path in files:
        cut(path)
        with pytest.warns(Note, match=f"{path.name} is damaged.*; it is written again"):
            write_cases(cases, folder)
        assert path.read_bytes() == files[path]
    before = {path: path.stat().st_mtime_ns for path in files}
    write_cases(cases, folder)
    assert {path: path.stat().st_mtime_ns for path in files} == before
