"""How far a group is, from the files that its worker writes, damaged ones included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynaip.ablation.folder import FINISHED, AblationFolder, ArmGroup, GroupArm
from dynaip.ablation.live import progress_of


@pytest.mark.parametrize(
    ("log", "share", "words"),
    [
        ("", 0.1, "step 0/40"),
        (json.dumps({"step": 20, "loss": 0.25}) + "\n", 0.5, "step 20/40, loss 0.250"),
        (json.dumps({"step": 20, "loss": None}) + '\n{"step": 21, "lo', 0.5, "step 20/40"),
        (json.dumps({"step": "x", "loss": []}), 0.1, "step 0/40"),
        (json.dumps({"step": 40, "loss": 0.1}), 0.9, "1/2 arms evaluated"),
    ],
)
def test_share_and_words(tmp_path: Path, log: str, share: float, words: str) -> None:
    folder = AblationFolder(tmp_path)
    ArmGroup("abc", [GroupArm("a", "a-1", None), GroupArm("b", "b-2", None)], "abc", 40, None, []).write(
        folder.group("abc")
    )
    folder.arm("a-1").mark(FINISHED)
    folder.training("abc").path.mkdir(parents=True)
    folder.training("abc").metrics.write_text(log)
    found, said = progress_of(tmp_path, "abc")
    assert (pytest.approx(found), said) == (share, words)
