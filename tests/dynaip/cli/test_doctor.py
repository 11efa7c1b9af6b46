"""The command: a table, JSON, and its exit code."""

from __future__ import annotations

import json

import pytest

from dynaip import device
from dynaip.cli.app import main


def test_table_and_json_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"]
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    assert {check["name"] for check in told["checks"] if check["name"] not in table} == set()


def test_what_is_broken_ends_with_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "cuda:63")
    assert main(["doctor"]) == 1
    assert "BROKEN" in capsys.readouterr().out
