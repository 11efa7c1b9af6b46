"""The notebooks are committed without outputs, and run from the top."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install 'dynaip[notebooks]'")
nbclient = pytest.importorskip("nbclient", reason="pip install 'dynaip[notebooks]'")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDED = {"05_write_your_own_fusion": ("pipeline", "vision", "oracle")}
"""Parts of microworld that a notebook needs; all of them if it is not named here."""
ASSETS = ROOT / "plugins" / "dynaip_plugins" / "microworld" / "assets"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = NEEDED.get(path.stem, ("pipeline", "vision", "oracle", "adapter"))
    missing = [part for part in parts if not (ASSETS / part).is_dir()]
    if missing:
        pytest.skip(f"microworld's {', '.join(missing)} not in this checkout: dynaip microworld build makes them")
    paths = [ROOT, ROOT / "plugins", ROOT / "analysis"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("DYNAIP_NOTEBOOK_STEPS", "4")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    pictures = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
                if "image/png" in output.get("data", {}) or "text/html" in output.get("data", {})]  # fmt: skip
    assert pictures
