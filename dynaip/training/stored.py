"""Batches of pairs whose encodings lie on disk: what is missing or damaged is made, by as many processes as there are."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn
from torch.utils.data import Dataset

from dynaip.adapter.model import DynaIP
from dynaip.config import ComponentSpec, ExperimentConfig
from dynaip.contracts import Backbone, Pair, PairSource
from dynaip.encodings.folder import collections, prune
from dynaip.encodings.shards import Damaged
from dynaip.encodings.store import EncodingStore
from dynaip.errors import InputError
from dynaip.training.data import Bad
from dynaip.training.fingerprint import fingerprint
from dynaip.training.identity import digest
from dynaip.training.loader import BLOCK, EARLY, Batch, Encoded, PairLoader, deaths_told, stacked
from dynaip.training.processes import Share

FORMAT = 1
"""Of what is stored: another one is another collection."""
PART_OF = {"features": "levels", "text": "text"}
"""Field of ``Encoded`` -> part that holds it; everything else belongs to the target."""
PLACES = ("model", "revision", "variant", "device_map")
"""Options of a backbone that say where its weights lie: their digest stands for them."""

LOOK = 0.5
"""Seconds between two looks at what other processes have encoded."""
PATIENCE = 120.0
"""Seconds without a block from another process after which this one encodes what that one owes."""


def store_for(
    config: ExperimentConfig, folder: Path, pairs: PairSource, spec: ComponentSpec, models: Any
) -> EncodingStore:
    """The store of a config's pairs; ``spec`` is their source with its size settled, ``models`` pipeline, backbone, adapter."""
    return EncodingStore(folder, depends_on(config, spec, *models), block_digests(fingerprint(pairs), len(pairs)))


def depends_on(
    config: ExperimentConfig, spec: ComponentSpec, pipe: Any, backbone: Backbone, dyna: DynaIP
) -> dict[str, dict[str, Any]]:
    """Part -> what it depends on, as plain data: the source, the frozen weights by their digests, and their types."""
    modules = {name: part for name, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)}
    text = {name: digest(part) for name, part in modules.items() if name not in ("vae", "transformer")}
    options = {name: each for name, each in config.backbone.config.training_part().items() if name not in PLACES}
    shared = {"format": FORMAT, "source": {"use": spec.use, **spec.config.training_part()}}
    base = {"backbone": {"use": config.backbone.use, **options}}
    most = {"references": config.adapter.max_references}
    encoder = {"use": config.encoder.use, **config.encoder.config.training_part(), **dyna.encoder.signature()}
    kept = {"kept": config.training.cache_levels, "weights": digest(dyna.encoder), "type": _type(dyna.encoder)}
    made = {
        "latents": {
            "vae": digest(modules["vae"]) if "vae" in modules else None,
            "type": _type(modules.get("vae")),
            **base,
        },
        "levels": {"encoder": encoder, **kept, **most},
        "text": {"encoders": text, "types": [_type(modules[name]) for name in text], **base},
    }
    return cast(
        "dict[str, dict[str, Any]]", json.loads(json.dumps({part: shared | each for part, each in made.items()}))
    )


def _type(module: nn.Module | None) -> str:
    weights = iter(()) if module is None else module.parameters()
    return str(next((weight.dtype for weight in weights), None))


def block_digests(known: Any, size: int) -> list[str]:
    """8 hex digits for each block of pairs: of what the source says of them, or of all that it says where that is not theirs."""
    entries = [json.dumps([name, dict(parts)], sort_keys=True) for name, parts in known.items()]
    own = len(entries) == size
    blocks = [entries[start : start + BLOCK] if own else entries for start in range(0, size, BLOCK)]
    return [hashlib.sha256("\n".join(block).encode()).hexdigest()[:8] for block in blocks]


def taken_apart(pair: Encoded) -> dict[str, dict[str, Any]]:
    """Part -> field -> value."""
    parts: dict[str, dict[str, Any]] = {"latents": {}, "levels": {}, "text": {}}
    for field in fields(pair):
        parts[PART_OF.get(field.name, "latents")][field.name] = getattr(pair, field.name)
    return parts


def put_together(parts: dict[str, dict[str, Any]]) -> Encoded:
    """What ``taken_apart`` gave."""
    return Encoded(**{name: value for part in parts.values() for name, value in part.items()})


class StoredPairs(Dataset[Any]):
    """Encodings by the index of their pair; None where they have to be made (again)."""

    def __init__(self, store: EncodingStore) -> None:
        self.store = store

    def __getitem__(self, index: int) -> Encoded | None:
        with suppress(Damaged, KeyError):
            return put_together(self.store.read(index // BLOCK, index))
        return None


class StoredLoader(PairLoader):
    """A loader that keeps what is encoded on disk; ``limit`` is what the whole folder may take, in bytes."""

    def __init__(
        self, *given: Any, store: EncodingStore, limit: float | None = None, share: Share = Share(), **options: Any
    ) -> None:
        super().__init__(*given, **options)
        self.store, self.limit, self.share, self.caching = store, limit, share, False
        self.made = 0
        """Blocks that this process encoded."""
        self.found = 0
        """Blocks that were there."""
        self.slowest = 0.0
        """Seconds of the slowest block that this process encoded."""

    @property
    def complete(self) -> bool:
        """Whether everything that batches will ask for lies on disk, but for what is damaged or removed meanwhile."""
        return True

    def fill(self, start: int, end: int, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode what these batches will ask for and nobody has encoded yet: of what all processes ask for, a share each."""
        together = replace(self.order, rank=0, world=1)
        common = self._blocks(start * self.order.world, end * self.order.world, together)
        self._fill(self._blocks(start, end), on_progress or _untold, common)

    def fill_all(self, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode every pair that nobody has encoded yet, from anywhere, so that processes do not meet at once."""
        number = len(self.store.blocks)
        first = random.SystemRandom().randrange(number)
        self._fill([*range(first, number), *range(first)], on_progress or _untold)

    def together(self, indices: Sequence[int]) -> None:
        """Encode these pairs, a share in each process; all of them call it."""
        blocks = _blocks_of(indices)
        self._fill(blocks, _untold, blocks)

    def some(self, indices: Sequence[int]) -> Batch:
        """A batch of these pairs, out of turn; what nobody has encoded yet is made."""
        self._fill(_blocks_of(indices), _untold)
        return super().some(indices)

    def have(self, blocks: Sequence[int], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Encode those of these blocks that nobody has encoded yet, in this order."""
        self._fill(blocks, on_progress or _untold)

    def _fill(
        self, blocks: Sequence[int], tell: Callable[[int, int], None], common: Sequence[int] | None = None
    ) -> None:
        """Have these blocks; of ``common``, which every process that shares the folder is given alike, make a share first."""
        self.store.open()
        self.filling = True
        own = blocks if common is None else common[self.share.index :: self.share.count]
        others = sorted({*blocks} - {*own})
        total = len(own) + len(others)
        try:
            left = [number for number in own if not self._known(number)]
            there = len(own) - len(left)
            self.found += there
            tell(there, total)
            self._make_all(left, lambda done: tell(there + done, total), 1 if common is None else self.share.count)
            self._wait(others, lambda done: tell(len(own) + done, total))
            left = [number for number in others if not self._known(number)]
            self._make_all(left, lambda done: tell(total - len(left) + done, total))
        finally:
            self.filling = False
        if self.quarantine.bad:
            self.warn(self.quarantine.told())
        self.remarks.tell()

    def _wait(self, blocks: Sequence[int], tell: Callable[[int], None]) -> None:
        """Wait for what other processes make, as long as any of it comes."""
        missing, last = [*blocks], time.monotonic()
        while missing and time.monotonic() - last < max(PATIENCE, 5 * self.slowest):
            left = [number for number in missing if self.store.missing(number)]
            last = last if len(left) == len(missing) else time.monotonic()
            missing = left
            tell(len(blocks) - len(missing))
            if missing:
                time.sleep(LOOK)

    def batches(self, start: int, end: int) -> Generator[Batch]:
        """Yield the batches with the numbers ``start`` to ``end`` (excluded)."""
        plan = [self.order.at(number) for number in range(start, end)]
        # Workers stack batches themselves: then a few large tensors cross over instead of many small ones.
        loaded = self._loaded(StoredPairs(self.store), plan, _whole)
        with deaths_told(), closing(_generated(loaded)) as found:
            for number, (indices, items) in enumerate(zip(plan, found, strict=True)):
                if number == EARLY:
                    self.remarks.tell()
                self.store.touch()
                yield items if isinstance(items, Batch) else self._mended(indices, items)

    def _mended(self, indices: list[int], items: list[Encoded | None]) -> Batch:
        """A batch of which something has to be made first."""
        self.kept = {index: item for index, item in zip(indices, items, strict=True) if item is not None}
        return self._stacked(indices, None)

    def _fetch(self, place: int) -> None:
        block, kept = place // BLOCK, self.kept
        found = StoredPairs(self.store)[place]
        if found is None:
            self.remarks.add(
                [("damaged", f"encodings in {self.store.folder} are missing or damaged and are made again")]
            )
            self._make(block, [self.dataset[index] for index in self._block(block)], again=True)
            found = StoredPairs(self.store)[place]
        self.kept = kept | ({place: found} if found is not None else {})

    def _known(self, block: int) -> bool:
        """Whether a block is there, all of it but for pairs that cannot be used; what was told of it is told again."""
        if self.store.missing(block):
            return False
        try:
            pairs, details = self.store.head(block)
        except Damaged:
            self.store.drop(block)
            return False
        absent = [index for index in self._block(block) if index not in pairs]
        items = [self.dataset[index] for index in absent]
        bad = [item for item in items if isinstance(item, Bad)]
        if len(bad) < len(absent):  # mended since, or not finite: made again to be sure
            self.store.drop(block)
            return False
        self.quarantine.add(*bad)
        self._recall(details)
        return True

    def _recall(self, details: list[dict[str, Any]]) -> None:
        """Tell again what was told when a block was made; its parts may have been made at different times."""
        told = {(str(kind), str(line)): None for each in details for kind, line in each.get("notes", ())}
        self.remarks.add(told)
        for each in details:
            self.remarks.prompts.update(dict.fromkeys(each.get("prompts", ())))

    def _make_all(self, left: list[int], tell: Callable[[int], None], sharers: int = 1) -> None:
        plan = _Missing(self, left)
        with closing(self._read(plan)) as loaded:
            for done, items in enumerate(loaded, 1):
                written = self._make(plan.asked.pop(0), items)
                if done == 1:
                    self._make_room(written * len(left) * sharers)
                tell(done)
        for number in plan.skipped:
            self._known(number)
        tell(len(left))

    def _make(self, block: int, items: Sequence[Pair | Bad], *, again: bool = False) -> int:
        """Encode and write the parts of a block that are missing (all of them ``again``); give their bytes."""
        indices, parts = self._block(block), list(self.store.depends) if again else self.store.missing(block)
        self.kept, began = {}, time.monotonic()
        notes = self._keep(indices, items, partial(self.encode, parts=parts))
        apart = {index: taken_apart(pair) for index, pair in self.kept.items()}
        rows = {part: {index: each[part] for index, each in apart.items()} for part in parts}
        prompts = sorted({item.prompt for item in items if isinstance(item, Pair)})
        self.kept = {}
        self.made += 1
        written = self.store.write(block, rows, {"notes": notes, "prompts": prompts})
        self.slowest = max(self.slowest, time.monotonic() - began)
        return written

    def _make_room(self, needed: int) -> None:
        """Let go of what was not used for longest where the folder would grow beyond its limit."""
        if self.limit is None:
            return
        own = list(self.store.places.values())
        gone = prune(self.store.folder, max(0.0, self.limit - needed), keep=own)
        for one in gone:
            self.warn(
                f"{one.path} ({one.bytes / 1e9:.1f} GB) was not used for longest and made room for these encodings"
            )
        there = sum(one.bytes for one in collections(self.store.folder))
        if there + needed > self.limit:
            raise InputError(
                f"training.cache_limit: encodings take {(there + needed) / 1e9:.3g} GB in {self.store.folder}, more than "
                f"{self.limit / 1e9:.3g}: raise it, keep levels in fewer bytes (training.cache_levels: int8), or remove some "
                "(dynaip cache list, dynaip cache prune)"
            )


class _Missing:
    """Blocks that are still missing when their turn comes: another process may have made them meanwhile."""

    def __init__(self, loader: StoredLoader, left: list[int]) -> None:
        self.loader, self.left = loader, left
        self.asked: list[int] = []
        self.skipped: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.left)

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.left:
            if self.loader.store.missing(number):
                self.asked.append(number)
                yield list(range(number * BLOCK, min((number + 1) * BLOCK, len(self.loader.dataset))))
            else:
                self.skipped.append(number)


def _blocks_of(indices: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(index // BLOCK for index in indices))


def _untold(done: int, total: int) -> None:
    return None


def _whole(items: list[Encoded | None]) -> Batch | list[Encoded | None]:
    good = [item for item in items if item is not None]
    return stacked(good) if len(good) == len(items) else items


def _generated(items: Any) -> Generator[Any]:
    yield from items
