"""`dynaip analyze`: it finds the analysis by name and says where it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dynaip.cli.app import main
from dynaip.contracts.section import AnalysisRequest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[AnalysisRequest]:
    """Requests that reach the section, which answers with one figure."""
    from dynaip_analysis.routing.section import RoutingSection

    heard: list[AnalysisRequest] = []

    def analyse(self: Any, request: AnalysisRequest) -> list[Path]:
        heard.append(request)
        request.out.mkdir(parents=True)
        (request.out / "routing.parquet").touch()
        return [request.out / "routing.png", request.out / "alone.svg"]

    monkeypatch.setattr(RoutingSection, "analyse", analyse)
    return heard


def test_a_run_folder_keeps_its_analyses(tmp_path: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(tmp_path), "routing"]) == 0
    assert asked[0].out == tmp_path / "analysis"
    told = capsys.readouterr().out
    assert "routing.png and routing.parquet" in told
    assert told.rstrip().endswith("alone.svg"), "a section of a plugin may leave no table"


def test_the_shipped_adapter_writes_here(tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", "microworld", "routing", "--seed", "3"]) == 0
    assert asked[0] == AnalysisRequest("microworld", Path("analysis-microworld"), seed=3)


def test_options_of_the_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynaip_analysis.interventions.section import InterventionsSection

    heard: list[Any] = []
    monkeypatch.setattr(InterventionsSection, "analyse", lambda self, request: heard.append(self.config) or [])
    assert main(["analyze", "microworld", "interventions", "-s", "kind=swap", "-s", "branches=[image]"]) == 0
    assert heard[0].kind == "swap"
    assert heard[0].branches == ["image"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["microworld", "rooting"], "routing"),
        (["microworld", "routing", "--prompt", " "], "--prompt is empty"),
        (["microworld"], "WHAT"),
        (["microworld", "routing", "-s", "casez=4"], "casez"),
        (["microworld", "interventions", "-s", "kind=remove"], "kind"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("place", ["file", "file/deeper", "missing/deeper"])
def test_a_place_that_cannot_be_written_is_said_before_work_begins(
    place: str, tmp_path: Path, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    code = main(["analyze", "microworld", "routing", "--out", str(tmp_path / place)])
    assert (code, bool(asked)) == ((2, False) if place.startswith("file") else (0, True))
    if code:
        assert "is a file; choose a folder with --out" in capsys.readouterr().err
