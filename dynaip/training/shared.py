"""Encodings that several trainings share: what one has encoded the others read, and in each of them all lie in memory.

The trainings of an ablation often ask for the same pairs through the same encoders. Each goes through the blocks of pairs in an
order of its own, so that those that run at the same time encode different ones; blocks are fixed, so that it makes no
difference to what is encoded.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dynaip.encodings.shards import Damaged
from dynaip.encodings.store import EncodingStore
from dynaip.training.loader import BLOCK, PairLoader
from dynaip.training.remarks import Remarks
from dynaip.training.stored import StoredLoader, put_together

SHARE_OF_DISK = 0.25
"""Of what is free where encodings would be shared; if they take more, each training makes its own."""

_FOLDER: ContextVar[Path | None] = ContextVar("folder of shared encodings", default=None)


@contextmanager
def sharing(folder: Path | None) -> Generator[None]:
    """Trainings inside share encodings in a folder with others; None: each makes its own."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def shared_folder() -> Path | None:
    """Where trainings share encodings now; None where they do not."""
    return _FOLDER.get()


class SharedLoader(PairLoader):
    """A loader that keeps encodings in memory, and takes those from ``store`` that another training has made."""

    def __init__(self, *given: Any, store: EncodingStore, **options: Any) -> None:
        super().__init__(*given, **options)
        self.store, self.given, self.options = store, given, options

    def fill(self, start: int, end: int, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Have everything encoded that these batches will ask for, by this training or another, and keep it."""
        blocks = self._blocks(start, end) if self.caching else []
        mixed = random.SystemRandom().sample(blocks, len(blocks))
        if not blocks or not self._affordable(mixed):
            super().fill(start, end, on_progress=on_progress)
            return
        self._stored(warn=_unsaid, remarks=Remarks(_unsaid)).have(mixed, on_progress)
        # Once more in order: all of it is there, and what is said of it does not depend on who made what.
        self._stored(warn=self.warn, remarks=self.remarks).have(blocks)
        for number in blocks:
            self._take(number)

    def _affordable(self, blocks: Sequence[int]) -> bool:
        """Whether memory and disk have room for so many blocks, by what the first of them takes."""
        self._stored(warn=_unsaid, remarks=Remarks(_unsaid)).have(blocks[:1])
        self._take(blocks[0])
        there = sum(one.size for one in self.kept.values())
        enough = there * len(blocks) <= SHARE_OF_DISK * shutil.disk_usage(self.store.folder).free
        return self._fits(len(blocks) * BLOCK) and enough

    def _stored(self, **told: Any) -> StoredLoader:
        """Makes what nobody has made; what cannot be used is in this loader's own quarantine."""
        return StoredLoader(*self.given, store=self.store, **{**self.options, **told})

    def _take(self, number: int) -> None:
        """Keep a block from the store; what is bad or damaged in it is met when a batch asks for it."""
        with suppress(Damaged):
            self.kept |= {index: put_together(parts) for index, parts in self.store.read_block(number).items()}


def _unsaid(line: str) -> None:
    return None
