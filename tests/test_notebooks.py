"""The notebooks are committed without outputs, run from the top, and show pictures and no noise."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Forked

nbformat = pytest.importorskip("nbformat", reason="pip install 'dynaip[notebooks]'")
nbclient = pytest.importorskip("nbclient", reason="pip install 'dynaip[notebooks]'")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDED = {"05_write_your_own_fusion": ("pipeline", "vision", "oracle")}
"""Parts of microworld that a notebook needs; all of them if it is not named here."""
ASSETS = ROOT / "plugins" / "dynaip_plugins" / "microworld" / "assets"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
FORKED = ("02", "03", "04", "05")
"""Kernels that are forked from a process that has torch and diffusers; the first and the last import for themselves."""
STILL = "(Move "
"""What a page without widgets shows in the place of sliders begins with this."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_committed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert notebook.metadata == METADATA
    assert not any(cell.metadata for cell in notebook.cells)


def test_libraries_are_quieted_before_anything_else_is_imported() -> None:
    for path in NOTEBOOKS[1:]:
        first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
        assert first.source.startswith("from dynaip.quiet import quiet_libraries\n\nquiet_libraries()\n"), path.name


def test_each_leads_to_the_next() -> None:
    for path, following in pairwise(NOTEBOOKS):
        assert f"`{following.name}`" in nbformat.read(path, as_version=4).cells[-1].source


def test_the_first_lesson_needs_nothing_internal() -> None:
    """A picture comes out of the first cell of code, from names of the package alone."""
    first = next(cell for cell in nbformat.read(NOTEBOOKS[0], as_version=4).cells if cell.cell_type == "code")
    assert "world.generate(" in first.source
    imported = re.findall(r"^from (\S+) import|^import (\S+)", first.source, re.MULTILINE)
    assert {name for names in imported for name in names if name} == {"dynaip", "dynaip.quiet"}


def test_what_needs_a_gpu_is_skipped_and_says_so() -> None:
    for path in (NOTEBOOKS[0], NOTEBOOKS[1], NOTEBOOKS[3]):
        (cell,) = [
            cell
            for cell in nbformat.read(path, as_version=4).cells
            if "FLUX.1-dev" in cell.source and cell.cell_type == "code"
        ]
        said, namespace = io.StringIO(), {"display": None}
        with contextlib.redirect_stdout(said):
            exec(compile(cell.source, path.stem, "exec"), namespace)
        assert said.getvalue().startswith("Skipped. This needs")
        assert "DYNAIP_RUN" in said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [output for cell in executed(path, tmp_path, monkeypatch).cells for output in cell.get("outputs", [])]
    noise = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not noise, "warnings and bars of libraries stay out of the page"
    shown = [output.data for output in outputs if "data" in output]
    assert any("image/png" in data for data in shown)
    views = [data for data in shown if any("widget-view" in kind for kind in data)]
    assert all(data["text/plain"].startswith(STILL) for data in views), "progress bars are widgets, too"
    # Where nothing better is shown than text, the text is short: no tree of modules, no table of numbers.
    assert all(len(data["text/plain"]) < 600 for data in shown if set(data) == {"text/plain"})


def executed(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook after a run from the top in a fresh kernel, with few steps."""
    parts = NEEDED.get(path.stem, ("pipeline", "vision", "oracle", "adapter"))
    missing = [part for part in parts if not (ASSETS / part).is_dir()]
    if missing:
        pytest.skip(f"microworld's {', '.join(missing)} not in this checkout: dynaip microworld build makes them")
    paths = [ROOT, ROOT / "plugins", ROOT / "analysis"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("DYNAIP_NOTEBOOK_STEPS", "2")
    monkeypatch.delenv("DYNAIP_RUN", raising=False)
    if path.name.startswith(FORKED):
        monkeypatch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", forked_kernel)
    notebook = nbformat.read(path, as_version=4)
    (folder / "examples").symlink_to(ROOT / "examples")  # a notebook stands beside them
    (folder / "notebooks").mkdir()
    resources = {"metadata": {"path": folder / "notebooks"}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return notebook


def forked_kernel(command: list[str], *, env: dict[str, str], cwd: Path, **rest: Any) -> Forked:
    """A fresh kernel in a process of its own."""
    return Forked([sys.executable, *command[1:]], env=env, cwd=cwd, start_new_session=True)


@pytest.mark.slow
def test_sliders_move_the_picture_in_a_running_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets", reason="pip install 'dynaip[notebooks]'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "analysis") + os.pathsep + str(ROOT))
    cells = [
        "from PIL import Image\nfrom dynaip_analysis import explore\n"
        "sliders = explore(lambda edge: Image.new('RGB', (edge, edge), 'red'), edge=[4, 8])",
        "sliders['edge'].value = 8",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (picture,) = (output for output in notebook.cells[0].outputs if "image/png" in output.data)
    assert picture.data["text/plain"].endswith("size=8x8>"), "the output of the first cell was replaced"
