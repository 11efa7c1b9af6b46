"""The answer of an ablation in words, made from its figures alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynaip.ablation.statistics import Bootstrap, Difference, Estimate

LABELS = {"cp_pf": "CP·PF", "cp": "CP", "pf": "PF"}
"""How the figures that every report knows are written; other metrics are called as their columns."""


@dataclass(frozen=True)
class Finding:
    """What one suite says: one headline and the sentences that qualify it."""

    suite: str
    headline: str
    details: tuple[str, ...]
    winner: str
    decided: bool
    """Whether the winner can be told apart from the runner-up."""
    metric: str = "cp_pf"
    """What arms are compared by."""


def describe(estimate: Estimate, *, signed: bool = False) -> str:
    """A figure with its interval, e.g. ``0.512 (0.495 to 0.529)``."""
    form = "+.3f" if signed else ".3f"
    if math.isnan(estimate.low):
        return minus(f"{estimate.value:{form}} (too few cases for an interval)")
    return minus(f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})")


def minus(text: str) -> str:
    """Numbers with a true minus sign."""
    return text.replace("-", "−")


def label(metric: str) -> str:
    """How a metric is written."""
    return LABELS.get(metric, metric)


def find(
    boot: Bootstrap, contenders: Sequence[str], reference: str | None = None, metric: str = "cp_pf"
) -> Finding | None:
    """Who leads a suite, by how much over the runner-up and over ``reference``, the first arm; None without scores."""
    ranking = boot.ranking(contenders, metric)
    if not ranking:
        return None
    winner = ranking[0]
    suite, lead = boot.scores.suite, boot.estimate(winner, metric)
    if len(ranking) == 1:
        return Finding(suite, f"Only {winner} has scores: {label(metric)} {describe(lead)}.", (), winner, False, metric)
    gap = boot.difference(winner, ranking[1], metric)
    headline = (
        f"{winner} has the highest {label(metric)}, {describe(lead)}; {_verdict(gap, ranking[1], 'the runner-up ')}"
    )
    close = [name for name in ranking[2:] if not boot.difference(winner, name, metric).decided]
    cannot = "It cannot" if gap.decided else "Nor can it"
    details = [f"{cannot} be told apart from {_list(close)}."] if close else []
    if reference in ranking and reference not in (winner, ranking[1]):
        against = boot.difference(winner, reference, metric)
        verdict = _verdict(against, reference, "the first arm, ")
        details.append(verdict[0].upper() + verdict[1:])
    return Finding(suite, headline, tuple(details), winner, gap.decided, metric)


def _verdict(gap: Difference, other: str, role: str) -> str:
    amount = describe(gap, signed=True)
    if gap.decided:
        return f"that is {amount} over {role}{other}: the interval excludes zero."
    return f"it cannot be told apart from {role}{other}: the difference is {amount}."


def _list(names: Sequence[str], joint: str = "or") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {joint} {names[-1]}"


def summarise(findings: Sequence[Finding]) -> str:
    """One sentence over all suites."""
    if not findings:
        return "No arm has scores yet."
    clear = [finding for finding in findings if finding.decided]
    winners = list(dict.fromkeys(finding.winner for finding in findings))
    if len(winners) == 1 and len(clear) == len(findings):
        return f"{winners[0]} wins in every suite, and no interval against a runner-up holds zero."
    if len(winners) == 1:
        where = _list([finding.suite for finding in clear], "and") if clear else "no suite"
        highest = f"{winners[0]} has the highest {label(findings[0].metric)} in every suite"
        return f"{highest}; it is clear of the runner-up in {where}."
    if not clear:
        return f"No arm wins clearly: {_list(winners, 'and')} lead, but cannot be told apart from their runners-up."
    return (
        "No arm leads everywhere: "
        + "; ".join(
            f"{finding.winner} leads in {finding.suite}" + ("" if finding.decided else ", not clearly")
            for finding in findings
        )
        + "."
    )
