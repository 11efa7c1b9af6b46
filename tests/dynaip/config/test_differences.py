"""Differences between configs: each once, at its path, with both values."""

from __future__ import annotations

from dynaip.config.differences import differences


def test_each_difference_has_its_path_and_both_values() -> None:
    before = {"training": {"steps": 4, "seed": 0}, "suites": ["a"], "only": 1}
    now = {"training": {"steps": 8, "seed": 0}, "suites": ["a", "b"], "more": 2}
    assert list(differences(before, now)) == [
        ("more", None, 2), ("only", 1, None), ("suites", ["a"], ["a", "b"]), ("training.steps", 4, 8),
    ]  # fmt: skip


def test_of_another_component_its_name_says_it_all() -> None:
    before = {"fusion": {"use": "builtin:hmoe", "router": "token", "hidden": 8}}
    now = {"fusion": {"use": "builtin:concat", "width": 1}}
    assert list(differences(before, now)) == [("fusion.use", "builtin:hmoe", "builtin:concat")]
    assert not list(differences(now, now))
