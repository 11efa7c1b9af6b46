"""A judge against people whose agreement and errors are planted, through the command, from every layout."""

from __future__ import annotations

import json
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.judging.calibration import calibrate
from dynaip.judging.ratings import Rating, read_ratings
from dynaip.notes import Note

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 5, 60)
PEOPLE = np.clip(TRUTH[None] + RNG.integers(-1, 2, (3, 60)), 0, 4)
JUDGE = np.clip(TRUTH + np.where(np.arange(60) < 30, 1, 0), 0, 4)
"""Right on objects, one too high on animals."""


def ratings(values: np.ndarray, rater: str = "judge") -> list[Rating]:
    return [
        Rating(f"case-{k}", rater, float(value), "animal" if k < 30 else "object") for k, value in enumerate(values)
    ]


def test_figures_are_those_of_the_libraries() -> None:
    people = [each for k, row in enumerate(PEOPLE) for each in ratings(row, f"p{k}")]
    found = calibrate(ratings(JUDGE), people, draws=60)
    mean = PEOPLE.mean(axis=0)
    assert found.figures["spearman, judge and the mean of people"].value == pytest.approx(spearmanr(JUDGE, mean)[0])
    assert found.figures["kendall, judge and the mean of people"].value == pytest.approx(kendalltau(JUDGE, mean)[0])
    truth = krippendorff.alpha(reliability_data=PEOPLE, level_of_measurement="ordinal")
    assert found.figures["alpha, all people"].value == pytest.approx(truth)
    for figure in found.figures.values():
        assert figure.low < figure.value < figure.high
    assert found.confusion.sum() == 60
    assert np.array_equal(found.confusion.sum(axis=0), np.bincount(JUDGE, minlength=5))


def test_bias_is_found_where_it_is() -> None:
    people = [each for k, row in enumerate(PEOPLE) for each in ratings(row, f"p{k}")]
    bias = {each.category: each for each in calibrate(ratings(JUDGE), people, draws=20).bias}
    gap = (JUDGE - PEOPLE.mean(axis=0))[:30]
    assert bias["animal"].value == pytest.approx(gap.mean()) and bias["animal"].low > 0.3
    assert bias["object"].low < 0.3 and abs(bias["object"].value) < 0.3


def test_dreambench_plus_files(tmp_path: Path) -> None:
    """The content counts, not the name of the file; corrupt ratings are told."""
    for rater, row in zip(("anna", "ben"), PEOPLE):
        folder = tmp_path / "human" / rater / "concept_preservation"
        folder.mkdir(parents=True)
        for k, value in enumerate(row):
            item = {"method": "dreambooth-lora", "collection_id": f"animal-{k}", "prompt_index": 1, "score": int(value)}
            (folder / f"dreambooth-lora-animal-{k}-1.json").write_text(json.dumps(item))
    (folder / "broken.json").write_text("{")
    (folder / "none.json").write_text(
        json.dumps({"method": "m", "collection_id": "c", "prompt_index": 0, "score": None})
    )
    with pytest.warns(Note) as told:
        found = read_ratings(tmp_path / "human", "cp")
    assert len(found) == 120 and {each.rater for each in found} == {"anna", "ben"}
    assert (found[0].arm, found[0].case) == ("dreambooth-lora", "animal-0-1")
    lines = " ".join(str(each.message) for each in told)
    assert "1 files are damaged" in lines and "1 of 121 ratings are no number" in lines


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"case-{k}" for k in range(60)]
    pd.DataFrame({"case": names, "suite": "s", "seed": 0, "cp": JUDGE / 4}).to_parquet(tmp_path / "scores.parquet")
    long = [{"case": name, "rater": k, "score": PEOPLE[k, at]} for k in range(3) for at, name in enumerate(names)]
    pd.DataFrame([*long, {"case": "case-0", "rater": 1, "score": 700000}]).to_csv(tmp_path / "people.csv", index=False)
    given = ["calibrate", str(tmp_path / "scores.parquet"), str(tmp_path / "people.csv"), "-o", str(tmp_path / "out")]
    given += ["--draws", "40"]
    assert main(given) == 0
    shown = capsys.readouterr()
    assert "is read as 0 to 1" in shown.out and "60 cases rated by the judge and by 3 people" in shown.out
    assert json.loads((tmp_path / "out" / "cp.json").read_text())["figures"]["alpha, all people"]["value"] > 0.5
    assert main([*given, "--score", "beauty"]) == 2
    assert "needs the columns case and beauty" in capsys.readouterr().err


def test_released_ratings_meet_our_own_scores(tmp_path: Path) -> None:
    """Arms are told apart, each aspect has its own files, and a case is named as the benchmark names it."""
    wanted = {"uno": [0, 1, 2], "kontext": [4, 3, 3]}
    for aspect, twist in (("concept_preservation_full", 0), ("prompt_following_full", 1)):
        for method, values in wanted.items():
            for k, value in enumerate(values):
                item = {"method": method, "collection_id": "object_00_mug", "prompt_index": k, "score": value ^ twist}
                path = tmp_path / "human" / aspect / method / f"{k}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(item))
    cases = [
        {"arm": arm, "case": f"object_00_mug-{k}", "cp": v / 4}
        for arm, values in wanted.items()
        for k, v in enumerate(values)
    ]
    pd.DataFrame(cases).to_parquet(tmp_path / "scores.parquet")
    own, people = (read_ratings(tmp_path / name, "cp") for name in ("scores.parquet", "human"))
    scaled = [Rating(each.case, each.rater, each.value * 4, arm=each.arm) for each in own]
    found = calibrate(scaled, people, draws=20)
    assert found.cases == 6 and found.confusion.diagonal().sum() == 6
    assert found.figures["spearman, judge and the mean of people"].value == pytest.approx(1)
    with pytest.raises(InputError, match=r"several arms .kontext, uno., and the other does not say whose"):
        calibrate(scaled, ratings(PEOPLE[0], "p"), draws=20)
    alone = [each for each in people if each.arm == "uno"]
    plain = [Rating(each.case, "judge", each.value) for each in alone]
    assert calibrate(plain, alone, draws=20).cases == 3


def test_answers_about_several_arms_are_refused(tmp_path: Path) -> None:
    about = [{"case": "x", "rubric": "cp", "picture": name} for name in ("aa", "bb")]
    lines = [{"key": str(k), "state": "answered", "score": k, "about": each} for k, each in enumerate(about)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match="answers about 2 pictures of x"):
        read_ratings(tmp_path / "m.jsonl", "cp")


def test_answers_of_a_judge(tmp_path: Path) -> None:
    lines = [
        {"key": "a", "state": "answered", "score": 1, "about": {"case": "x", "rubric": "cp"}},
        {"key": "a", "state": "answered", "score": 2, "about": {"case": "x", "rubric": "cp"}},
        {"key": "b", "state": "answered", "score": 4, "about": {"case": "x", "rubric": "cp"}},
        {"key": "c", "state": "refused", "score": None, "about": {"case": "y", "rubric": "cp"}},
        {"key": "d", "state": "answered", "score": 0, "about": {"case": "x", "rubric": "pf"}},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n{half")
    assert [(each.case, each.value) for each in read_ratings(path, "cp")] == [("x", 3.0)]


def test_nothing_in_common_is_one_line() -> None:
    with pytest.raises(InputError, match="share 0 cases"):
        calibrate([Rating("a", "j", 1)], [Rating("b", "p", 1)])


def test_scores_are_those_of_dreambench_plus_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs of its files for two methods, one item of one run failed: the sum over N by 4, then the mean of the runs."""
    rng = np.random.default_rng(3)
    runs: dict[str, list[list[int]]] = {"lora-sd": [], "ip-adapter": []}
    for number in ("", "2", "3"):
        for method, means in runs.items():
            folder = tmp_path / "ratings" / f"concept_preservation_full{number}" / method
            folder.mkdir(parents=True)
            means.append([])
            for k in range(12):
                if (number, method, k) == ("2", "lora-sd", 5):
                    continue
                means[-1].append(int(rng.integers(0, 5)))
                item = {
                    "method": method,
                    "collection_id": "object_12_t-shirt",
                    "prompt_index": k,
                    "score": means[-1][-1],
                }
                (folder / f"{method}-object_12_t-shirt-{k}.json").write_text(json.dumps(item))
    rows = [{"arm": arm, "case": f"object_12_t-shirt-{k}", "cp": (k % 5) / 4} for arm in runs for k in range(12)]
    pd.DataFrame(rows).to_parquet(tmp_path / "scores.parquet")
    given = [str(tmp_path / "scores.parquet"), str(tmp_path / "ratings"), "-o", str(tmp_path / "out"), "--draws", "20"]
    assert main(["calibrate", *given]) == 0
    shown = capsys.readouterr()
    assert (
        "1 of 3 x 24 ratings are not there" in shown.err and "24 cases rated by the judge and by 3 people" in shown.out
    )
    found = {each["arm"]: each for each in json.loads((tmp_path / "out" / "cp.json").read_text())["means"]}
    for method, means in runs.items():
        by_hand = sum(sum(run) / len(run) / 4 for run in means) / 3
        assert found[method]["people"] == pytest.approx(by_hand) and f"{by_hand:.3f}" in shown.out
        assert found[method]["judge"] == pytest.approx(np.mean([(k % 5) / 4 for k in range(12)]))
    one = read_ratings(tmp_path / "ratings" / "concept_preservation_full2", "cp")
    assert {each.rater for each in one} == {"concept_preservation_full2"} and len(one) == 23
    with pytest.raises(InputError, match=r"holds no ratings of pf as .* 71 files are of another score"):
        read_ratings(tmp_path / "ratings", "pf")


def test_what_changes_means_unseen_is_told(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    rows = [{"case": f"c-{k}", "rater": rater, "cp": k % 5} for k in range(6) for rater in "ab"]
    rows[0]["rater"], rows[2]["case"] = "", ""
    pd.DataFrame([*rows, rows[5]]).to_csv(path, index=False, encoding="utf-8-sig")
    with pytest.warns(Note) as told:
        found = read_ratings(path, "cp")
    lines = " ".join(str(each.message) for each in told)
    for line in ("1 of 13 ratings name no case", "1 of 12 ratings name no rater", "1 pictures are rated more than once",
                 "7 of 3 x 6 ratings are not there"):  # fmt: skip
        assert line in lines
    with pytest.warns(Note, match="2 cases that the judge rated alone are left out, c-7 for one"):
        calibrate([*found, Rating("c-7", "j", 1), Rating("c-8", "j", 1)], found, draws=20)
    (tmp_path / "people.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"read from \.csv, \.parquet, \.json, jsonl answers or a folder"):
        read_ratings(tmp_path / "people.xlsx", "cp")
