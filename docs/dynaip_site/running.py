"""Runs the blocks of one page from the top: our commands in this process, other shell lines in bash, Python in one namespace."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .blocks import Block, blocks_of

ROOT = Path(__file__).parents[2]
SHARED = ("examples", "plugins", "notebooks", "docs")
"""What a reader has at hand who stands in a clone."""
_SHELL = re.compile(r"[|<>;&$`~]")


class BlockFailed(AssertionError):
    """A block of a page did not run: page, line and what it said."""


@contextlib.contextmanager
def reader(folder: Path) -> Iterator[Path]:
    """Stand in a folder that looks like a clone; what pages write stays there."""
    for name in SHARED:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


@contextlib.contextmanager
def own_registry() -> Iterator[None]:
    """A registry of its own: what one page registers, another does not find."""
    import dynaip.registry as home

    before, home._current = home._current, [home.Registry()]
    try:
        yield
    finally:
        home._current = before


def run_page(
    markdown: str, folder: Path, *, name: str, wanted: Callable[[Block], bool] | None = None
) -> list[tuple[Block, str]]:
    """Run the blocks of a page in a folder and give what each printed; ``BlockFailed`` names the first that fails."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: list[tuple[Block, str]] = []
    with reader(folder), own_registry():
        for block in blocks_of(markdown):
            if wanted is None or wanted(block):
                if block.kind == "file":
                    write_file(Path(block.what), block.text)
                elif block.runs:
                    printed.append((block, run_block(block, namespace, name)))
    return printed


def write_file(path: Path, text: str) -> None:
    """Write a file that a page shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_block(block: Block, namespace: dict[str, Any], name: str) -> str:
    """Run one block; what it prints, without the notes on stderr."""
    said, noted = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(noted):
            if block.language == "python":
                exec(compile(block.text, f"{name}:{block.line}", "exec"), namespace)
            else:
                run_shell(block.text, said)
    except (Exception, SystemExit) as error:
        told = f"{error!r}\n{said.getvalue()}\n{noted.getvalue()}"
        raise BlockFailed(f"{name}, line {block.line}: {told}\n{block.text}") from error
    return said.getvalue()


def run_shell(text: str, said: io.StringIO) -> None:
    """Run the lines of a shell block."""
    lines = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if not all(line.startswith("dynaip ") and not _SHELL.search(_unquoted(line)) for line in lines):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        said.write(done.stdout)
        if done.returncode:
            raise RuntimeError(f"exit {done.returncode}: {done.stderr}")
        return
    from dynaip.cli.app import main

    for line in lines:
        if code := main(shlex.split(line, comments=True)[1:]):
            raise RuntimeError(f"exit {code}: {line}")


def _unquoted(line: str) -> str:
    """The line without what stands in quotes, and without a comment at its end."""
    return re.sub(r"\"[^\"]*\"|'[^']*'|\s#.*$", "", line)
