"""Tables of effects as text: CSV for programs, Markdown for pages, LaTeX (booktabs) for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from dynaip.errors import InputError
from dynaip.plain import cell
from dynaip.report.effects import Effect

HEAD = ("suite", "metric", "arm", "n", "value", "difference", "p (Holm)", "verdict")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def as_text(found: Sequence[Effect], form: str) -> str:
    """The table in a format of ``FORMATS``; ``InputError`` for another."""
    if form not in FORMATS:
        raise InputError(f"--format {form}: choose one of {', '.join(FORMATS)}")
    return FORMATS[form](found)


def to_csv(found: Sequence[Effect]) -> str:
    """All columns as numbers, in full."""
    text = io.StringIO(newline="")
    rows = [each.row() for each in found]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(HEAD), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value != value else cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def to_markdown(found: Sequence[Effect]) -> str:
    """Rounded to three digits, intervals in brackets, and what they are below the table."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(part.replace('|', chr(92) + '|') for part in shown(each))} |" for each in found]
    return "\n".join([*lines, "", caption(found)]) + "\n"


def to_latex(found: Sequence[Effect]) -> str:
    """A ``tabular`` with rules of booktabs; a rule between suites and metrics."""
    lines = [r"\begin{tabular}{lllrllll}", r"\toprule", " & ".join(map(_tex, HEAD)) + r" \\", r"\midrule"]
    before = None
    for each in found:
        group = (each.suite, each.metric)
        if before not in (None, group):
            lines.append(r"\midrule")
        lines.append(" & ".join(map(_tex, shown(each))) + r" \\")
        before = group
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {caption(found)}"]) + "\n"


FORMATS: dict[str, Callable[[Sequence[Effect]], str]] = {"csv": to_csv, "markdown": to_markdown, "latex": to_latex}


def shown(each: Effect) -> list[str]:
    """One row as people read it."""
    difference, p = "", ""
    if each.against:
        difference = (
            ""
            if each.difference != each.difference
            else f"{each.difference:+.3f} {_interval(each.difference_low, each.difference_high)}".strip()
        )
        p = "" if each.p_holm != each.p_holm else "<0.001" if each.p_holm < 0.001 else f"{each.p_holm:.3f}"
    value = f"{each.value:.3f} {_interval(each.low, each.high)}".strip()
    return [each.suite, each.metric, each.arm, str(each.cases), value, difference, p, each.verdict]


def caption(found: Sequence[Effect]) -> str:
    """What the columns are, in one line."""
    against = next((each.against for each in found if each.against), "")
    compared = sum(1 for each in found if each.against and each.p == each.p)
    seeds = "subjects and training seeds" if any(each.seeds > 1 for each in found) else "subjects"
    return (
        f"95 % intervals of a bootstrap over {seeds}; differences are paired, from {against or 'no other arm'}; "
        f"p by Student's t, adjusted for {compared} differences (Holm)."
    )


def _interval(low: float, high: float) -> str:
    return f"[{low:.3f}, {high:.3f}]" if low == low else ""


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)
