"""Scenes of microworld: what they hold, how they are drawn by chance, said in words and labelled."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from .vocabulary import ATTRIBUTES, COUNTS, IDENTITY, PROMPTED, UNPROMPTED

Split = Literal["train", "test"]
Box = tuple[float, float, float, float]

TEST_PERCENT = 15
"""Share of identities that no training ever sees."""

LAYOUTS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: tuple((place,) for place in ("left", "right", "top", "bottom", "middle")),
    2: (("left", "right"), ("top", "bottom")),
    3: (("top left", "top right", "bottom"),),
    4: (("top left", "top right", "bottom left", "bottom right"),),
}
"""Places that subjects take together, by number of subjects."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
REGIONS: dict[str, Box] = {
    "left": (0.0, 0.0, 0.5, 1.0),
    "right": (0.5, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 1.0, 0.5),
    "bottom": (0.0, 0.5, 1.0, 1.0),
    "top left": (0.0, 0.0, 0.5, 0.5),
    "top right": (0.5, 0.0, 1.0, 0.5),
    "bottom left": (0.0, 0.5, 0.5, 1.0),
    "bottom right": (0.5, 0.5, 1.0, 1.0),
}
"""The slot of a place in scenes of several subjects: left, top, right, bottom in [0, 1]."""

MIXTURE: Mapping[int, float] = {1: 0.5, 2: 0.33, 3: 0.1, 4: 0.07}
"""Share of scenes by number of subjects."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a subject this one and no other."""

    main: str
    second: str
    texture: str
    emblem: str
    variant: str

    @property
    def split(self) -> Split:
        """The split this identity belongs to: a fixed hash of its values."""
        key = f"{self.main}/{self.second}/{self.texture}/{self.emblem}/{self.variant}".encode()
        return "test" if zlib.crc32(key) % 100 < TEST_PERCENT else "train"


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing in a scene."""

    category: str
    identity: Identity
    place: str
    size: str
    posture: str
    perspective: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One to four subjects in one context; `jitter` seeds the subjects' small offsets."""

    subjects: tuple[Subject, ...]
    background: str
    illumination: str
    jitter: int


def identities(split: Split | None = None) -> tuple[Identity, ...]:
    """All identities (of one split): main and second colour always differ."""
    everything = (Identity(*values) for values in product(*IDENTITY.values()) if values[0] != values[1])
    return tuple(identity for identity in everything if split in (None, identity.split))


_IDENTITIES: dict[str | None, tuple[Identity, ...]] = {
    None: identities(),
    "train": identities("train"),
    "test": identities("test"),
}


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def sample_identity(rng: np.random.Generator, split: Split | None = "train") -> Identity:
    """One identity by chance, of one split or (None) of both."""
    pool = _IDENTITIES[split]
    return pool[int(rng.integers(len(pool)))]


def sample_subject(
    rng: np.random.Generator, place: str, split: Split | None = "train", category: str | None = None
) -> Subject:
    """One subject by chance at `place`."""
    return Subject(
        category=category or _pick(rng, PROMPTED["category"]),
        identity=sample_identity(rng, split),
        place=place,
        size=_pick(rng, PROMPTED["size"]),
        posture=_pick(rng, UNPROMPTED["posture"]),
        perspective=_pick(rng, UNPROMPTED["perspective"]),
    )


def sample_scene(rng: np.random.Generator, subjects: int = 1, split: Split | None = "train") -> Scene:
    """One scene by chance, with `subjects` (1 to 4) subjects of different categories."""
    places = LAYOUTS[subjects][int(rng.integers(len(LAYOUTS[subjects])))]
    categories = rng.permutation(PROMPTED["category"])
    return Scene(
        subjects=tuple(
            sample_subject(rng, place, split, str(name)) for place, name in zip(places, categories, strict=False)
        ),
        background=_pick(rng, PROMPTED["background"]),
        illumination=_pick(rng, UNPROMPTED["illumination"]),
        jitter=int(rng.integers(2**31)),
    )


def draw(seed: int, count: int, split: Split | None = "train", mixture: Mapping[int, float] = MIXTURE) -> list[Scene]:
    """`count` scenes by chance; the same seed always draws the same ones."""
    rng = np.random.default_rng(seed)
    subjects = rng.choice(list(mixture), size=count, p=list(mixture.values()))
    return [sample_scene(rng, int(number), split) for number in subjects]


def another_context(rng: np.random.Generator, scene: Scene, number: int) -> Scene:
    """Subject ``number`` of a scene, alone, in a context drawn anew."""
    subject = scene.subjects[number]
    drawn = sample_scene(rng, 1, None)
    return replace(drawn, subjects=(replace(drawn.subjects[0], category=subject.category, identity=subject.identity),))


def region(scene: Scene, k: int) -> Box:
    """The slot of subject k as (left, top, right, bottom) in [0, 1]; the whole image for a single subject."""
    return WHOLE if len(scene.subjects) == 1 else REGIONS[scene.subjects[k].place]


def _describe(subject: Subject, dense: bool) -> str:
    who = subject.identity
    look = f"{who.main} {subject.category} with {who.second} {who.texture} and a {who.emblem}"
    where = f"{'in' if subject.place == 'middle' else 'at'} the {subject.place}"
    return f"a {subject.size} {look if dense else subject.category} {where}"


def prompt(scene: Scene, dense: bool = False) -> str:
    """The scene in words; `dense` also says the identities (one or two subjects fit the tokenizer)."""
    subjects = " and ".join(_describe(subject, dense) for subject in scene.subjects)
    return f"{subjects}, on {scene.background}"


def labels(scene: Scene, k: int) -> dict[str, int]:
    """Index of every attribute's value for subject k, and `count` (0 means one subject)."""
    subject = scene.subjects[k]
    context = {"background": scene.background, "illumination": scene.illumination}
    found: dict[str, int] = {}
    for name, values in ATTRIBUTES.items():
        owner = subject.identity if name in IDENTITY else subject
        found[name] = values.index(context[name] if name in context else getattr(owner, name))
    found["count"] = COUNTS.index(str(len(scene.subjects)))
    return found
