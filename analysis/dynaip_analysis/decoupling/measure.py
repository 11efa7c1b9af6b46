"""What each branch carries: one adapter, generating through the image branch, the text branch, both, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dynaip.ablation.statistics import Bootstrap, collect
from dynaip.adapter.model import DynaIP
from dynaip.contracts import Branch, Case
from dynaip_analysis.drawing import canvas

POLICIES: Mapping[str, str | None] = {
    "neither": None,
    "image branch": "dynamic",
    "text branch": "text_only",
    "both branches": "coupled",
}
"""What is shown -> the policy that an adapter trained through both branches gets at inference; None: no reference."""


NEEDS: Mapping[str, tuple[Branch, ...]] = {
    "image branch": ("image",),
    "text branch": ("text",),
    "both branches": ("image", "text"),
}
"""Branches that an adapter must have keys and values for."""


def served(dyna: DynaIP) -> dict[str, str | None]:
    """The policies of ``POLICIES`` that an adapter can serve: one that was trained through one branch has no other."""
    return {
        name: policy
        for name, policy in POLICIES.items()
        if all(dyna.attention.serves(branch) for branch in NEEDS.get(name, ()))
    }


@dataclass(frozen=True)
class Comparison:
    """Generations of the same cases and seeds through the branches of one adapter."""

    cases: Sequence[Case]
    """Those that are shown."""
    images: Mapping[str, Sequence[Image.Image]]
    """Branch name of ``POLICIES`` -> images of the cases that are shown."""
    scores: Sequence[Mapping[str, Any]]
    """One row a branch and case: branch, suite, case, metrics."""


def differences(scores: Sequence[Mapping[str, Any]], against: str | None = None) -> list[dict[str, Any]]:
    """Every branch and metric with its 95 % interval, and its paired difference to ``against``.

    Metrics are CP, PF and leak, or what the run measures instead. By default ``against`` is both branches, or no reference
    where the adapter has one branch only.
    """
    there = {row["branch"] for row in scores}
    against = against or ("both branches" if "both branches" in there else "neither")
    table: list[dict[str, Any]] = []
    metrics = canvas.main_metrics(canvas.metric_names(scores))
    for aligned in collect([{"seed": 0, **row, "arm": row["branch"]} for row in scores], metrics):
        boot = Bootstrap(aligned)
        for branch in aligned.arms:
            for metric in metrics:
                it, gap = boot.estimate(branch, metric), boot.difference(branch, against, metric)
                table.append(
                    {"suite": aligned.suite, "branch": branch, "metric": metric,
                     "value": it.value, "low": it.low, "high": it.high,
                     "cases": it.cases, "difference": gap.value, "difference_low": gap.low, "difference_high": gap.high,
                     "decided": gap.decided}
                )  # fmt: skip
    return table
