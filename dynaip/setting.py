"""What a picture was asked with, in one piece: painted, kept in the picture's own file, written as Python or as a command."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field, ValidationError

from dynaip.adapter.files import WEIGHTS, find
from dynaip.adapter.reference import Reference
from dynaip.config import ComponentSpec
from dynaip.contracts.data import Box
from dynaip.errors import InputError
from dynaip.images.fit import Fit
from dynaip.images.metadata import read_text, write_with_text
from dynaip.load import Loaded
from dynaip.paths import at_home
from dynaip.registry.options import Strict
from dynaip.runs import versions

KEPT = "dynaip-setting"
"""Name of the text in a PNG."""
FORMAT = 1


class ReferenceSetting(Strict):
    """One reference as a user named it."""

    image: str
    """The picture's file."""
    region: Box | str | None = None
    """A box, or the file of a mask."""
    scale: float = 1.0
    sha256: str = ""
    """Of the picture's file, as it was."""
    mask_sha256: str = ""

    def hashed(self) -> ReferenceSetting:
        """The same with the digests of its files as they are now."""
        mask = file_digest(self.region) if isinstance(self.region, str) else ""
        return self.model_copy(update={"sha256": file_digest(self.image), "mask_sha256": mask})

    def reference(self, fit: Fit | None = None) -> Reference:
        """Read picture and mask; ``InputError`` if that cannot be done."""
        return Reference(self.image, region=self.region, scale=self.scale, fit=fit)

    def written(self) -> str:
        """As ``--ref`` takes it."""
        where = "" if self.region is None else f"@{self.region}"
        if isinstance(self.region, tuple):
            where = "@" + ",".join(f"{edge:.10g}" for edge in self.region)
        return f"{self.image}{where}" + (f"*{self.scale:.10g}" if self.scale != 1 else "")


class PictureSetting(Strict):
    """Everything a picture is asked with; what is None is left to the run."""

    run: str = "microworld"
    prompt: str = Field(min_length=1)
    references: tuple[ReferenceSetting, ...] = ()
    seed: int = Field(0, ge=0, le=2**53)
    size: tuple[int, int] | None = None
    """Height and width in pixels."""
    steps: int | None = Field(None, ge=1, le=1000)
    guidance: float | None = Field(None, ge=0)
    negative_prompt: str | None = None
    granularity: dict[str, float] = {}
    decoupling: str | None = None
    subjects: tuple[str, ...] = ()
    """Words of the prompt, one a reference, from which their regions are found."""
    fit: Fit | None = None
    attention_backend: str | None = None

    def read(self) -> list[Reference]:
        """The references, read from their files."""
        return [one.reference(self.fit) for one in self.references]

    def paint(
        self, world: Loaded, seeds: Sequence[int] | None = None, references: Sequence[Reference] | None = None
    ) -> list[Image.Image]:
        """Paint with a loaded run, one picture a seed (by default the setting's own one); see ``Loaded.paint``."""
        policy = ComponentSpec.parse("decoupling", self.decoupling) if self.decoupling else None
        more: dict[str, Any] = {"layout": "auto", "subjects": list(self.subjects)} if self.subjects else {}
        more |= {} if self.steps is None else {"num_inference_steps": self.steps}
        more |= {} if self.negative_prompt is None else {"negative_prompt": self.negative_prompt}
        return world.paint(
            self.prompt, *(self.read() if references is None else references),
            seeds=[self.seed] if seeds is None else seeds, size=self.size, granularity=self.granularity or None,
            decoupling=policy, guidance=self.guidance, **more,
        )  # fmt: skip

    def command(self, out: str = "out.png") -> str:
        """The line of the shell that paints the same picture."""
        words = [word for one in self.references for word in ("--ref", one.written())]
        words += [
            word for name, value in self.granularity.items() for word in ("--granularity", f"{name}={value:.10g}")
        ]
        words += [word for one in self.subjects for word in ("--subject", one)]
        given = {"decoupling": self.decoupling, "steps": self.steps, "guidance": self.guidance, "fit": self.fit,
                 "negative": self.negative_prompt, "attention-backend": self.attention_backend,
                 "size": self.size and f"{self.size[0]}x{self.size[1]}"}  # fmt: skip
        words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        words += ["--seed", str(self.seed), "-o", out]
        asked = [self.run, self.prompt]
        dashed = any(word.startswith("-") for word in asked)
        return shlex.join(["dynaip", "generate", *([*words, "--", *asked] if dashed else [*asked, *words])])

    def python(self) -> str:
        """The lines of Python that paint the same picture."""
        backend = "" if self.attention_backend is None else f", attention_backend={self.attention_backend!r}"
        lines = [
            "import dynaip",
            "",
            f"world = dynaip.load({self.run!r}{backend})",
            "image = world.generate(",
            f"    {self.prompt!r},",
        ]
        for one in self.references:
            region = "" if one.region is None else f", region={one.region!r}"
            scale = "" if one.scale == 1 else f", scale={one.scale!r}"
            fit = "" if self.fit is None else f", fit={self.fit!r}"
            lines.append(f"    dynaip.Reference({one.image!r}{region}{scale}{fit}),")
        given: dict[str, Any] = {"seed": self.seed, "size": self.size, "granularity": self.granularity or None,
            "decoupling": self.decoupling, "guidance": self.guidance, "num_inference_steps": self.steps,
            "negative_prompt": self.negative_prompt}  # fmt: skip
        if self.subjects:
            given |= {"layout": "auto", "subjects": list(self.subjects)}
        lines += [f"    {name}={value!r}," for name, value in given.items() if value is not None]
        return "\n".join([*lines, ")", 'image.save("out.png")', ""])


class PictureRecord(Strict):
    """What is kept in a picture's file: the setting, and what else the picture rests on."""

    format: int = FORMAT
    setting: PictureSetting
    seeds: tuple[int, ...]
    """Of all pictures that were painted together; the setting's own seed is among them."""
    adapter: str
    """SHA-256 of the adapter's weights."""
    options: dict[str, Any] = {}
    """Options of the run that the setting did not name."""
    device: str = ""
    versions: dict[str, str] = {}

    @classmethod
    def of(
        cls, setting: PictureSetting, world: Loaded, seeds: Sequence[int], *, adapter: str | None = None
    ) -> PictureRecord:
        """The record of what a loaded run has just painted; ``adapter`` is its digest where that is known already."""
        hashed = setting.model_copy(update={"references": tuple(one.hashed() for one in setting.references)})
        return cls(
            setting=hashed, seeds=tuple(seeds), adapter=adapter or adapter_digest(setting.run), options=dict(world.options),
            device=str(getattr(world.pipe, "_execution_device", "")), versions=versions(),
        )  # fmt: skip

    def at(self, seed: int) -> PictureRecord:
        """The record of the picture with this seed."""
        return self.model_copy(update={"setting": self.setting.model_copy(update={"seed": seed})})

    @classmethod
    def read(cls, path: Path) -> PictureRecord:
        """Read it from a PNG; ``InputError`` where there is none, it is damaged, or a later version wrote it."""
        text = read_text(path, KEPT)
        if not text:
            raise InputError(
                f"{path} does not say how it was painted: only PNGs that generate and ui wrote do, "
                "neither contact sheets nor those of --no-metadata"
            )
        try:
            stored = json.loads(text)
            if isinstance(stored, dict) and stored.get("format", FORMAT) != FORMAT:
                raise InputError(f"{path} was written by another version of dynaip (format {stored['format']})")
            return cls.model_validate(stored)
        except (ValueError, RecursionError, ValidationError) as error:
            raise InputError(f"{path}: what it says of how it was painted is damaged") from error

    def write(self, path: Path, image: Image.Image) -> bool:
        """Write a picture with this record in it; tell whether the format has room for it (PNG has)."""
        return write_with_text(path, image, self.model_dump_json(exclude_none=True), KEPT)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file."""
    with at_home(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adapter_digest(run: str) -> str:
    """SHA-256 of a run's weights."""
    return file_digest(find(run) / WEIGHTS)
