"""Does attention follow the subject? Maps over the reference against the subject's mask, beside what knows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from dynaip.ablation.statistics import Bootstrap, collect
from dynaip.report.style import BASELINE
from dynaip.statistics.intervals import FEWEST
from dynaip_analysis.drawing import canvas
from dynaip_analysis.recording.maps import Grid, region_on

Floats = NDArray[np.floating[Any]]
CENTRE, SHUFFLED, CHANCE = "centre prior", "shuffled reference", "chance"
METRICS: Mapping[str, str] = {
    "average_precision": "average precision",
    "energy_inside": "energy inside",
    "pointing_game": "pointing game",
}


def average_precision(scores: Floats, mask: Floats) -> float:
    """Scikit-learn's average precision of the patches that were seen; NaN without a mask there.

    ``scores`` are rows x columns (NaN: never seen), ``mask`` says what share of each patch the subject covers: half is enough.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    seen = np.isfinite(values)
    truth = (np.asarray(mask) >= 0.5).ravel()[seen]
    return float(average_precision_score(truth, values[seen])) if truth.any() else float("nan")


def energy_inside(scores: Floats, mask: Floats) -> float:
    """Share of the attention that falls onto the subject."""
    total = float(np.nansum(scores))
    return float(np.nansum(np.asarray(scores) * np.asarray(mask)) / total) if total > 0 else float("nan")


def pointing_game(scores: Floats, mask: Floats) -> float:
    """1 if the patch that is looked at most is the subject's, else 0."""
    return float(np.asarray(mask).ravel()[int(np.nanargmax(scores))] >= 0.5)


def centre_prior(grid: Grid) -> Floats:
    """A bell around the middle, a quarter of the picture wide: what a photographer's habit alone would score."""
    rows, columns = ((np.arange(size) + 0.5) / size - 0.5 for size in grid)
    bell = np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * 0.25**2))
    return bell / bell.sum()


def chance(mask: Floats) -> dict[str, float]:
    """What a random order of patches reaches on average, exactly; for average precision that is more than the share.

    A random ranking of N patches with n inside has precision (1 + (k - 1)(n - 1)/(N - 1)) / k where it meets one at rank k,
    and meets them at any rank alike. NaN for average precision without a patch inside.
    """
    covered = np.asarray(mask, dtype=np.float64).ravel()
    total, inside = len(covered), int((covered >= 0.5).sum())
    ranks = np.arange(1, total + 1)
    precision = (1 + (ranks - 1) * (inside - 1) / max(total - 1, 1)) / ranks
    return {
        "average_precision": float(precision.mean()) if inside else float("nan"),
        "energy_inside": float(covered.mean()), "pointing_game": inside / total,
    }  # fmt: skip


def agreement(
    maps: Sequence[Mapping[str, Floats]], masks: Sequence[Any], cases: Sequence[str], references: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Tidy rows, one a case, reference and map: branches, a centre prior, another case's maps (shuffled), chance.

    ``maps`` hold attention over patches (rows x columns) by branch, ``masks`` the subject in the reference (any size),
    ``references`` its place in the case's list (by default 0).
    """
    rows: list[dict[str, Any]] = []
    for k, (own, mask, case) in enumerate(zip(maps, masks, cases, strict=True)):
        grid = next(iter(own.values())).shape
        covered = region_on(mask, (grid[0], grid[1]), grid[0] * grid[1]).reshape(grid)
        tried = {f"{branch} branch": values for branch, values in own.items()} | {
            CENTRE: centre_prior((grid[0], grid[1]))
        }
        others = [maps[(k + j) % len(maps)] for j in range(1, len(maps)) if cases[(k + j) % len(maps)] != case]
        if others:
            tried |= {f"{SHUFFLED}, {branch}": values for branch, values in others[0].items()}
        found = {
            name: {metric: measure(values, covered) for metric, measure in MEASURES.items()}
            for name, values in tried.items()
        }
        found[CHANCE] = chance(covered)
        place = references[k] if references else 0
        rows += [{"map": name, "case": case, "reference": place, **values} for name, values in found.items()]
    return rows


MEASURES = {"average_precision": average_precision, "energy_inside": energy_inside, "pointing_game": pointing_game}


def _by_case(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the bootstrap reads them: references of one case are drawn together, as training seeds are."""
    return [{"seed": row.get("reference", 0), "suite": "all", **row, "arm": row["map"]} for row in rows]


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether each branch beats its best baseline in average precision, by the paired difference over cases, in words."""
    metric = "average_precision"
    aligned = collect(_by_case(rows), [metric])[0]
    boot = Bootstrap(aligned)
    names = boot.scores.arms
    rivals = [name for name in names if name == CENTRE or name.startswith(SHUFFLED)]
    best = max(rivals, key=lambda name: boot.estimate(name, metric).value)
    parts: list[str] = []
    for name in (each for each in names if each.endswith(" branch")):
        gap = boot.difference(name, best, metric)
        verdict = "is not told apart from" if not gap.decided else ("beats" if gap.value > 0 else "stays below")
        parts.append(f"the {name} ({boot.estimate(name, metric).value:.2f}) {verdict} it")
    baseline = f"{best} ({boot.estimate(best, metric).value:.2f})"
    return f"Does attention follow the subject? In average precision the best baseline is the {baseline}; {', '.join(parts)}"


def draw(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the three measures by map with 95 % intervals over cases, the baselines, and chance as a line."""
    estimates = canvas.estimates(_by_case(rows), "map")
    luck, found = estimates[CHANCE], {name: each for name, each in estimates.items() if name != CHANCE}
    table = [
        {"map": name, "metric": metric, "value": it.value, "low": it.low, "high": it.high, "cases": it.cases,
         "chance": luck[metric].value}
        for name, each in found.items() for metric, it in each.items() if metric in METRICS
    ]  # fmt: skip
    with canvas.drawing(path, table) as plt:
        figure, axes = plt.subplots(1, len(METRICS), figsize=(9.2, 0.36 * len(found) + 1.5), layout="constrained")
        canvas.headline(figure, headline(rows))
        for place, (metric, title) in zip(axes, METRICS.items(), strict=True):
            _panel(place, [row for row in table if row["metric"] == metric], list(found))
            place.set_title(title, fontsize=9.5)
        for place in axes[1:]:
            place.set_yticklabels([])
        few = f"; fewer than {FEWEST} tell nothing apart" if table[0]["cases"] < FEWEST else ""
        canvas.note(figure, f"means over {table[0]['cases']} cases with 95 % intervals; dashed: a random map{few}")
    return path


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for row in rows:
        at, branch = names.index(row["map"]), row["map"].removesuffix(" branch")
        colour = canvas.BRANCH_COLOURS.get(branch, BASELINE)
        marker = "o" if branch in canvas.BRANCH_COLOURS else "D"
        axes.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=2, solid_capstyle="round", clip_on=False)
        axes.plot(row["value"], at, marker=marker, color=colour, markersize=6, clip_on=False)
    axes.axvline(rows[0]["chance"], color=BASELINE, linewidth=1, linestyle=(0, (3, 2)))
    axes.annotate("chance", (rows[0]["chance"], -0.45), xytext=(3, 0), textcoords="offset points", fontsize=7,
                  color=BASELINE, va="bottom")  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.75)
    axes.set_xlim(0, 1)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
