"""An ablation end to end on every kind of executor: the table is that of this process, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dynaip.ablation import execute
from dynaip.config import AblationConfig, load_ablation
from tests.dynaip.ablation.conftest import plugin_file, written  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory,
    plugin_file: Path,  # noqa: F811
    tiny_flux_folder: Path,
    tiny_clip_folder: Path,
) -> AblationConfig:
    """Two trainings, three arms."""
    extra = {"threads": 1, "arms": [{"fusion": "average", "name": "average"}]}
    folder = tmp_path_factory.mktemp("ablation")
    return load_ablation(written(folder, plugin_file, tiny_flux_folder, tiny_clip_folder, extra, steps=2))


@pytest.fixture(scope="module")
def expected(config: AblationConfig, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table as this process makes it, without any executor."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "_live", lambda arms: True)
        here = execute.ablate(config, folder)
    assert not here.failed
    assert {row["arm"] for _, row in here.results.iterrows()} == {"dynamic", "coupled", "average"}
    return (folder / "results.csv").read_bytes()


@pytest.mark.parametrize("kind", ["ray", "slurm_stub", "slurm"], indirect=True)
def test_the_same_results(
    options: dict[str, Any], config: AblationConfig, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expected = request.getfixturevalue("expected")  # not before it is known that this kind of executor is here
    there = execute.ablate(config, tmp_path / "there", executor=options)
    assert not there.failed
    assert (tmp_path / "there" / "results.csv").read_bytes() == expected
