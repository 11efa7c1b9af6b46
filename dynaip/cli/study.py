"""``dynaip study``: a page on which people compare arms, and what their answers say."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.cli.output import echo

if TYPE_CHECKING:
    from dynaip.study.analysis import Opinion

SHARE = 0.55
"""The preference that the power before is told for: 55 of 100 would take one arm's picture."""


def study(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="An ablation; with --analyze the folder of answers.")
    ],
    analyze: Annotated[bool, typer.Option("--analyze", help="Say what the raters' answers in FOLDER say.")] = False,
    arm: Annotated[list[str] | None, typer.Option("--arm", help="Only these arms. Repeatable.")] = None,
    question: Annotated[
        list[str] | None, typer.Option("--question", help="cp, pf, overall; all three by default. Repeatable.")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of pictures a rater sees.")] = 30,
    checks: Annotated[int, typer.Option("--checks", min=0, help="Pairs that only attention answers.")] = 3,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The page's key (--analyze).")] = None,
    missed: Annotated[int, typer.Option("--missed", min=0, help="Checks a rater may miss (--analyze).")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the pairs; of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write.")] = None,
) -> None:
    """Write a page that asks people which arm's picture is better, or analyse the answers that they sent back."""
    if analyze:
        _analyse(folder, key, missed, seed, out or folder / "results.json")
    else:
        _write(folder, arm or [], question or [], pairs, checks, seed, out or folder / "study.html")


def _write(
    folder: Path, wanted: list[str], questions: list[str], count: int, checks: int, seed: int, out: Path
) -> None:
    from dynaip.errors import InputError
    from dynaip.report.directory import AblationDirectory
    from dynaip.statistics.power import raters_needed
    from dynaip.study.design import QUESTIONS, Asked, arms_of, draw_pairs
    from dynaip.study.page import write_study

    directory = AblationDirectory.read(folder)
    asked: list[Asked] = [name for name in QUESTIONS if name in questions or not questions]
    if unknown := set(questions) - set(QUESTIONS):
        raise InputError(f"--question {min(unknown)}: choose of {', '.join(QUESTIONS)}")
    arms = arms_of(directory, wanted)
    drawn = draw_pairs(directory, arms, count, checks=checks, seed=seed)
    key = write_study(out, drawn, asked, f"{directory.title}: which picture is better?", seed)
    real = sum(not pair.check for pair in drawn)
    each = max(1, real // comb(len(arms), 2))
    if real < count:
        echo(f"{real} pairs, not {count}: there are no more pictures of two arms of one case")
    needed = raters_needed(SHARE, each)
    echo(
        f"{real} pairs, {each} of every two arms: about {needed} raters tell a preference of 55 to 45 from none (power 80 %)"
    )
    echo(f"wrote {out} (for raters) and {key} (keep it: it says which arm is which)")


def _analyse(folder: Path, key: Path | None, missed: int, seed: int, out: Path) -> None:
    from dynaip.atomic import write_json
    from dynaip.errors import InputError
    from dynaip.reading import mapping
    from dynaip.study.analysis import outcomes, read_answers

    found = [key] if key else sorted({*folder.glob("*.key.json"), *folder.parent.glob("*.key.json")})
    if len(found) != 1 or not found[0].is_file():
        raise InputError(
            f"{len(found)} keys lie in or beside {folder}: name the one that was written with the page by --key"
        )
    about = mapping(found[0])
    if not {"study", "pairs", "questions"} <= about.keys():
        raise InputError(f"{found[0]} is no key of a study")
    raters = read_answers(folder, about, missed)
    said = outcomes(raters, about, seed=seed)
    for each in said:
        _show(each)
    write_json(out, {"study": about["study"], "raters": len(raters), "outcomes": [each.plain() for each in said]})
    echo(f"wrote {out}")


def _show(found: Opinion) -> None:
    from dynaip.cli.tables import show_table

    agreement = found.agreement
    echo(
        f"{found.question}: {found.raters} raters, {found.answers} answers, "
        f"agreement (Krippendorff's alpha) {_interval(agreement.value, agreement.low, agreement.high)}"
    )
    rows = [(each.arm, _interval(each.value, each.low, each.high)) for each in found.ranking.strengths]
    show_table(("arm", "log-strength (Bradley-Terry)"), rows)
    duels = [
        (f"{duel.one} over {duel.other}", _interval(duel.share, duel.low, duel.high), str(duel.answers), _number(p))
        for duel, p in zip(found.ranking.duels, found.p_holm, strict=True)
    ]
    show_table(("preferred", "share by the model", "answers", "p (Holm)"), duels)


def _interval(value: float, low: float, high: float) -> str:
    return f"{_number(value)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
