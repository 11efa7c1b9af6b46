"""Notebooks as pages: with what their cells show where they are run, as written where they are not."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

from .running import ROOT, reader

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def address(path: Path) -> str:
    """Where the page of a notebook stands in the site."""
    return f"notebooks/{path.stem}.md"


def page_of(path: Path, *, run: bool) -> str:
    """The notebook as Markdown, pictures inside."""
    import nbformat
    from nbconvert import MarkdownExporter

    notebook = nbformat.read(path, as_version=4)
    if run:
        execute(notebook)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    for name, data in resources["outputs"].items():
        text = text.replace(f"({name})", f"(data:image/png;base64,{base64.b64encode(data).decode()})")
    text = re.sub(r"`(\d\d_\w+)\.ipynb`", r"[\1](\1.md)", text)
    return f"{text}\n\n*This page is `notebooks/{path.name}`: open it with `make notebooks`.*\n"


def execute(notebook: Any) -> None:
    """Run a notebook in a fresh kernel, in a folder that looks like its own."""
    import nbclient

    with tempfile.TemporaryDirectory() as folder, reader(Path(folder)):
        where = {"metadata": {"path": str(Path(folder) / "notebooks")}}
        nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where).execute()
