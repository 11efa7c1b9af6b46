"""How many sections of the report are prepared at a time."""

from __future__ import annotations

from typing import Any

import pytest

from dynaip.cli.ablate import at_a_time


@pytest.mark.parametrize(
    ("executor", "jobs"),
    [
        (None, 6),
        ("local", 6),
        ("builtin:local", 6),
        ({"use": "local"}, 6),
        ({"use": "local", "jobs": 3}, 3),
        ("slurm", 1),
        ({"use": "ray", "jobs": 3}, 1),
    ],
)
def test_as_many_as_arms_where_those_ran_here(executor: str | dict[str, Any] | None, jobs: int) -> None:
    assert at_a_time(6, executor) == jobs
