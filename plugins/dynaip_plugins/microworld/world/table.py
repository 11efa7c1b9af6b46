"""Many scenes as numbers: drawn by chance at once, on whichever device works with them, and to and from `Scene`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .scenes import LAYOUTS, MIXTURE, REGIONS, WHOLE, Identity, Scene, Split, Subject, identities, labels
from .vocabulary import ATTRIBUTES, IDENTITY, PROMPTED

SLOTS = 4
"""Subjects that a scene can hold."""
COLUMNS: dict[str, int] = {name: column for column, name in enumerate(ATTRIBUTES)}
NOBODY = -1
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Table:
    """Index of every attribute's value for every subject [B,4,A] (NOBODY in empty slots) and the jitter seeds [B]; int64."""

    values: Tensor
    jitter: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor | slice) -> Table:
        return Table(self.values[rows], self.jitter[rows])

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.values.device

    def to(self, device: torch.device | str) -> Table:
        """The same scenes on another device."""
        return Table(self.values.to(device), self.jitter.to(device))

    def column(self, name: str) -> Tensor:
        """One attribute of every subject. [B,4]."""
        return self.values[..., COLUMNS[name]]

    @property
    def present(self) -> Tensor:
        """Which slots hold a subject. [B,4] bool."""
        return self.values[..., 0] != NOBODY

    @property
    def count(self) -> Tensor:
        """Subjects of every scene. [B]."""
        return self.present.sum(1)

    def offsets(self) -> Tensor:
        """What jitter makes of every slot's place: across and down, in [0, 1). [B,4,2] float32."""
        slots = torch.arange(1, 2 * SLOTS + 1, device=self.device)
        mixed = (self.jitter[:, None] + 0x9E3779B9 * slots) & _WORD
        for _ in range(2):
            mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & _WORD
        return ((mixed ^ (mixed >> 16)).double() / 2**32).float().view(-1, SLOTS, 2)

    def scenes(self) -> list[Scene]:
        """The rows as scenes."""
        rows = zip(self.values.tolist(), self.jitter.tolist(), strict=True)
        return [_scene([slot for slot in values if slot[0] != NOBODY], jitter) for values, jitter in rows]


def _scene(slots: list[list[int]], jitter: int) -> Scene:
    named = [{name: values[slot[column]] for column, (name, values) in enumerate(ATTRIBUTES.items())} for slot in slots]
    subjects = tuple(
        Subject(
            category=words["category"],
            identity=Identity(**{name: words[name] for name in IDENTITY}),
            place=words["place"],
            size=words["size"],
            posture=words["posture"],
            perspective=words["perspective"],
        )
        for words in named
    )
    return Scene(subjects, named[0]["background"], named[0]["illumination"], jitter)


def table_of(scenes: Sequence[Scene]) -> Table:
    """Scenes as numbers, on the CPU."""
    found = table_of_labels([[labels(scene, k) for k in range(len(scene.subjects))] for scene in scenes])
    return Table(found.values, torch.tensor([scene.jitter for scene in scenes], dtype=torch.int64))


def table_of_labels(scenes: Sequence[Sequence[Mapping[str, int]]]) -> Table:
    """Scenes of which only the labels of their subjects are known, on the CPU; their jitter is that of seed 0."""
    values = np.full((len(scenes), SLOTS, len(ATTRIBUTES)), NOBODY, np.int64)
    for row, subjects in enumerate(scenes):
        for slot, known in enumerate(subjects):
            values[row, slot] = [known[name] for name in ATTRIBUTES]
    return Table(torch.from_numpy(values), torch.zeros(len(scenes), dtype=torch.int64))


def boxes_of(table: Table, rows: Tensor, slots: Tensor) -> Tensor:
    """The region of subjects, by row and slot: their place's slot, or everything for one that is alone. [n,4]."""
    known = torch.tensor([REGIONS.get(place, WHOLE) for place in PROMPTED["place"]], device=table.device)
    alone = (table.count[rows] == 1)[:, None]
    return torch.where(alone, torch.tensor(WHOLE, device=table.device), known[table.column("place")[rows, slots]])


def _index(name: str, words: Sequence[str]) -> list[int]:
    return [ATTRIBUTES[name].index(word) for word in words]


def draw_table(
    seed: int, count: int, split: Split | None = "train", mixture: Mapping[int, float] = MIXTURE
) -> Table:  # fmt: skip
    """`count` scenes by chance, as `scenes.draw` draws them one by one; the same seed always draws the same ones."""
    generator = torch.Generator().manual_seed(seed)

    def below(limit: int, *shape: int) -> Tensor:
        return torch.randint(limit, shape, generator=generator)

    shares = torch.tensor(list(mixture.values()), dtype=torch.float64)
    subjects = torch.tensor(list(mixture))[torch.multinomial(shares, count, replacement=True, generator=generator)]
    values = torch.zeros(count, SLOTS, len(ATTRIBUTES), dtype=torch.int64)
    for name, words in ATTRIBUTES.items():
        shared = name in ("background", "illumination")
        values[..., COLUMNS[name]] = below(len(words), count, 1 if shared else SLOTS)
    known = torch.tensor([_row(identity) for identity in identities(split)])
    values[..., : len(IDENTITY)] = known[below(len(known), count, SLOTS)]
    order = torch.rand(count, len(PROMPTED["category"]), generator=generator).argsort(1)
    values[..., COLUMNS["category"]] = order[:, :SLOTS]
    for number, layouts in LAYOUTS.items():
        rows = torch.nonzero(subjects == number)[:, 0]
        places = torch.tensor([_index("place", layout) for layout in layouts])
        values[rows, :number, COLUMNS["place"]] = places[below(len(layouts), len(rows))]
    values[torch.arange(SLOTS) >= subjects[:, None]] = NOBODY
    return Table(values, below(2**31, count))


def _row(identity: Identity) -> list[int]:
    return [words.index(getattr(identity, name)) for name, words in IDENTITY.items()]
