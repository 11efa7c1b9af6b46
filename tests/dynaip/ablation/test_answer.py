"""The words say what the figures say."""

from __future__ import annotations

import numpy as np

from dynaip.ablation.answer import find, summarise
from dynaip.ablation.statistics import Bootstrap, SuiteScores


def boot(suite: str = "single", **means: float) -> Bootstrap:
    hard = np.random.default_rng(0).normal(0, 0.05, size=100)
    cp = np.stack(
        [mean + hard + np.random.default_rng(k + 1).normal(0, 0.02, 100) for k, mean in enumerate(means.values())]
    )
    values = {"cp": cp[:, None], "pf": np.ones((len(means), 1, 100))}
    return Bootstrap(SuiteScores(suite, tuple(means), (0,), tuple(map(str, range(100))), values))


def test_a_clear_winner_is_called_clear() -> None:
    found = find(boot(a=0.6, b=0.5, c=0.3), ["a", "b", "c"], reference="c")
    assert found is not None
    assert found.winner == "a"
    assert found.decided
    assert "excludes zero" in found.headline
    assert "the runner-up b" in found.headline
    assert any("over the first arm, c" in detail and "excludes zero" in detail for detail in found.details)


def test_a_near_tie_cannot_be_told_apart() -> None:
    found = find(boot(a=0.5, b=0.5, c=0.5), ["a", "b", "c"])
    assert found is not None
    assert not found.decided
    assert "cannot be told apart from the runner-up" in found.headline
    assert found.details[0].startswith("Nor can it be told apart from")


def test_baselines_never_win() -> None:
    found = find(boot(a=0.5, shipped=0.9), ["a"])
    assert found is not None
    assert found.winner == "a"
    assert found.headline.startswith("Only a has scores")


def test_no_scores_no_finding() -> None:
    assert find(boot(a=0.5), []) is None
    assert summarise([]) == "No arm has scores yet."


def test_summary_over_suites() -> None:
    clear = find(boot("single", a=0.6, b=0.5), ["a", "b"])
    tie = find(boot("multi2", a=0.5, b=0.5), ["a", "b"])
    other = find(boot("multi3", a=0.3, b=0.5), ["a", "b"])
    assert clear
    assert tie
    assert other
    assert "wins in every suite" in summarise([clear])
    assert "b leads in multi3" in summarise([clear, other])
    assert "a leads in single" in summarise([clear, other])
    tied = summarise([clear, tie])
    assert ("clear of the runner-up in single" in tied) if tie.winner == "a" else ("not clearly" in tied)
