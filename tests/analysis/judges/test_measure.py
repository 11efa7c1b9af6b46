"""Agreement of judges: against scipy, planted orders of arms, judges that know a case and judges that guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from dynaip.contracts import Case, CaseReference
from dynaip.reading import read_rows
from dynaip_analysis.judges.figures import draw, headline
from dynaip_analysis.judges.measure import Verdicts, agreements, judges_of, partners, recognitions, verdicts

Rows = list[dict[str, Any]]


def scores(seed: int = 0, count: int = 200) -> Rows:
    """Two judges that share half of what they see, and one that sees something else."""
    rng = np.random.default_rng(seed)
    shared, one, two, noise = rng.normal(size=(4, count))
    return [
        {"case": str(k), "suite": "single", "cp": shared[k] + one[k], "clip_i": shared[k] + two[k], "pf": noise[k]}
        for k in range(count)
    ]


def test_judges_are_whole_scores() -> None:
    row = {"cp": 1.0, "cp_texture": 1.0, "pf": 0.5, "clip_i": 70.0, "clip_i_2": 60.0, "clip_t": float("nan")}
    row |= {"cp_win": 0.5, "cp_win_answered": 1.0}
    assert judges_of([{"case": "a", "suite": "s", "seed": 0, **row}]) == ["cp", "pf", "clip_i", "clip_i_2", "cp_win"]


def test_one_arm_gives_spearman() -> None:
    rows = scores()
    found = {(each.one, each.other): each for each in agreements(rows, ["cp", "clip_i", "pf"])}
    for (one, other), each in found.items():
        expected = spearmanr([row[one] for row in rows], [row[other] for row in rows]).statistic
        assert each.rho == pytest.approx(expected)
        assert each.low < each.rho < each.high
    same, apart = found["cp", "clip_i"], found["cp", "pf"]
    assert same.rho > same.limit
    assert same.low > 0
    assert abs(apart.rho) < 2 * apart.limit


def test_cases_that_one_judge_leaves_out_have_no_rank_for_the_other() -> None:
    rows = scores()
    for row in rows[::2]:
        row["pf"] = float("nan")
    rows[1]["cp"] = float("nan")
    both = [row for row in rows if np.isfinite(row["pf"]) and np.isfinite(row["cp"])]
    (found,) = agreements(rows, ["cp", "pf"])
    assert found.rho == pytest.approx(spearmanr([row["cp"] for row in both], [row["pf"] for row in both]).statistic)
    assert found.cases == len(both)


def test_the_level_of_an_arm_is_no_agreement() -> None:
    """Arms and suites differ in their means under both judges, while cases are ranked independently."""
    rng = np.random.default_rng(0)
    rows = [
        {"case": str(k), "suite": suite, "arm": arm, "cp": level + rng.normal(), "clip_i": level + rng.normal()}
        for level, (arm, suite) in enumerate([("a", "single"), ("b", "single"), ("a", "multi2"), ("b", "multi2")])
        for k in range(200)
    ]
    (found,) = agreements(rows, ["cp", "clip_i"])
    assert abs(found.rho) < 0.1
    assert found.low < 0 < found.high


def test_noise_stays_below_the_limit_about_as_often_as_it_says() -> None:
    beyond = [each.rho > each.limit or each.rho < -each.limit for seed in range(60) for each in _noise(seed)]
    assert np.mean(beyond) < 0.15


def _noise(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    rows = [{"case": str(k), "cp": rng.normal(), "pf": rng.normal()} for k in range(40)]
    return agreements(rows, ["cp", "pf"], seed)


def test_a_judge_that_says_one_thing_of_all_agrees_with_nobody(tmp_path: Path) -> None:
    found = agreements([{"case": str(k), "cp": float(k), "pf": 1.0} for k in range(9)], ["cp", "pf"])
    assert np.isnan(found[0].rho)
    assert draw(tmp_path / "judges.png", found).is_file()


def test_orders_of_arms() -> None:
    """CP and CLIP-I see a < b < c, PF the opposite, and CLIP-T nothing."""
    rng = np.random.default_rng(1)
    steps = {"a": 0.0, "b": 1.0, "c": 2.0}
    rows = [
        {"arm": arm, "suite": "single", "case": str(k), "cp": step + rng.normal(0, 0.1), "clip_i": 9 * step + rng.normal(),
         "pf": -step + rng.normal(0, 0.1), "clip_t": (0.5 if k % 2 else -0.5) * (1 if arm == "b" else -1)}
        for arm, step in steps.items() for k in range(40)
    ]  # fmt: skip
    found = {(each.one, each.other): each for each in verdicts(rows, ["cp", "clip_i", "pf", "clip_t"])}
    assert (found["cp", "clip_i"].alike, found["cp", "clip_i"].opposed, found["cp", "clip_i"].pairs) == (3, 0, 3)
    assert (found["clip_i", "pf"].alike, found["clip_i", "pf"].opposed) == (0, 3)
    assert (found["cp", "clip_t"].alike, found["cp", "clip_t"].opposed) == (0, 0)
    assert verdicts(scores(), ["cp", "pf"]) == []


def test_own_case_known_guessed_and_tied() -> None:
    rng = np.random.default_rng(2)
    own = [{"cp": 1.0, "pf": 0.5, "leak": rng.normal()} for _ in range(200)]
    other = [{"cp": 0.0 if k % 4 else 1.0, "pf": 0.5, "leak": rng.normal()} for k in range(200)]
    found = {each.judge: each for each in recognitions(own, other, ["cp", "pf", "leak"])}
    assert found["cp"].value == pytest.approx(0.75 + 0.25 / 2)
    assert found["pf"].value == 0.5
    assert found["leak"].low < 0.5 < found["leak"].high


def test_partners_share_the_name_of_the_subject() -> None:
    picture = Image.new("RGB", (4, 4))
    names = ["star", "ring", "star", "cup"]
    cases = [Case(str(k), "s", "", (CaseReference(picture, subject=name),), k) for k, name in enumerate(names)]
    assert [case.id for case in partners(cases)] == ["2", "2", "0", "0"]


def test_the_figure_and_its_table(tmp_path: Path) -> None:
    rows = scores(count=30)
    names = judges_of(rows)
    path = draw(tmp_path / "judges.png", agreements(rows, names), known=recognitions(rows, scores(3, 30), names))
    table = read_rows(path.with_suffix(".parquet"))
    assert [row["what"] for row in table] == ["rank correlation"] * 3 + ["own case known"] * 3
    assert {row["null"] for row in table[3:]} == {0.5}


def test_the_headline_names_who_agrees_and_who_does_not() -> None:
    arms = [Verdicts("cp", "clip_i", 9, 0, 12), Verdicts("cp", "pf", 1, 3, 12), Verdicts("pf", "leak", 0, 0, 12)]
    assert headline([], arms, []) == (
        "Pairs of arms that two judges both tell apart: CP and CLIP-I order 9 of 9 alike, "
        "CP and PF order 3 of 4 the other way round"
    )
    assert headline([], arms[2:], []) == "No two judges both tell two arms apart"
