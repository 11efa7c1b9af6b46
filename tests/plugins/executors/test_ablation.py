"""An ablation end to end on every kind of executor: the table is that of this process, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.ablation import execute
from dynaip.config import load_ablation
from tests.dynaip.ablation.conftest import ablation_file, plugin_file  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["ray", "slurm_stub", "slurm"], indirect=True)
def test_the_same_results(
    options: dict[str, Any],
    ablation_file: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = {"threads": 1, "arms": [{"fusion": "average", "name": "average"}]}
    config = load_ablation(ablation_file(extra, steps=2))
    with monkeypatch.context() as patch:
        patch.setattr(execute, "_live", lambda arms: True)
        here = execute.ablate(config, tmp_path / "here")
    there = execute.ablate(config, tmp_path / "there", executor=options)
    assert not here.failed
    assert not there.failed
    texts = [(tmp_path / place / "results.csv").read_bytes() for place in ("here", "there")]
    assert texts[0] == texts[1]
    assert {row["arm"] for _, row in there.results.iterrows()} == {"dynamic", "coupled", "average"}
