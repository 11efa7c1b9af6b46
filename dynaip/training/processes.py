"""Several processes that train one adapter: how they share the batches of a step, and what they tell each other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from dynaip.atomic import make_folder
from dynaip.errors import DynaIPError, MismatchError
from dynaip.training.progress import Warn


def shared(batches: int | None, parts: int, accelerator: Any, run: Path, warn: Warn) -> int:
    """How many batches of a step each process takes: ``parts``, or its share where steps of the run have held ``batches``.

    A step is the same step whatever number of processes shares it, so that a run may go on with another number. Raises
    ``MismatchError`` where they cannot be shared evenly.
    """
    processes: int = accelerator.num_processes
    if batches in (None, parts * processes):
        return parts
    if batches % processes:
        fit = ", ".join(str(number) for number in range(1, batches + 1) if batches % number == 0)
        raise MismatchError(
            f"{run}: a step of this run holds {batches} batches (training.gradient_accumulation times processes), which "
            f"{processes} processes cannot share evenly: go on with {fit}"
        )
    if accelerator.is_main_process:
        warn(
            f"a step of this run holds {batches} batches: each of the {processes} processes takes {batches // processes}"
        )
    return batches // processes


@dataclass(frozen=True)
class Share:
    """Which of many pieces of work a process does: every ``count``-th, beginning with the one numbered ``index``."""

    index: int = 0
    count: int = 1


def share_of(folder: Path, accelerator: Any) -> Share:
    """The share of this process among those that see one folder: machines may each have their own. All processes call it."""
    if accelerator.num_processes == 1:
        return Share()
    from accelerate.utils import gather_object  # pyright: ignore[reportMissingTypeStubs]

    make_folder(folder)
    mine = folder / f".seen-{uuid4().hex}"
    mine.touch()
    seen = [name for name in gather_object([mine.name]) if (folder / name).exists()]
    accelerator.wait_for_everyone()
    mine.unlink()
    return Share(seen.index(mine.name), len(seen))


def in_order(of_processes: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Ids of a step in the order of its batches, given by process and part: one process alone would have the same list."""
    return [each for batches in zip(*of_processes, strict=True) for batch in batches for each in batch]


def gathered_ids(accelerator: Any, batches: Sequence[Sequence[str]]) -> list[str]:
    """Ids of a step's pairs in every process, in order; ``batches`` are those of this process. All processes call it."""
    if accelerator.num_processes == 1:
        return in_order([batches])
    from accelerate.utils import gather_object  # pyright: ignore[reportMissingTypeStubs]

    return in_order(gather_object([batches]))


_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "NCCL",
    "Timed out waiting",
    "Socket Timeout",
)
"""What gloo and NCCL say when another process no longer answers."""


@contextmanager
def losses_told() -> Generator[None]:
    """Say in one line that another process of this training is gone; its backends raise pages about it."""
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if not any(sign in said for sign in _GONE):
            raise
        raise DynaIPError(
            f"another process of this training is gone ({said[:160]}): start all of them again with --resume"
        ) from error
