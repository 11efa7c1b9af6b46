"""Tables of scores: one row a case, and the means that reports, cards and the command line show. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynaip.plain import cell

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["case", "suite", "seed"]
"""Columns that say which case a row is of; every other one is a metric, or one of ``LABELS``."""
LABELS = ("category",)
"""Columns of words that a benchmark may add."""
RESERVED = frozenset({*KEYS, *LABELS, "arm", "n", "cp_pf", "mean_cp_pf"})
"""Names that tables give themselves: a metric's column of such a name is numbered."""


def to_csv(table: pd.DataFrame) -> str:
    """A table as csv text that is safe to open in a spreadsheet."""
    return table.map(cell).rename(columns=cell).to_csv(index=False)


def summary(scores: pd.DataFrame, by: str = "suite") -> pd.DataFrame:
    """Means by suite (or by category), in their order: n, cp, pf, cp_pf, mean_cp_pf, then every other metric.

    ``cp_pf`` is the product of the two overall means (DreamBench++), ``mean_cp_pf`` the mean of the cases' products.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    words = [name for name in (*KEYS, *LABELS) if name in scores.columns]
    for group, cases in scores.groupby(by, sort=False):
        means = cases.drop(columns=words).mean()
        row: dict[str, Any] = {by: group, "n": len(cases)}
        if {"cp", "pf"} <= set(means.index):
            row |= {"cp": means["cp"], "pf": means["pf"], "cp_pf": means["cp"] * means["pf"]}
            row["mean_cp_pf"] = (cases["cp"] * cases["pf"]).mean()
        rows.append(row | {str(name): value for name, value in means.items() if name not in row})
    return pd.DataFrame(rows)
