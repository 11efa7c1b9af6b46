"""Planted differences: one that all judges see, one that a biased judge sees, one that judges see the other way round."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynaip_analysis.judges.survival import judging, sentences, survivals

GAINS = {"base": (0.0, 0.0), "better": (0.2, 0.2), "flattered": (0.0, 0.2), "turned": (0.2, -0.2)}
"""Arm -> gain as CP sees it, as CLIP-I sees it."""


def scores(count: int = 40) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.2, 0.6, count)
    return [
        {"arm": arm, "seed": 0, "suite": "s", "case": str(k), "pf": 0.5}
        | {"cp": hard[k] + one + rng.normal(0, 0.03), "clip_i": 60 + other + rng.normal(0, 0.03)}
        for arm, (one, other) in GAINS.items()
        for k in range(count)
    ]


def test_judges_of_one_thing_stand_together() -> None:
    names = ["cp", "pf", "leak", "qwen_cp", "cp_2", "clip_i", "clip_t", "dino_s16", "cpu_seconds"]
    assert judging(names) == {
        "concept preservation": ["cp", "qwen_cp", "cp_2", "clip_i", "dino_s16"],
        "prompt following": ["pf", "clip_t"],
    }
    assert judging(["cp", "pf"]) == {}


def test_what_survives() -> None:
    found = {(each.one, each.other): each for each in survivals(scores(), ["cp", "pf", "clip_i"])}
    assert {each.quality for each in found.values()} == {"concept preservation"}
    verdicts = {other: found["base", other].verdict for other in ("better", "flattered", "turned")}
    assert verdicts == {"better": "survives", "flattered": "not all", "turned": "contradicted"}
    assert found["base", "better"].better == "better over base"
    told = " ".join(sentences([each.row() for each in found.values()]))
    assert (
        "1 of 6 differences in concept preservation that some judge finds survive all 2 judges: better over base (s)."
        in told
    )
    assert "contradict each other on base and turned (s), flattered and turned (s)" in told


def test_equal_arms_are_told_to_be_equal() -> None:
    rows = [{**row, "arm": arm} for arm in ("a", "b") for row in scores() if row["arm"] == "base"]
    assert sentences([each.row() for each in survivals(rows, ["cp", "clip_i"])]) == [
        "None of 2 judges of concept preservation tells any two arms apart."
    ]
