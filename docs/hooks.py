"""What mkdocs calls while it builds the site: generated pages, notebooks, and what the blocks of a page print.

``DYNAIP_DOCS_RUN=1`` (``make docs``) runs every block and notebook and shows what came out; otherwise they are shown as written.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from mkdocs.structure.files import File
from nbclient.exceptions import CellExecutionError

from dynaip_site import generated, notebooks
from dynaip_site.blocks import SHOWN, Block, blocks_of
from dynaip_site.running import BlockFailed, run_page
from dynaip_site.tables import plain_bars

RUN = os.environ.get("DYNAIP_DOCS_RUN") == "1"
LONGEST = 60
"""Lines of output that a page shows."""
LOG = logging.getLogger("mkdocs.hooks.dynaip")
"""A warning here fails a strict build at its end: a build of many minutes tells all that is wrong, not the first alone."""
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that nobody writes."""
    for address, make in generated.PAGES.items():
        files.append(File.generated(config, address, content=make()))
    for path in notebooks.NOTEBOOKS:
        try:
            content = notebooks.page_of(path, run=RUN)
        except CellExecutionError as error:
            LOG.warning("%s: %s", path.name, ANSI.sub("", str(error)))
            content = notebooks.page_of(path, run=False)
        files.append(File.generated(config, notebooks.address(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as the site reads it, with what its blocks print."""
    return plain_bars(as_run(markdown, page))


def as_run(markdown: str, page: Any) -> str:
    """Run a page that is written by hand, and put what its blocks print and draw below them."""
    written = page.file.generated_by is None
    if not (RUN and written and any(block.runs for block in blocks_of(markdown))):
        return SHOWN.sub("", markdown)
    with tempfile.TemporaryDirectory() as folder:
        try:
            printed = run_page(markdown, Path(folder), name=page.file.src_uri)
        except BlockFailed as error:
            LOG.warning("%s", ANSI.sub("", str(error)))
            return SHOWN.sub("", markdown)
        shown = with_output(markdown, printed)
        return SHOWN.sub(lambda found: picture(Path(folder) / found["file"], found["text"] or ""), shown)


def with_output(markdown: str, printed: list[tuple[Block, str]]) -> str:
    """The page with what each block printed below it."""
    for block, text in reversed(printed):
        lines = ANSI.sub("", text).rstrip().splitlines()
        if lines:
            kept = lines[:LONGEST] + ([f"… {len(lines) - LONGEST} lines more"] if len(lines) > LONGEST else [])
            told = "\n".join(["", "", "```text", *kept, "```"])
            markdown = markdown[: block.end] + told + markdown[block.end :]
    return markdown


def picture(path: Path, text: str) -> str:
    """A picture that a block made, inside the page; small ones enlarged without smoothing."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"![{text}](data:image/png;base64,{data}){{ .made }}\n\n*{text}*"
        if text
        else f"![](data:image/png;base64,{data}){{ .made }}"
    )
