"""Makes the pictures of README and documentation again (``make pictures``): what a page shows, the models that ship made.

The findings' figures are taken from the folder that ``dynaip analyze microworld … -o FOLDER`` wrote. Their numbers stand in the
text of ``concepts/findings.md`` and are brought up to date by hand, from the tables beside the figures.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

from .running import ROOT

IMAGES = ROOT / "docs" / "images"
SINGLE, PAIRS = 6, 4
"""Cases of one subject and of two in README's picture."""
GAP = 6


def readme_picture(path: Path, *, single: int = SINGLE, pairs: int = PAIRS) -> None:
    """References of the first test cases above, what the shipped adapter paints for them below; prompts are printed."""
    import dynaip
    from dynaip_plugins.benchmarks.microworld.config import MicroworldBenchmarkConfig
    from dynaip_plugins.benchmarks.microworld.model import MicroworldBenchmark

    world = dynaip.load("microworld")
    benchmark = MicroworldBenchmark(MicroworldBenchmarkConfig(single=single, multi2=pairs))
    columns: list[tuple[list[Image.Image], Image.Image]] = []
    for case in [*benchmark.cases("single"), *benchmark.cases("multi2")]:
        references = [dynaip.Reference(each.image, region=each.region) for each in case.references]
        columns.append(
            ([each.image for each in case.references], world.generate(case.prompt, *references, seed=case.seed))
        )
        print(case.prompt)
    two_rows(columns).save(path, optimize=True)


def two_rows(columns: list[tuple[list[Image.Image], Image.Image]]) -> Image.Image:
    """A column each: its references on a common floor, as many beside each other as there are, and the painted picture."""
    edge = columns[0][1].width
    sheet = Image.new("RGB", (GAP + len(columns) * (edge + GAP), GAP + 2 * (edge + GAP)), "white")
    for place, (references, painted) in enumerate(columns):
        left, side = GAP + place * (edge + GAP), (edge - 4 * (len(references) - 1)) // len(references)
        for number, reference in enumerate(references):
            small = reference.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + number * (side + 4), GAP + edge - side))
        sheet.paste(painted, (left, 2 * GAP + edge))
    return sheet


def take_findings(folder: Path) -> list[str]:
    """Copy every figure that ``concepts/findings.md`` shows; gives the names of those that the folder lacks."""
    shown = sorted((IMAGES / "findings").glob("*.png"))
    for path in shown:
        if (folder / path.name).is_file():
            shutil.copyfile(folder / path.name, path)
    return [path.name for path in shown if not (folder / path.name).is_file()]


def main(folder: Path) -> None:
    """Make README's picture, and take the findings' figures from a folder of analyses."""
    readme_picture(IMAGES / "demo.png")
    if missing := take_findings(folder):
        sys.exit(f"{folder} lacks {', '.join(missing)}: dynaip analyze microworld WHAT -o {folder} makes them")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
