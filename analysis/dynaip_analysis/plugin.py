"""The plugin of the analyses: report sections, data only, nothing heavy imported."""

from __future__ import annotations

from collections.abc import Iterable

from dynaip.registry import Component, hookimpl

_SUMMARIES = {
    "attention": "Where the reference enters each branch, and which of its patches are looked at",
    "interventions": "What the reference term does at each block and step: dropped, scaled or swapped",
    "routing": "Router weights over reference patches and on average",
    "granularity": "Generations over a sweep of fusion coefficients",
    "decoupling": "Generations through one branch, both, or neither",
    "judges": "Whether the metrics agree: case by case, over arms, and on a case's own reference",
}


@hookimpl
def dynaip_components() -> Iterable[Component]:
    """List the report sections that the analyses contribute."""
    return [
        Component(
            "report_section",
            name,
            f"dynaip_analysis.sections.{name}:{name.capitalize()}Section",
            f"dynaip_analysis.sections.config:{name.capitalize()}Config",
            summary,
        )
        for name, summary in _SUMMARIES.items()
    ]
