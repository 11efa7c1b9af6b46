"""Who is started again, and who is not, with an executor that plays back what jobs do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dynaip.ablation.driver import DrivenExecutor, Policy, State, drive
from dynaip.contracts import Executor, Job
from dynaip.contracts.work import LOST


class Played(DrivenExecutor):
    """Each start of a job plays its next list of states; ``room`` jobs at a time."""

    look = 0.0

    def __init__(self, room: int = 9, found: Sequence[str] = (), **plays: list[list[State]]) -> None:
        self.plays, self.room, self.found = plays, room, found
        self.now: dict[str, list[State]] = {name: plays[name].pop(0) for name in found}
        self.started: list[str] = []
        self.peak, self.closed = 0, False

    def start(self, jobs: Sequence[Job]) -> list[Job]:
        taken = list(jobs)[: self.room - len(self.now)]
        for job in taken:
            self.started.append(job.name)
            self.now[job.name] = self.plays[job.name].pop(0)
        self.peak = max(self.peak, len(self.now))
        return taken

    def state(self, job: Job) -> State:
        state = self.now[job.name].pop(0)
        if isinstance(state, int):
            del self.now[job.name]
        return state

    def stop(self, job: Job) -> None:
        raise AssertionError

    def finds(self, job: Job) -> bool:
        return job.name in self.found

    def close(self) -> None:
        self.closed = True


def jobs(*names: str) -> list[Job]:
    return [Job(name, ("true",), Path("log")) for name in names]


def driven(executor: Executor, *names: str) -> tuple[dict[str, int], list[str]]:
    heard: list[str] = []
    hear: Callable[[Job, str], None] = lambda job, what: heard.append(f"{job.name} {what}")  # noqa: E731
    return drive(executor, jobs(*names), on_change=hear), heard


def test_what_stopped_goes_on_and_what_was_lost_is_tried_again() -> None:
    played = Played(a=[["waiting", "running", 75], ["running", LOST], [0]], b=[["running", 1]], c=[[2]])
    codes, heard = driven(played, "a", "b", "c")
    assert codes == {"a": 0, "b": 1, "c": 2}
    assert [each for each in heard if each[0] == "a"] == ["a started", "a resumed", "a resumed", "a finished"]
    assert played.started.count("b") == played.started.count("c") == 1, "1 and 2 are final"
    assert played.closed


def test_losses_end() -> None:
    codes, _ = driven(played := Played(a=[[LOST] for _ in range(9)]), "a")
    assert codes == {"a": LOST}
    assert len(played.started) == 1 + Policy().losses


def test_a_job_that_stops_at_once_again_and_again_is_left_stopped() -> None:
    codes, _ = driven(played := Played(a=[[75] for _ in range(9)]), "a")
    assert codes == {"a": 75}
    assert len(played.started) == Policy().stops
    assert Policy().again([(75, 1.0), (75, 60.0), (75, 1.0)]), "it did something in between"


def test_never_more_than_there_is_room_for() -> None:
    played = Played(room=2, **{name: [["running", "running", 0]] for name in "abcde"})
    codes, _ = driven(played, *"abcde")
    assert set(codes.values()) == {0}
    assert (played.peak, played.started) == (2, list("abcde"))


def test_what_is_found_is_not_started() -> None:
    codes, heard = driven(played := Played(found=["a"], a=[["running", 0]], b=[[0]]), "a", "b")
    assert (codes, played.started) == ({"a": 0, "b": 0}, ["b"])
    assert heard[:1] == ["a started"]


def test_an_executor_with_a_loop_of_its_own_is_given_the_rest_again() -> None:
    class Own(Executor):
        rounds: list[list[str]] = []

        def run(self, jobs: Sequence[Job], *, on_change: Callable[[Job, str], None]) -> dict[str, int]:
            self.rounds.append([job.name for job in jobs])
            return {job.name: {"a": 0, "b": 1, "c": 75}[job.name] if len(self.rounds) == 1 else 0 for job in jobs}

    codes, _ = driven(Own(), "a", "b", "c")
    assert codes == {"a": 0, "b": 1, "c": 0}
    assert Own.rounds == [["a", "b", "c"], ["c"]]


def test_an_error_of_the_executor_closes_it() -> None:
    played = Played(a=[])
    with pytest.raises(IndexError):
        driven(played, "a")
    assert played.closed
