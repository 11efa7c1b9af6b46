"""Images of benchmark cases on disk: what is there and still holds is read, the rest is painted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dynaip.atomic import write_image
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.reading import check_picture

MADE = "dynaip"
"""Name of the text in a PNG that says what it was made from."""


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

    An image on disk counts if it was made from what ``made`` tells now; other settings make it again. One that is damaged
    is made again, too, and that is told.
    """
    missing = [case for case in cases if not _finished(sample_path(folder, case), made(case))]
    fresh: dict[str, Image.Image] = {}
    for case, image in generate(missing):
        save_png(image, sample_path(folder, case), made(case))
        fresh[case.id] = image
        if on_image:
            on_image(len(cases) - len(missing) + len(fresh))
    return [fresh.get(case.id) or load_image(sample_path(folder, case)) for case in cases]


def taken(folders: Sequence[Path], case: Case, made: str) -> Image.Image | None:
    """The image of a case from the first of some folders of samples that holds one made from what ``made`` tells."""
    paths = (sample_path(folder, case) for folder in folders)
    return next((load_image(path) for path in paths if _finished(path, made)), None)


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
