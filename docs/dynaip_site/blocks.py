"""Blocks of code in a page, and the marks above them that say what becomes of them.

A mark is a comment on the line above the fence. Without one a block of Python or bash is run:

- ``<!-- not run: REASON -->``: it is not, and why;
- ``<!-- slow -->``: it is run by ``make docs`` alone;
- ``<!-- file: NAME -->``: it is written to that file first; it is not run.

Below a block ``<!-- shows: FILE | WHAT TO SEE -->`` stands for a picture that the block made. A table that
``findings.py`` makes stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RUN = ("python", "bash")
"""Languages that are run."""
_MARK = r"<!-- *(?P<kind>not run|slow|file)(?:: *(?P<what>.+?))? *-->\n"
_BLOCK = re.compile(rf"^(?:{_MARK})?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"^<!-- *shows: *(?P<file>[^|\n]+?) *(?:\| *(?P<text>.+?))? *-->$", re.MULTILINE)
TABLE = re.compile(
    r"^(?P<begin><!-- table: (?P<name>[\w-]+) -->\n)(?:\|.*\n)*(?P<end><!-- end of table -->)$", re.MULTILINE
)
ANY_MARK = re.compile(r"^<!-- *(\w[\w ]*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, and what becomes of it."""

    line: int
    end: int
    """Offset behind the closing fence."""
    language: str
    text: str
    kind: str = ""
    what: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is code that is run, now or by ``make docs``."""
        return self.language in RUN and self.kind in ("", "slow")

    @property
    def quick(self) -> bool:
        """Whether ``make test`` has time for it: files are always written."""
        return self.kind == "file" or (self.runs and self.kind != "slow")


def blocks_of(markdown: str) -> list[Block]:
    """All fenced blocks of a page that name their language, from the top."""
    return [
        Block(
            line=markdown.count("\n", 0, found.start()) + 1,
            end=found.end(),
            language=found["language"],
            text=found["text"],
            kind=found["kind"] or "",
            what=found["what"] or "",
        )
        for found in _BLOCK.finditer(markdown)
    ]


def complaints(markdown: str) -> list[str]:
    """What is wrong with the marks of a page: a reason or a name that lacks, a mark that stands over nothing."""
    found = blocks_of(markdown)
    wrong = [
        f"line {block.line}: {block.kind}: says nothing"
        for block in found
        if block.kind in ("not run", "file") and not block.what
    ]
    marks = [mark.strip() for mark in ANY_MARK.findall(markdown)]
    known = [block.kind for block in found if block.kind] + ["shows"] * len(SHOWN.findall(markdown))
    known += ["table", "end of table"] * len(TABLE.findall(markdown))
    strange = sorted(marks) != sorted(known)
    return wrong + ([f"marks {sorted(marks)}, of which only {sorted(known)} stand over a block"] if strange else [])


def pages(root: Path) -> list[Path]:
    """README and every page that is written by hand."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
