"""Tables that leave the page: as CSV, Markdown and LaTeX, with the same figures."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaip.ablation.answer import minus
from dynaip.ablation.statistics import Estimate
from dynaip.atomic import write_text
from dynaip.plain import name_from, one_plain_line
from dynaip.report.tables import write_csv
from dynaip.statistics.hierarchical import Gap

FOLDER = "tables"
"""Below the directory of an ablation."""
LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$", "−": "$-$", "×": r"$\times$", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class ReportTable:
    """A table of the report: cells are text, numbers, or figures with an interval (``Estimate``, ``Gap``)."""

    name: str
    """Of its files."""
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def tidy(self) -> list[dict[str, Any]]:
        """One mapping a row; a figure has columns of its own for the ends of its interval."""
        wide = {place for row in self.rows for place, cell in enumerate(row) if isinstance(cell, (Estimate, Gap))}
        return [_spread(self.columns, row, wide) for row in self.rows]

    def markdown(self) -> str:
        """A pipe table below its caption."""
        lines = [self.columns, ["---"] * len(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        body = "\n".join("| " + " | ".join(_pipes(cell) for cell in line) + " |" for line in lines)
        return f"{one_plain_line(self.caption)}\n\n{body}\n"

    def latex(self) -> str:
        """A table for ``booktabs``; nothing in it is taken for a command."""
        words = [any(isinstance(row[place], str) for row in self.rows) for place in range(len(self.columns))]
        spans = "l" + "".join("l" if each else "r" for each in words[1:])
        head, *body = [self.columns, *([_text(cell) for cell in row] for row in self.rows)]
        lines = [" & ".join(_latex(cell) for cell in line) + r" \\" for line in (head, *body)]
        inside = "\n".join(["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"])
        return (f"\\begin{{table}}\n\\centering\n\\caption{{{_latex(self.caption)}}}\n\\begin{{tabular}}{{{spans}}}\n{inside}\n"
                "\\end{tabular}\n\\end{table}\n")  # fmt: skip


def write_tables(directory: Path, tables: Sequence[ReportTable]) -> list[Path]:
    """Write every table three times; give the paths. Tables of the same name are numbered."""
    written: list[Path] = []
    taken: set[str] = set()
    for table in tables:
        stem = name_from(table.name, "table")
        while stem in taken:
            stem += "_"
        taken.add(stem)
        path = directory / FOLDER / f"{stem}.csv"
        write_csv(path, table.tidy())
        write_text(path.with_suffix(".md"), table.markdown())
        write_text(path.with_suffix(".tex"), table.latex())
        written += [path, path.with_suffix(".md"), path.with_suffix(".tex")]
    return written


def _spread(columns: Sequence[str], row: Sequence[Any], wide: Collection[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, (name, cell) in enumerate(zip(columns, row, strict=True)):
        figure = isinstance(cell, (Estimate, Gap))
        found[name] = cell.value if figure else cell
        if place in wide:
            found |= {f"{name} low": cell.low if figure else None, f"{name} high": cell.high if figure else None}
    return found


def _text(cell: Any) -> str:
    if isinstance(cell, (Estimate, Gap)):
        sign = "+" if isinstance(cell, Gap) else ""
        ends = "" if math.isnan(cell.low) else f" ({cell.low:{sign}.3f} to {cell.high:{sign}.3f})"
        return minus(f"{cell.value:{sign}.3f}{ends}") if math.isfinite(cell.value) else "–"
    if isinstance(cell, float):
        return minus(f"{cell:.3g}") if math.isfinite(cell) else "–"
    return "–" if cell is None else one_plain_line(f"{cell:,}" if isinstance(cell, int) else str(cell))


def _pipes(text: str) -> str:
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", one_plain_line(text))


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in one_plain_line(text))
