"""What the page does, without a page: one loaded run, painted by one visitor at a time, every picture kept with its setting."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

import dynaip
from dynaip.atomic import make_folder, write_image
from dynaip.config.explain import explained
from dynaip.contracts.data import Box
from dynaip.errors import InputError
from dynaip.images import read_picture
from dynaip.images.sheet import contact_sheet
from dynaip.load import Loaded
from dynaip.notes import caught
from dynaip.registry import registry
from dynaip.setting import PictureRecord, PictureSetting, ReferenceSetting, adapter_digest

MAX_PIXELS = 24_000_000
"""Pixels of a reference at most."""
MAX_CELLS = 36
"""Pictures of a grid at most."""
LONGEST_PROMPT = 4000
NUMBERS = {"seed": int, "steps": int, "guidance": float, "scale": float}
"""Options of a grid that are numbers; ``granularity LEVEL`` is one, too."""


@dataclass(frozen=True)
class GivenReference:
    """A reference as the page has it: a file, where it may appear (a box, a mask, None for everywhere), how strongly it acts."""

    image: str | Path | bytes | Image.Image
    region: Box | Image.Image | None = None
    scale: float = 1.0
    name: str = "the reference"
    """What messages call a picture that is no path."""


@dataclass(frozen=True)
class Painted:
    """A picture on disk, what it was asked with, what was told meanwhile, and how long it took."""

    path: Path
    image: Image.Image
    setting: PictureSetting
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Studio:
    """One run and the folder that its pictures go to. Visitors share both; each picture is painted alone."""

    run: str
    world: Loaded
    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    digest: str = ""

    @classmethod
    def open(cls, run: str, folder: Path) -> Studio:
        """Load a run; ``InputError`` if there is none or the folder cannot be made."""
        world = dynaip.load(run)
        make_folder(folder / "pictures")
        return cls(run, world, folder.resolve(), digest=adapter_digest(run))

    @property
    def levels(self) -> list[str]:
        """Levels whose coefficients can be changed."""
        return list(self.world.dyna.encoder.levels)

    @property
    def policies(self) -> list[str]:
        """Names of the policies there are, the run's own first."""
        own = self.world.dyna.specs.decoupling.use.rpartition(":")[2]
        names = [entry.component.name for entry in registry().components("decoupling")]
        return [own, *(name for name in dict.fromkeys(names) if name not in (own, "scheduled"))]

    @property
    def most_references(self) -> int:
        """References that one picture may have."""
        return min(4, self.world.dyna.specs.adapter.max_references)

    def setting(
        self, prompt: str, given: Sequence[GivenReference] = (), *, granularity: Mapping[str, float] | None = None,
        decoupling: str | None = None, **options: Any,
    ) -> PictureSetting:  # fmt: skip
        """Check what the page holds and keep its references; ``InputError`` in one line, as on the command line."""
        if not prompt.strip():
            raise InputError("the prompt is empty: say what to paint")
        if len(prompt) > LONGEST_PROMPT:
            raise InputError(f"the prompt has {len(prompt)} characters: shorten it to {LONGEST_PROMPT}")
        changed = {name: float(value) for name, value in (granularity or {}).items() if value != 1}
        policy = None if decoupling == self.policies[0] else decoupling
        if policy is not None and policy not in self.policies:
            raise InputError(f"there is no decoupling policy {policy!r}: choose one of {', '.join(self.policies)}")
        with explained(PictureSetting, "setting"):
            return PictureSetting(
                run=self.run, prompt=prompt, references=tuple(self._kept(one) for one in given),
                granularity=changed if given else {}, decoupling=policy if given else None,
                **{name: value for name, value in options.items() if value not in (None, "")},
            )  # fmt: skip

    def _kept(self, one: GivenReference) -> ReferenceSetting:
        """A reference whose files lie in the studio's folder, named by their content."""
        picture = read_picture(one.image, one.name, max_pixels=MAX_PIXELS)
        region = self._keep(one.region, "masks") if isinstance(one.region, Image.Image) else one.region
        kept = ReferenceSetting(image=self._keep(picture, "references"), region=region, scale=one.scale)
        kept.reference()  # refused now rather than while painting
        return kept

    def _keep(self, image: Image.Image, kind: str) -> str:
        name = hashlib.sha256(image.tobytes() + repr((image.size, image.mode)).encode()).hexdigest()[:16]
        path = self.folder / kind / f"{name}.png"
        if not path.is_file():
            write_image(path, image)
        return str(path)

    def paint(self, setting: PictureSetting) -> Painted:
        """Paint one picture and keep it, with its setting in it."""
        started = time.monotonic()
        with self.lock, caught() as told:
            image = setting.paint(self.world)[0]
            record = PictureRecord.of(setting, self.world, [setting.seed], adapter=self.digest)
        path = self.folder / "pictures" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(6)}.png"
        record.write(path, image)
        notes = tuple(dict.fromkeys(line for _, line in told))
        return Painted(path, image, setting, notes, time.monotonic() - started)

    def side_by_side(self, one: PictureSetting, other: PictureSetting) -> tuple[Painted, Painted]:
        """Two settings on the seed of the second, so that nothing but the settings differs."""
        return self.paint(one.model_copy(update={"seed": other.seed})), self.paint(other)

    def grid(
        self, setting: PictureSetting, across: str, values: str, down: str, others: str
    ) -> tuple[Path, list[Painted]]:
        """One picture for every two values of two options, and all of them on one sheet; the values are separated by commas."""
        columns, rows = self._values(across, values), self._values(down, others)
        if across == down:
            raise InputError("the two options of the grid are the same: choose another one for the rows")
        if len(columns) * len(rows) > MAX_CELLS:
            raise InputError(f"{len(columns)} x {len(rows)} pictures are too many: {MAX_CELLS} at most")
        cells = [(changed(changed(setting, across, one), down, other), f"{across} {one}\n{down} {other}")
                 for other in rows for one in columns]  # fmt: skip
        painted = [self.paint(cell) for cell, _ in cells]
        sheet = contact_sheet([each.image for each in painted], [words for _, words in cells], len(columns))
        path = self.folder / "pictures" / f"grid-{secrets.token_hex(6)}.png"
        write_image(path, sheet)
        return path, painted

    def options(self) -> list[str]:
        """What a grid may vary."""
        return ["seed", *(f"granularity {level}" for level in self.levels), "scale", "decoupling", "steps", "guidance"]

    def _values(self, option: str, text: str) -> list[Any]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise InputError(f"{option}: write values separated by commas")
        if option not in self.options():
            raise InputError(f"a grid cannot vary {option!r}: choose one of {', '.join(self.options())}")
        if option == "decoupling":
            wrong = next((word for word in words if word not in self.policies), None)
            if wrong is not None:
                raise InputError(f"decoupling: there is no {wrong!r}; write {', '.join(self.policies)}")
            return words
        return [number(option, word) for word in words]


def number(option: str, text: str | None) -> Any:
    """Read what an option's field holds; None where it is empty, ``InputError`` where it holds no such number."""
    word = (text or "").strip()
    try:
        return NUMBERS.get(option, float)(word) if word else None
    except ValueError:
        kind = "whole number" if NUMBERS.get(option) is int else "number"
        raise InputError(f"{option}: {word!r} is no {kind}; write values such as 0, 1, 2") from None


def changed(setting: PictureSetting, option: str, value: Any) -> PictureSetting:
    """The same setting with one option changed, checked again."""
    data = setting.model_dump()
    if option.startswith("granularity "):
        data["granularity"] = {**data["granularity"], option.partition(" ")[2]: value}
    elif option == "scale":
        data["references"] = [{**one, "scale": value} for one in data["references"]]
    else:
        data[option] = value
    with explained(PictureSetting, "grid"):
        return PictureSetting.model_validate(data)
