"""Several ablations in one report: their arms side by side, on the cases that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaip.errors import InputError
from dynaip.report.directory import AblationDirectory, ShownArm, ShownCase


@dataclass(frozen=True)
class JoinedAblation(AblationDirectory):
    """Ablations that were judged on the same cases; ``path`` is where their report goes."""

    joined: tuple[AblationDirectory, ...] = ()

    @property
    def title(self) -> str:
        """Names of all."""
        return " and ".join(each.title for each in self.joined)

    @property
    def question(self) -> str:
        """What they ask, each once."""
        return " ".join(dict.fromkeys(each.question for each in self.joined if each.question))

    @cached_property
    def arms(self) -> list[ShownArm]:
        """All arms, baselines last and once; an arm whose name is there twice says which ablation it is of."""
        own = [(each.title, arm) for each in self.joined for arm in each.arms if not arm.baseline]
        owners = {(title, arm.name) for title, arm in own}
        count = Counter(name for _, name in owners)
        arms = [replace(arm, name=f"{arm.name} ({title})") if count[arm.name] > 1 else arm for title, arm in own]
        beside = {arm.name: arm for each in reversed(self.joined) for arm in each.arms if arm.baseline}
        return [*arms, *beside.values()]

    @cached_property
    def cases(self) -> list[ShownCase]:
        """The cases of all, each once."""
        found = {(case.suite, case.id): case for each in reversed(self.joined) for case in each.cases}
        order = dict.fromkeys((case.suite, case.id) for each in self.joined for case in each.cases)
        return [found[key] for key in order]

    @property
    def case_rows(self) -> int:
        """As many as can be read: what is damaged is said by each ablation's own report."""
        return len(self.cases)

    @property
    def environment(self) -> dict[str, Any]:
        """Machines and versions of each."""
        return {each.title: each.environment for each in self.joined}


def join(directories: Sequence[Path], out: Path) -> JoinedAblation:
    """Open several ablations; ``InputError`` names two that were judged on other cases, or share none."""
    found = [AblationDirectory.read(each) for each in directories]
    titles = [each.title for each in found]
    if len(set(titles)) < len(titles):  # told apart by where they lie
        found = [replace(each, plan={**each.plan, "name": str(each.path)}) for each in found]
    for each in found[1:]:
        _check(found[0], each)
    return JoinedAblation(out, {}, tuple(found))


def _check(one: AblationDirectory, other: AblationDirectory) -> None:
    known = {(case.suite, case.id): case for case in one.cases}
    shared = [case for case in other.cases if (case.suite, case.id) in known]
    if one.cases and other.cases and not shared:
        raise InputError(f"{one.path} and {other.path} share no case, so that nothing of them can be compared")
    for case in shared:
        here = known[case.suite, case.id]
        if (here.prompt, here.seed) != (case.prompt, case.seed):
            raise InputError(
                f"{one.path} and {other.path} were judged on other cases: {case.id} of {case.suite} differs in prompt or seed"
            )
