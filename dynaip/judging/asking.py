"""Asking a judge: several questions at a time, again after what passes (too many calls, a server's fault), never twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Protocol

from dynaip.errors import DynaIPError, InputError
from dynaip.judging.answers import Answer, Reply, understood
from dynaip.judging.ledger import Ledger
from dynaip.judging.questions import Question

LONGEST_ASKED = 600.0
"""Seconds that a server may ask to wait and be obeyed."""


class Judge(Protocol):
    """A model that can be asked."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its answers depend on: model, revision, address, sampling. It holds no key."""
        ...

    def ask(self, question: Question) -> Reply:
        """Ask once. Raises ``Passing`` for what may work the next time, ``Refusing`` for a question that will not be answered,
        ``InputError`` for what makes every further question pointless (a wrong key, no such model)."""
        ...


class Passing(Exception):
    """A fault that passes: too many calls, a server's error, no connection, a time-out, half an answer."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after
        """Seconds that the server asks to wait."""


class Lasting(Exception):
    """This question will fail again: the server takes it for wrong."""


class Stopped(DynaIPError):
    """Asking ended before all was asked; what was answered is kept."""


@dataclass(frozen=True)
class Manner:
    """How a judge is asked."""

    concurrency: int = 4
    tries: int = 5
    """Calls for one question, at most."""
    pause: float = 1.0
    """Seconds before the second try, doubled from there; a random part of it, so that threads do not come back together."""
    longest_pause: float = 60.0
    """Of pauses that are doubled; a server that asks for more gets it, up to ``LONGEST_ASKED``."""
    give_up: int = 8
    """Questions in a row that fail before asking stops: a server that is down is not asked thousands of times."""
    seed: int = 0
    """Of the order in which questions are asked, so that no arm is always asked first."""
    max_calls: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] | None = None
    """Money for a million tokens, in and out."""


@dataclass
class Spent:
    """What asking took."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    prices: tuple[float, float] | None = None
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def money(self) -> float:
        """In the prices' own currency; 0 without prices."""
        into, out = self.prices or (0.0, 0.0)
        return (self.tokens_in * into + self.tokens_out * out) / 1e6


def ask_all(
    judge: Judge,
    wanted: Sequence[Question],
    ledger: Ledger,
    manner: Manner,
    on_answer: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Spent:
    """Ask what the ledger does not answer yet, and keep every answer; raises ``Stopped`` if a cap or many failures end it."""
    keys = {question.key(judge.identity): question for question in wanted}
    missing = [(key, question) for key, question in keys.items() if ledger.get(key) is None]
    random.Random(manner.seed).shuffle(missing)
    if manner.max_calls is not None and len(missing) > manner.max_calls:
        raise InputError(
            f"{len(missing)} calls are needed and max_calls allows {manner.max_calls}: raise it, or lower --limit"
        )
    asking = _Asking(judge, ledger, manner, sleep, Spent(prices=manner.prices))
    asking.run(missing, on_answer)
    return asking.spent


class _Asking:
    def __init__(
        self, judge: Judge, ledger: Ledger, manner: Manner, sleep: Callable[[float], None], spent: Spent
    ) -> None:
        self.judge, self.ledger, self.manner, self.sleep, self.spent = judge, ledger, manner, sleep, spent
        self.over = Event()
        self.in_a_row = 0
        self.why = ""

    def run(self, missing: Sequence[tuple[str, Question]], on_answer: Callable[[int, int], None] | None) -> None:
        """Keep ``concurrency`` questions in flight until all are answered or something ends it."""
        left, done = iter(missing), 0
        with ThreadPoolExecutor(self.manner.concurrency, thread_name_prefix="judge") as pool:
            flying: set[Future[bool]] = set()
            try:
                while True:
                    while len(flying) < self.manner.concurrency and not self.over.is_set():
                        following = next(left, None)
                        if following is None:
                            break
                        flying.add(pool.submit(self._one, *following))
                    if not flying:
                        break
                    finished, flying = wait(flying, return_when=FIRST_COMPLETED)
                    for each in finished:
                        done += each.result()
                        if on_answer:
                            on_answer(done, len(missing))
            except BaseException:
                self.over.set()
                raise
        if self.over.is_set():
            raise Stopped(
                f"{self.why}; {done} of {len(missing)} questions were asked, their answers are kept in {self.ledger.path}"
            )

    def _one(self, key: str, question: Question) -> bool:
        """Ask one question and keep what comes of it; False if it was not asked at all."""
        about = {**question.about(), "judge": dict(self.judge.identity)}
        reply, why, tries = None, "", 0
        while reply is None and tries < self.manner.tries and not self.over.is_set() and self._may_call():
            tries += 1
            try:
                reply = self.judge.ask(question)
            except Passing as error:
                why = str(error)
                if tries < self.manner.tries:
                    self.sleep(self._pause(tries, error.after))
            except Lasting as error:
                why, tries = str(error), self.manner.tries
        if reply is None:
            if tries:
                self.ledger.add(Answer(key, "failed", None, why, tries=tries, about=about))
                self._failed(why)
            return tries > 0
        self.in_a_row = 0
        with self.spent.lock:
            self.spent.tokens_in += reply.tokens_in
            self.spent.tokens_out += reply.tokens_out
        state, score, reason = understood(reply, question.rubric.answer, question.swapped)
        self.ledger.add(Answer(key, state, score, reason, reply.text, reply.finish, reply.tokens_in, reply.tokens_out,
                               round(reply.seconds, 3), tries, about))  # fmt: skip
        return True

    def _may_call(self) -> bool:
        """Count a call, unless a cap is reached."""
        with self.spent.lock:
            manner = self.manner
            if manner.max_calls is not None and self.spent.calls >= manner.max_calls:
                self._end(f"max_calls ({manner.max_calls}) is reached, calls that were made again included")
            elif manner.max_cost is not None and self.spent.money >= manner.max_cost:
                self._end(f"max_cost ({manner.max_cost:g}) is reached")
            else:
                self.spent.calls += 1
                return True
        return False

    def _pause(self, tries: int, after: float) -> float:
        longest = self.manner.longest_pause
        backing_off = min(longest, self.manner.pause * 2 ** (tries - 1)) * random.uniform(0.5, 1)
        return max(min(after, LONGEST_ASKED), backing_off)

    def _failed(self, why: str) -> None:
        self.in_a_row += 1
        if self.in_a_row >= self.manner.give_up:
            self._end(f"{self.in_a_row} questions in a row failed, the last one with: {why}")

    def _end(self, why: str) -> None:
        self.why = self.why or why
        self.over.set()
