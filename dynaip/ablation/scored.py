"""Pictures of several methods as the arms of a comparison: scored on the same cases, in the folder that a report is made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dynaip.ablation.cases import write_cases
from dynaip.ablation.folder import FINISHED, AblationFolder
from dynaip.atomic import write_table, write_text
from dynaip.config import EvaluationConfig
from dynaip.config.yaml_text import dump
from dynaip.contracts import Case
from dynaip.errors import InputError
from dynaip.evaluation.cases import benchmark_cases, benchmark_of, case_table
from dynaip.evaluation.generation import sample_path, save_png
from dynaip.evaluation.pictures import Pictures, find_pictures
from dynaip.evaluation.scoring import score
from dynaip.notes import gathered
from dynaip.plain import check_name, name_from
from dynaip.scores import summary, to_csv

SHOWN = 512
"""Edge of the pictures that are kept for the report, in pixels at most."""


def named_folders(given: Sequence[str]) -> dict[str, Path]:
    """Arm -> where its pictures are, from ``FOLDER`` or ``NAME=FOLDER``; ``InputError`` where two have one name."""
    arms: dict[str, Path] = {}
    for text in given:
        before, equals, after = text.partition("=")
        named = bool(equals) and not Path(text).exists()
        place = Path(after if named else text).expanduser()
        name = check_name(before, "the name of an arm:") if named else name_from(place.resolve().stem, "pictures")
        if name in arms:
            raise InputError(f"{text}: there is an arm {name} already: write NAME={place}")
        arms[name] = place
    return arms


def pictures_of(config: EvaluationConfig, arms: Mapping[str, Path]) -> tuple[list[Case], dict[str, Pictures]]:
    """The cases and, by arm, the picture of each; ``InputError`` where an arm lacks a picture or has two for a case."""
    cases, benchmark = benchmark_cases(config), benchmark_of(config)
    return cases, {name: find_pictures(place, cases, benchmark.places) for name, place in arms.items()}


def score_pictures(
    config: EvaluationConfig,
    arms: Mapping[str, Path],
    out: Path,
    on_arm: Callable[[str], None] = lambda name: None,
) -> pd.DataFrame:
    """Score the pictures of every arm and write what ``evaluate`` and a report need; give all scores, by arm.

    ``out`` gets ``scores.parquet`` (with a column arm), ``results.csv``, ``cases.parquet`` and an ablation's folders: plan,
    cases, ``arms/NAME/scores.parquet``. Nothing is scored before every picture of every arm was found and read.
    """
    with gathered():
        cases, found = pictures_of(config, arms)
        folder, tables = AblationFolder(out), list[pd.DataFrame]()
        write_cases(cases, folder)
        write_table(out / "cases.parquet", case_table(cases))
        write_text(folder.plan, dump(_plan(config, arms)))
        for name, pictures in found.items():
            _keep_shown(cases, pictures, folder.arm(name).samples)
        for name, pictures in found.items():
            on_arm(name)
            tables.append(_score_arm(config, cases, pictures, folder, name))
    joined = pd.concat(tables, ignore_index=True)
    joined.attrs = tables[0].attrs
    write_table(out / "scores.parquet", joined)
    rows = [summary(table.drop(columns="arm")).assign(arm=name) for name, table in zip(arms, tables, strict=True)]
    results = pd.concat(rows, ignore_index=True)
    results.insert(0, "arm", results.pop("arm"))
    write_text(folder.results, to_csv(results))
    return joined


def _keep_shown(cases: Sequence[Case], pictures: Pictures, samples: Path) -> None:
    """Keep small pictures for the page; each is decoded for it, so that a damaged one ends the command before any scoring."""
    for case, image in zip(cases, pictures, strict=True):
        shown = image.copy()
        shown.thumbnail((SHOWN, SHOWN))
        save_png(shown, sample_path(samples, case))


def _score_arm(
    config: EvaluationConfig, cases: Sequence[Case], pictures: Pictures, folder: AblationFolder, name: str
) -> pd.DataFrame:
    began, made = time.monotonic(), folder.arm(name)
    scores = score(config, cases, pictures)
    write_table(made.scores, scores)
    made.mark(FINISHED, seconds=round(time.monotonic() - began, 1))
    scores.insert(0, "arm", name)
    return scores


def _plan(config: EvaluationConfig, arms: Mapping[str, Path]) -> dict[str, object]:
    return {
        "name": f"{config.benchmark.name}, pictures of others",
        "question": f"Which pictures do best on {config.benchmark.name}?",
        "arms": [{"name": name, "folder": name, "seed": 0} for name in arms],
        "pictures": {name: str(place) for name, place in arms.items()},
        "evaluation": config.model_dump(mode="json"),
    }
