"""Generates benchmark cases in batches; what a case looks like does not depend on the batch it is in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dynaip.adapter.model import DynaIP
from dynaip.adapter.reference import Reference
from dynaip.atomic import write_image
from dynaip.contracts import Backbone, Case
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.reading import check_picture

MADE = "dynaip"
"""Name of the text in a PNG that says what it was made from."""


def generate_cases(
    pipe: Any,
    backbone: Backbone,
    cases: Sequence[Case],
    *,
    dyna: DynaIP | None = None,
    batch_size: int = 8,
    options: Mapping[str, Any] | None = None,
    decoupling: Any = None,
    granularity: Mapping[str, float] | None = None,
) -> Iterator[tuple[Case, Image.Image]]:
    """Yield every case with its image; ``dyna`` None leaves the references out.

    Cases of one size go through the pipeline together, each with its own references and its own seed, so that all arms
    start a case from the same noise. ``options`` go to the pipeline's call.
    """
    for batch in batches(cases, batch_size):
        prompts, seeds = [case.prompt for case in batch], [case.seed for case in batch]
        if dyna is None:
            images = backbone.generate(pipe, prompts, seeds=seeds, size=batch[0].size, **(options or {}))
        else:
            lists = [[Reference(one.image, region=one.region) for one in case.references] for case in batch]
            with dyna.references(*lists, granularity=granularity, decoupling=decoupling):
                images = backbone.generate(pipe, prompts, seeds=seeds, size=batch[0].size, **(options or {}))
        yield from zip(batch, images, strict=True)


def batches(cases: Sequence[Case], batch_size: int) -> Iterator[list[Case]]:
    """Neighbouring cases of one size and one number of references, ``batch_size`` at most."""
    for _, group in itertools.groupby(cases, key=lambda case: (case.size, len(case.references))):
        rest = list(group)
        yield from (rest[start : start + batch_size] for start in range(0, len(rest), batch_size))


def sample_path(folder: Path, case: Case) -> Path:
    """Where a case's image lies below ``samples/``."""
    return folder / case.id / f"{case.seed}.png"


def save_png(image: Image.Image, path: Path, made: str = "") -> None:
    """Write a PNG; ``made`` is kept in it and says what it was made from."""
    about = PngInfo()
    if made:
        about.add_text(MADE, made)
    write_image(path, image, pnginfo=about)


def painted(
    folder: Path,
    cases: Sequence[Case],
    generate: Callable[[Sequence[Case]], Iterator[tuple[Case, Image.Image]]],
    on_image: Callable[[int], None] | None = None,
    made: Callable[[Case], str] = lambda case: "",
) -> list[Image.Image]:
    """Images of all cases, in order: those on disk are read, the others generated and written.

    An image on disk counts if it was made from what ``made`` tells now; other settings make it again.
    """
    missing = [case for case in cases if not _finished(sample_path(folder, case), made(case))]
    fresh: dict[str, Image.Image] = {}
    for case, image in generate(missing):
        save_png(image, sample_path(folder, case), made(case))
        fresh[case.id] = image
        if on_image:
            on_image(len(cases) - len(missing) + len(fresh))
    return [fresh.get(case.id) or load_image(sample_path(folder, case)) for case in cases]


def _finished(path: Path, made: str) -> bool:
    if not path.exists():
        return False
    try:
        check_picture(path)
    except InputError as error:
        tell(f"{error}; it is painted again", kind="damaged")
        return False
    with Image.open(path) as image:
        return image.info.get(MADE, "") == made
