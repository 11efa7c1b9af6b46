"""What each axis of an ablation does: paired main effects and interactions with intervals, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dynaip.ablation.answer import label, minus
from dynaip.ablation.axes import Contrast, Interaction, axes_of, contrasts, interactions
from dynaip.ablation.statistics import PRODUCTS, SuiteScores
from dynaip.statistics.comparisons import Verdict, holm, verdict
from dynaip.statistics.hierarchical import Gap, Hierarchy
from dynaip.statistics.intervals import Floats

WORDS: Mapping[str, str] = {"higher": "raises", "lower": "lowers", "equivalent": "hardly changes"}


@dataclass(frozen=True)
class AxisEffect:
    """One contrast in one suite: the mean over its pairs of arms of the paired difference."""

    suite: str
    contrast: Contrast
    gap: Gap
    parts: Mapping[str, Gap]
    """Metrics whose product the compared one is -> the same difference of each; for reading, not corrected."""
    adjusted: float = float("nan")
    """P-value by Holm's method over all main effects in all suites."""
    verdict: Verdict = "open"


@dataclass(frozen=True)
class InteractionEffect:
    """How much a contrast changes with the level of a second axis, in one suite."""

    suite: str
    interaction: Interaction
    gap: Gap
    adjusted: float = float("nan")
    verdict: Verdict = "open"


@dataclass(frozen=True)
class Effects:
    """All effects of an ablation on one metric."""

    metric: str
    main: tuple[AxisEffect, ...]
    between: tuple[InteractionEffect, ...]


def effects(
    suites: Sequence[SuiteScores], configs: Mapping[str, Mapping[str, Any]], metric: str = "cp_pf",
    subjects: Mapping[str, str] | None = None,
) -> Effects:  # fmt: skip
    """Main effects and interactions of arms (name -> resolved config) on a metric, in every suite that has it.

    ``subjects`` names the subject of each case where that is known: cases of one subject are drawn together.
    """
    axes = axes_of(configs)
    main, between = contrasts(axes), interactions(axes)
    found = [each for contrast in main for suite in suites if (each := _main(suite, contrast, metric, subjects))]
    crossed = [each for one in between for suite in suites if (each := _between(suite, one, metric, subjects))]
    return Effects(metric, tuple(_corrected(found)), tuple(_corrected(crossed)))


def _corrected(found: Sequence[Any]) -> list[Any]:
    adjusted = holm([each.gap.p for each in found])
    return [replace(each, adjusted=p, verdict=verdict(each.gap, p)) for each, p in zip(found, adjusted, strict=True)]


def _main(suite: SuiteScores, contrast: Contrast, metric: str, subjects: Mapping[str, str] | None) -> AxisEffect | None:
    pairs = [pair for pair in contrast.pairs if _there(suite, pair, metric)]
    if not pairs:
        return None
    terms = [(sign / len(pairs), arm) for pair in pairs for sign, arm in zip((1, -1), pair, strict=True)]
    within = tuple(words for pair, words in zip(contrast.pairs, contrast.within, strict=False) if pair in pairs)
    parts = {part: _gap(suite, terms, part, subjects) for part in PRODUCTS.get(metric, ())}
    kept = replace(contrast, pairs=tuple(pairs), within=within)
    return AxisEffect(suite.suite, kept, _gap(suite, terms, metric, subjects), parts)


def _between(
    suite: SuiteScores, one: Interaction, metric: str, subjects: Mapping[str, str] | None
) -> InteractionEffect | None:
    if not _there(suite, [arm for _, arm in one.terms], metric):
        return None
    return InteractionEffect(suite.suite, one, _gap(suite, one.terms, metric, subjects))


def _there(suite: SuiteScores, arms: Iterable[str], metric: str) -> bool:
    names = PRODUCTS.get(metric, (metric,))
    return set(names) <= set(suite.values) and all(arm in suite.arms for arm in arms)


def _gap(
    suite: SuiteScores, terms: Iterable[tuple[float, str]], metric: str, subjects: Mapping[str, str] | None
) -> Gap:
    def parts(arm: str) -> list[Floats]:
        return [suite.values[name][suite.arms.index(arm)] for name in PRODUCTS.get(metric, (metric,))]

    known = [subjects.get(case, case) for case in suite.cases] if subjects else ()
    hierarchy = Hierarchy(len(suite.seeds), len(suite.cases), known)
    return hierarchy.contrast([(weight, parts(arm)) for weight, arm in terms])


def answer(found: Effects, *, clear: bool = False) -> list[str]:
    """One sentence a contrast, over all suites, in the order of the axes; none where no two arms differ in one thing alone.

    ``clear`` leaves out what is told apart in no suite.
    """
    by_contrast: dict[tuple[str, str, str], list[AxisEffect]] = {}
    for effect in found.main:
        key = effect.contrast.axis, effect.contrast.level, effect.contrast.other
        by_contrast.setdefault(key, []).append(effect)
    told = [same for same in by_contrast.values() if not clear or any(each.verdict != "open" for each in same)]
    sentences = [_sentence(same, found.metric, len(found.main)) for same in told]
    crossed = any(each.verdict != "open" for each in found.between) if clear else bool(found.between)
    return sentences + ([_interactions(found)] if crossed else [])


def _sentence(same: Sequence[AxisEffect], metric: str, tried: int) -> str:
    contrast, name = same[0].contrast, label(metric)
    clear = {kind: [each for each in same if each.verdict == kind] for kind in WORDS}
    said = [f"{WORDS[kind]} {name} in {_where(each, same)}" for kind, each in clear.items() if each]
    before = [each for each in same if each.verdict == "open" and each.gap.decided]
    rest = [each for each in same if each.verdict == "open" and not each.gap.decided]
    if rest:
        said.append(f"makes no difference that can be told in {_where(rest, same)}")
    if before:
        why = f"is not clear in {_where(before, same)}, whose intervals exclude zero before {tried} comparisons are allowed for"
        said.append(why if len(before) > 1 else why.replace("whose intervals exclude", "whose interval excludes"))
    return f"{contrast.axis}: {contrast.level} instead of {contrast.other} {_list(said)}."


def _where(some: Sequence[AxisEffect], every: Sequence[AxisEffect]) -> str:
    figures = [f"{each.suite} ({minus(f'{each.gap.value:+.3f}')})" for each in some]
    if len(some) == len(every) > 1:
        return f"every suite: {_list(figures)}"
    return _list(figures)


def _interactions(found: Effects) -> str:
    told = [each for each in found.between if each.verdict != "open"]
    if not told:
        return "That the axes act on each other cannot be told: no interaction is clear of zero."
    said = [
        f"in {each.suite}, {one.first.level} − {one.first.other} is {abs(each.gap.value):.3f} {each.verdict} under {one.level} "
        f"than under {one.other}"
        for each in told
        for one in [each.interaction]
    ]
    return f"The axes act on each other in {label(found.metric)}: {'; '.join(said)}."


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
