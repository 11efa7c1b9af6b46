"""The judge against a server that works, misbehaves and dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynaip.errors import DynaIPError, InputError
from dynaip.judging.answers import Reply, understood
from dynaip.judging.asking import ask_all
from dynaip.notes import Note

pytest.importorskip("openai", reason="the extra judges is not installed")

from tests.plugins.metrics.vlm.conftest import KEY, picture, said, shown


def records(tmp_path: Path) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "records").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scores_are_means_by_case(server: Any, build: Any, cases: Any, images: Any, tmp_path: Path) -> None:
    """Truth: the server's score depends on what it is shown, and the test computes the same from the pictures."""

    def behave(number: int, body: dict[str, Any]) -> Any:
        return said({"reason": "seen", "score": int(np.asarray(shown(body)[-1]).sum()) % 5})

    server.behave = behave
    judge = build()
    scores = judge.score(cases, images)
    for image, row in zip(images, scores, strict=True):
        expected = int(np.asarray(image).sum()) % 5 / 4
        assert row == {"cp": expected, "cp_answered": 1.0, "pf": expected, "pf_answered": 1.0}
    assert len(server.calls) == 8
    call = next(body for body in server.calls if len(shown(body)) == 2)
    references = [np.asarray(case.references[0].image).tobytes() for case in cases]
    assert np.asarray(shown(call)[0]).tobytes() in references, "the reference comes first, pixel for pixel"
    assert call["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] == [0, 1, 2, 3, 4]
    assert {row["about"]["rubric"] for row in records(tmp_path)} == {"cp", "pf"}
    assert set(server.keys) == {f"Bearer {KEY}"}


def test_nothing_is_asked_twice_and_replay_asks_nothing(
    server: Any, build: Any, cases: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda number, body: said({"reason": "", "score": number % 5})
    first = build(repeats=2).score(cases, images)
    assert len(server.calls) == 16
    assert build(repeats=2).score(cases, images) == first and len(server.calls) == 16
    monkeypatch.delenv("OPENAI_API_KEY")
    assert build(repeats=2, replay=True).score(cases, images) == first
    with pytest.raises(DynaIPError, match="8 never asked"):
        build(repeats=2, replay=True, temperature=0.5).score(cases, images)
    assert len(server.calls) == 16


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ((429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}), 2),
        ((500, {}, {"error": {"message": "oops"}}), 2),
        ((503, {}, "no json of ours"), 2),
        ((200, {}, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"choi"), 2),
        ((200, {}, b""), 2),
        ((200, {}, {"unexpected": True}), 2),
        ((200, {}, [1, 2]), 2),
    ],
)  # fmt: skip
def test_what_passes_is_asked_again(
    fault: Any, calls: int, server: Any, build: Any, cases: Any, images: Any, tmp_path: Path
) -> None:
    server.behave = lambda number, body: fault if number == 0 else said({"reason": "", "score": 4})
    judge = build(rubrics=["pf"], concurrency=1)
    assert judge.score(cases[:1], images[:1]) == [{"pf": 1.0, "pf_answered": 1.0}]
    assert len(server.calls) == calls
    (row,) = records(tmp_path)
    assert row["state"] == "answered" and row["tries"] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Retry-After", "30"), ("retry-after-ms", "30000"), ("Retry-After", "300"),
        ("Retry-After", formatdate(time.time() + 3600 * 24 * 365, usegmt=True)),
    ],
    ids=["seconds", "milliseconds", "minutes", "date"],
)  # fmt: skip
def test_a_server_that_asks_to_wait_is_obeyed(
    name: str, value: str, server: Any, build: Any, cases: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("dynaip_plugins.metrics.vlm.model.ask_all", partial(ask_all, sleep=waited.append))
    limited = 429, {name: value}, {"error": {"message": "slow down"}}
    server.behave = lambda number, body: said({"reason": "", "score": 2}) if number else limited
    (row,) = build(rubrics=["pf"], concurrency=1).score(cases[:1], images[:1])
    assert row["pf"] == 0.5 and waited == [{"30": 30, "30000": 30, "300": 300}.get(value, 600)]


def test_a_slow_server_is_left_and_asked_again(server: Any, build: Any, cases: Any, images: Any) -> None:
    def behave(number: int, body: dict[str, Any]) -> Any:
        if number == 0:
            time.sleep(1.2)
        return said({"reason": "", "score": 2})

    server.behave = behave
    (row,) = build(rubrics=["pf"], timeout=0.4, concurrency=1).score(cases[:1], images[:1])
    assert row["pf"] == 0.5 and len(server.calls) == 2


STATES = {
    "refused": [said(None, refusal="no"), said("I'm sorry, I can't help with that."), said("", "content_filter")],
    "malformed": [
        said({"reason": "", "score": 7}), said({"reason": "", "score": 2.5}), said({"reason": "", "score": "3"}),
        said({"reason": "", "score": True}), said("four"), said({"reason": ""}), said('Was {"score": 1}, is {"score": 2}.'),
        said('{"reason": {"score": 2}, "score": 4'), said('{"reason": "th', "length"), said("[3]"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("state", "fault"), [(state, fault) for state, found in STATES.items() for fault in found])
def test_states_are_no_zeros(
    state: str, fault: Any, server: Any, build: Any, cases: Any, images: Any, tmp_path: Path
) -> None:
    def behave(number: int, body: dict[str, Any]) -> Any:
        return fault if "number 1" in str(body) else said({"reason": "", "score": 4})

    server.behave = behave
    with pytest.raises(DynaIPError, match=rf"3 of 4 questions \(1 {state}\), and coverage asks for 95%") as caught:
        build(rubrics=["pf"]).score(cases, images)
    assert "\n" not in str(caught.value) and "change how is asked (structured" in str(caught.value)
    with pytest.warns(Note, match=f"1 {state}"):
        rows = build(rubrics=["pf"], coverage=0.7).score(cases, images)
    assert [row["pf_answered"] for row in rows] == [1, 0, 1, 1]
    assert np.isnan(rows[1]["pf"]) and rows[0]["pf"] == 1.0
    assert len(server.calls) == 4, "what was said stays said"
    assert sorted(row["state"] for row in records(tmp_path)) == sorted([state, *["answered"] * 3])


def test_failed_ones_are_asked_again_by_the_next_run(server: Any, build: Any, cases: Any, images: Any) -> None:
    down = (500, {}, {"error": {"message": "down"}})
    server.behave = lambda number, body: down if "number 1" in str(body) else said({"reason": "", "score": 4})
    with pytest.raises(DynaIPError, match="1 failed"):
        build(rubrics=["pf"], tries=2).score(cases, images)
    assert len(server.calls) == 5
    server.behave = lambda number, body: said({"reason": "", "score": 4})
    assert [row["pf"] for row in build(rubrics=["pf"]).score(cases, images)] == [1.0] * 4
    assert len(server.calls) == 6


def test_a_server_that_is_down_is_not_asked_for_ever(server: Any, build: Any, images: Any, cases: Any) -> None:
    server.behave = lambda number, body: (500, {}, {"error": {"message": "down"}})
    with pytest.raises(DynaIPError, match="8 questions in a row failed, the last one with: 500"):
        build(repeats=10, tries=1, concurrency=1).score(cases, images)
    assert len(server.calls) == 8


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_ends_it_at_once_and_is_never_written(
    status: int, server: Any, build: Any, cases: Any, images: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filler = "x" * 262  # the message is cut behind 300 letters, within the key
    message = f"Incorrect API key provided: {filler} {KEY}" if status == 401 else f"no right: {KEY}"
    server.behave = lambda number, body: (status, {}, {"error": {"message": message}})
    with pytest.raises(InputError, match=f"answers {status}") as caught:
        build(concurrency=1).score(cases, images)
    assert len(server.calls) == 1
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY[:6] not in str(caught.value) + written + "".join(capfd.readouterr())


def test_a_key_that_an_answer_repeats_is_not_kept(
    server: Any, build: Any, cases: Any, images: Any, tmp_path: Path
) -> None:
    server.behave = lambda number, body: (
        said({"reason": f"your key is {KEY}", "score": 2}) if number else said(None, refusal=f"{KEY} may not ask")
    )
    build(rubrics=["pf"], coverage=0.5).score(cases, images)
    assert len(records(tmp_path)) == 4
    assert KEY not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_key_goes_where_the_environment_says_alone(
    server: Any, build: Any, cases: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    build(base_url=server.url, rubrics=["pf"]).score(cases[:1], images[:1])
    assert server.keys == ["Bearer none"]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(InputError, match=r"pictures would go to https://evil.example/v1: .*OPENAI_BASE_URL"):
        build(base_url="https://evil.example/v1")
    with pytest.raises(InputError, match="holds no name, password or key"):
        build(base_url="http://user:secret@localhost/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="set OPENAI_API_KEY"):
        build().score(cases, images)


def test_estimate_and_caps(server: Any, build: Any, cases: Any, images: Any) -> None:
    priced = {"prices": [2.0, 10.0], "rubrics": ["pf"]}
    assert build().estimate(cases).startswith("m: 8 calls, roughly")
    assert "no prices" in build().estimate(cases)
    with pytest.raises(InputError, match="4 calls are needed and max_calls allows 3"):
        build(rubrics=["pf"], max_calls=3).score(cases, images)
    with pytest.raises(InputError, match=r"max_cost allows 0\.001"):
        build(**priced, max_cost=0.001).score(cases, images)
    assert not server.calls
    status, headers, payload = said({"reason": "", "score": 1})
    payload["usage"]["prompt_tokens"] = 5000
    server.behave = lambda number, body: (status, headers, payload)
    with pytest.raises(DynaIPError, match=r"max_cost \(0.02\) is reached; 2 of 4"):
        build(**priced, max_cost=0.02, concurrency=1).score(cases, images)
    assert len(server.calls) == 2
    words = build(**priced).estimate(cases)
    assert "as its earlier answers took 20,000 tokens in and 200 out, about 0.04 at the prices" in words
    with pytest.raises(InputError, match="max_cost needs prices"):
        build(max_cost=1.0)


def test_pairs_are_shown_in_both_orders(server: Any, build: Any, cases: Any, images: Any, tmp_path: Path) -> None:
    """A judge that always says "first" prefers nobody; one that sees which picture is brighter prefers that."""
    for case in cases:
        path = tmp_path / "other" / "samples" / case.id / f"{case.seed}.png"
        path.parent.mkdir(parents=True)
        picture(500 + case.seed).point(lambda value: value // 2).save(path)
    pairwise = {"against": str(tmp_path / "other"), "repeats": 2}
    server.behave = lambda number, body: said({"reason": "", "choice": "first"})
    rows = build(**pairwise, records=str(tmp_path / "one")).score(cases, images)
    assert [row["cp_win"] for row in rows] == [0.5] * 4

    def brighter(number: int, body: dict[str, Any]) -> Any:
        first, second = (np.asarray(each).mean() for each in shown(body)[-2:])
        return said({"reason": "", "choice": "first" if first > second else "second"})

    server.behave = brighter
    rows = build(**pairwise, records=str(tmp_path / "two")).score(cases, images)
    assert all(row["cp_win"] == row["pf_win"] == 1.0 for row in rows)
    with pytest.raises(InputError, match="missing: against names a run"):
        build(against=str(tmp_path / "nowhere")).score(cases, images)


SCRIPT = """
import sys
from tests.plugins.metrics.vlm.conftest import picture
from dynaip.config import ComponentSpec
from dynaip.contracts import Case, CaseReference
from dynaip.registry import registry
cases = [Case(f"case-{k}", "single", f"a dog number {k}", (CaseReference(picture(k)),), seed=k) for k in range(12)]
options = {"use": "vlm", "model": "m", "records": sys.argv[1], "concurrency": 2, "pause": 0.01}
judge = registry().build(ComponentSpec.parse("metric", options))
print(judge.score(cases, [picture(100 + k) for k in range(12)]))
"""


def test_killed_in_the_middle_and_resumed(server: Any, tmp_path: Path) -> None:
    """kill -9: no kept answer is asked for again; those at most that were in flight are."""
    died: list[int] = []

    def behave(number: int, body: dict[str, Any]) -> Any:
        if number >= 9 and not died:
            died.append(number)
            os.kill(process.pid, signal.SIGKILL)
        return said({"reason": "", "score": number % 5})

    server.behave = behave
    root = Path(__file__).parents[4]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), *map(str, (root / "plugins", root / "analysis"))]),
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "records")]
    process = subprocess.Popen(command, env=environment)
    assert process.wait(timeout=120) == -signal.SIGKILL
    (path,) = (tmp_path / "records").glob("*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"key": "half a li')
    before = [json.loads(line)["key"] for line in path.read_text().splitlines()[:-1]]
    asked = len(server.calls)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert len(server.calls) - asked == 24 - len(before)
    assert asked - len(before) <= 3, "in flight when it died"
    after = [json.loads(line)["key"] for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(after) == len(set(after)) == 24 and after[: len(before)] == before
    assert done.stdout.count("'cp_answered': 1.0") == 12


def test_a_fenced_answer_is_read() -> None:
    assert understood(Reply('```json\n{"reason": "r", "score": 1}\n```'), "score") == ("answered", 1.0, "r")
    words = 'I looked. {"reason": "a } in it", "score": 4} That is all.'
    assert understood(Reply(words.replace("}", "{}", 1)), "score") == ("answered", 4.0, "a {} in it")
    assert understood(Reply('{"reason": "a } in it", "score": 4}'), "score")[1] == 4.0
    assert understood(Reply('Sorry for the delay: {"score": 0}'), "score") == ("answered", 0.0, "")
    assert understood(Reply('{"choice": "second"}'), "choice", swapped=True)[1] == 1.0
    assert understood(Reply("[" * 100_000), "score")[0] == "malformed"
