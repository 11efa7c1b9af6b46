"""What processes share, without starting any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dynaip.errors import DynaIPError, MismatchError
from dynaip.training.processes import in_order, losses_told, shared

RUN = Path("runs/one")


def several(number: int) -> SimpleNamespace:
    return SimpleNamespace(num_processes=number, is_main_process=True)


@pytest.mark.parametrize(
    ("batches", "parts", "processes", "share"), [(None, 3, 2, 3), (6, 3, 2, 3), (6, 3, 6, 1), (6, 1, 3, 2)]
)
def test_a_step_keeps_its_batches(batches: int | None, parts: int, processes: int, share: int) -> None:
    said: list[str] = []
    assert shared(batches, parts, several(processes), RUN, said.append) == share
    assert bool(said) == (share != parts)


def test_what_cannot_be_shared_is_refused_with_what_can() -> None:
    with pytest.raises(
        MismatchError, match=r"holds 6 batches .* 4 processes cannot share evenly: go on with 1, 2, 3, 6"
    ):
        shared(6, 3, several(4), RUN, print)


def test_ids_stand_in_the_order_of_their_batches() -> None:
    one, other = [["a", "b"], ["e", "f"]], [["c", "d"], ["g", "h"]]
    assert in_order([one, other]) == list("abcdefgh")


def test_what_a_backend_says_of_a_lost_process_is_one_line_and_other_errors_stay() -> None:
    with (
        pytest.raises(DynaIPError, match=r"another process of this training is gone .* with --resume") as told,
        losses_told(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547]\nConnection closed by peer [127.0.0.1]:3")
    assert "\n" not in str(told.value)
    with pytest.raises(RuntimeError, match="size mismatch"), losses_told():
        raise RuntimeError("size mismatch")
