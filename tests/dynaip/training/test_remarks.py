"""What is told of pairs and prompts: once, counted, and written down."""

from __future__ import annotations

import json
from pathlib import Path

from dynaip.prompts import PromptLimit
from dynaip.training.remarks import Remarks


def test_prompts_that_are_cut_are_counted(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "notes.jsonl"
    made = Remarks(said.append, file, [PromptLimit("T5", 3, lambda text: len(text.split()))])
    made.prompts = dict.fromkeys(["a b", "a b c", "a b c d", "a b c d e"])
    made.tell()
    made.tell()
    assert len(said) == 1
    assert "T5 reads 3 of 5 tokens" in said[0]
    assert "2 of 4 prompts" in said[0]
    assert [json.loads(line)["note"] for line in file.read_text().splitlines()] == said


def test_nothing_to_say_leaves_no_file(tmp_path: Path) -> None:
    made = Remarks(print, tmp_path / "notes.jsonl", [PromptLimit("T5", 9, len)])
    made.prompts["short"] = None
    made.tell()
    assert not (tmp_path / "notes.jsonl").exists()
