"""Shared by benchmarks: the user's own copy of a benchmark on disk or on the hub, and what every case of it needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import Field, field_validator, model_validator

from dynaip.config import ComponentConfig
from dynaip.contracts import Benchmark, Case, CaseReference
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.paths import at_home, missing
from dynaip.plain import name_from
from dynaip.suggest import did_you_mean

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class CopyConfig(ComponentConfig):
    """Options of every benchmark that is read from a copy of one's own."""

    folder: str
    """Where your copy lies: a folder, or the hub id of the data set. Nothing of it comes with this package."""
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = (1024, 1024)
    """Height and width of what is painted; None leaves it to the base."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, dict) and "folder" not in given:
            raise ValueError("no copy is named: give --data FOLDER, or folder in a config")
        return given

    @field_validator("folder", mode="before")
    @classmethod
    def _beside_the_file(cls, given: Any) -> Any:
        """A folder beside the config file that names it; anything else stays as it is, since it may be a hub id."""
        home = getattr(given, "folder", None)
        beside = home / at_home(given) if home is not None and given else None
        return str(beside) if beside is not None and beside.is_dir() else given


class CopiedBenchmark(Benchmark):
    """A benchmark whose cases are read from the user's copy."""

    where: str
    """Where one gets it, for messages."""

    def __init__(self, config: CopyConfig) -> None:
        self.config = config

    @cached_property
    def root(self) -> Path:
        """The folder of the copy; a hub id is fetched (or found in the hub's cache)."""
        given = at_home(self.config.folder)
        if given.is_dir():
            return given
        if not HUB_ID.fullmatch(self.config.folder) or given.exists():
            raise InputError(f"{given}: there is no such folder; get {self.where}.{missing(given)}")
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.config.folder, repo_type="dataset"))
        except Exception as error:  # the hub's library raises whatever the network makes of it
            raise InputError(
                f"{self.config.folder}: neither a folder here nor given by the hub ({type(error).__name__}); get {self.where}"
            ) from error

    def part(self, *names: str) -> Path:
        """The first of these files or folders that the copy has; ``InputError`` names it and where one gets it."""
        for name in names:
            if (self.root / name).exists():
                return self.root / name
        raise InputError(f"{self.root}: there is no {' and no '.join(names)}; get {self.where}")

    def picture(self, path: Path) -> Image.Image:
        """A picture of the copy; ``InputError`` names it and where one gets it if it is not there."""
        if not path.is_file():
            raise InputError(f"{path}: there is no such picture in the copy; get {self.where}")
        return load_image(path)

    def check_suite(self, suite: str) -> None:
        """Raise ``InputError`` with the nearest name for a suite that there is not."""
        if suite not in self.suites:
            known = ", ".join(self.suites)
            raise InputError(f"there is no suite {suite}; there are {known}.{did_you_mean(suite, self.suites)}")

    def case(
        self,
        name: str,
        suite: str,
        prompt: str,
        references: Sequence[CaseReference],
        seed: int,
        *,
        category: str = "",
        places: Sequence[str] = (),
    ) -> Case:
        """A case with a seed and a size of its own; ``places`` is where others leave its picture."""
        wanted = name_from(name, "case")
        if not prompt.strip():
            raise InputError(f"{self.root}: the prompt of {wanted} is empty; get {self.where}")
        return Case(
            id=wanted,
            suite=suite,
            prompt=prompt,
            references=tuple(references),
            seed=case_seed(seed, wanted),
            size=self.config.size,
            category=category,
            truth={"places": tuple(places)},
        )

    def places(self, case: Case) -> Sequence[str]:
        """Our own layout, ``case-id.png``, and the layout of the benchmark's own programs."""
        return (*super().places(case), *case.truth["places"])


def case_seed(seed: int, name: str) -> int:
    """A seed for a case that depends on its name alone, so that other suites, limits and orders leave it as it is."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") % 2**31


def text_lines(path: Path) -> list[str]:
    """Lines with content of a text file; ``InputError`` in one line if it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = "it is no UTF-8: save it as that" if isinstance(error, UnicodeDecodeError) else type(error).__name__
        raise InputError(f"{path} cannot be read: {why}") from error


def pictures_in(folder: Path) -> Iterator[Path]:
    """Pictures below a folder, in the order of their names; hidden files (``._00.jpg`` of an archive) are none."""
    every = (path for path in sorted(folder.rglob("*")) if not path.name.startswith("."))
    return (path for path in every if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
