"""Figures of what the router depends on, and of which level or expert each patch uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from dynaip.report.style import LIGHT, OKABE_ITO
from dynaip_analysis.drawing import canvas
from dynaip_analysis.routing.dependence import Dependence, dead, prompt_information
from dynaip_analysis.routing.measure import Levels, RoutingSummary, Summaries, rows, summarise, summary_rows

Floats = NDArray[np.float64]


FLOOR = 1e-4
"""Nats at which the logarithmic scale begins."""


Dependences = Mapping[str, Mapping[str, Dependence]]
"""What chooses (levels; experts of a level) -> what it may depend on -> how much."""


def dependence_rows(found: Dependences) -> list[dict[str, Any]]:
    """Tidy rows: choice, of, information, chance, limit, p, clear."""
    return [
        {"choice": choice, "of": name, **each.row(), "clear": each.clear(len(parts))}
        for choice, parts in found.items() for name, each in parts.items()
    ]  # fmt: skip


def draw_dependence(path: Path, found: Dependences) -> Path:
    """Draw I(choice; thing) of each thing with the 95 % limit of its permutation null."""
    names = list(dict.fromkeys(name for parts in found.values() for name in parts))
    with canvas.drawing(path, dependence_rows(found)) as plt:
        size = (3.1 * len(found) + 1.8, 0.27 * len(names) + 1.9)
        figure, axes = plt.subplots(1, len(found), figsize=size, layout="constrained", squeeze=False, sharey=True)
        canvas.headline(figure, _what_counts(found))
        for place, (choice, parts) in zip(axes[0], found.items(), strict=True):
            _against_null(place, {names.index(name): each for name, each in parts.items()})
            place.set_title(choice, fontsize=9.5)
            place.set_xlabel("mutual information, nats")
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
        canvas.note(
            figure,
            f"Grey: 95 % of shuffled labels or shifted maps, whole identities together. Dot: beyond chance at 5 % when "
            f"all {len(names)} are tried. Cross: not.",
        )
    return path


def _what_counts(found: Dependences) -> str:
    """The strongest of those that are clear, and how many more there are."""
    choice, parts = next(iter(found.items()))
    clear = [name for name, each in parts.items() if each.clear(len(parts))]
    clear.sort(key=lambda name: -parts[name].excess)
    more = f" and {len(clear) - 3} more" if len(clear) > 3 else ""
    told = f"{', '.join(clear[:3])}{more}" if clear else "nothing beyond chance"
    return f"What the choice of {choice} depends on: {told}"


def _against_null(axes: Any, found: Mapping[int, Dependence]) -> None:
    """On a logarithmic scale, since what a place tells and what a class tells differ by orders of magnitude."""
    for row, each in found.items():
        clear = each.clear(len(found))
        colour = OKABE_ITO[0] if clear else canvas.LEVEL_COLOURS[5]
        axes.plot([FLOOR, max(each.limit, FLOOR)], [row, row], color=LIGHT.line, linewidth=7, solid_capstyle="butt")
        axes.plot(max(each.information, FLOOR), row, marker="o" if clear else "x", color=colour, markersize=6,
                  linestyle="none")  # fmt: skip
        axes.annotate(f"{each.information:.2g}", (max(each.information, FLOOR), row), xytext=(7, 0),
                      textcoords="offset points", va="center", fontsize=7.5, color=LIGHT.quiet)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(FLOOR, 4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def choice_rows(weights: Floats, names: Sequence[str], grid: tuple[int, int], key: str) -> list[dict[str, Any]]:
    """Tidy rows of the choice of each patch: image, row, column, the chosen name and its weight."""
    shaped = weights.reshape(len(weights), *grid, len(names))
    return [
        {"image": b, "row": i, "column": j, key: names[int(shaped[b, i, j].argmax())], "weight": float(shaped[b, i, j].max())}
        for b, i, j in np.ndindex(*shaped.shape[:3])
    ]  # fmt: skip


def draw_choice(
    path: Path, images: Sequence[Image.Image], choices: Mapping[str, Floats], names: Sequence[str], grid: tuple[int, int],
    *, key: str = "level",
) -> Path:  # fmt: skip
    """Draw which level (or expert) leads at each patch, one column a set of weights (B x N x L); paler where it leads less."""
    import matplotlib.patches as shapes

    rows = [{"of": of, **row} for of, weights in choices.items() for row in choice_rows(weights, names, grid, key)]
    shape = (len(images), len(choices) + 1)
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            *shape, figsize=(1.55 * shape[1] + 1.6, 1.5 * shape[0] + 1.0), layout="constrained", squeeze=False
        )
        canvas.headline(figure, f"Which {key} leads at each patch; paler where it leads by less")
        for b, image in enumerate(images):
            canvas.show_image(axes[b, 0], image, "reference" if b == 0 else "")
            for k, (of, weights) in enumerate(choices.items()):
                painted = _painted(weights[b].reshape(*grid, len(names)))
                canvas.show_image(axes[b, k + 1], painted, of if b == 0 else "")
        patches = [shapes.Patch(color=canvas.colour_of_level(k), label=name) for k, name in enumerate(names)]
        figure.legend(handles=patches, loc="outside right center", fontsize=8, handlelength=1)
    return path


def _painted(weights: Floats) -> Floats:
    """Colour of the leader, mixed with white by how little it leads over an even spread."""
    count = weights.shape[-1]
    colours = np.array([to_rgb(canvas.colour_of_level(k)) for k in range(count)])
    lead = np.clip((weights.max(axis=-1) - 1 / count) / (1 - 1 / count), 0, 1)[..., None] ** 0.5
    return 1 - (1 - colours[weights.argmax(axis=-1)]) * (0.15 + 0.85 * lead)


def expert_rows(experts: Floats, levels: Sequence[str], groups: NDArray[Any] | None = None) -> list[dict[str, Any]]:
    """Tidy rows of gates (B x N x L x E): level, expert, mean, load, dead, entropies and information of the level."""
    rows: list[dict[str, Any]] = []
    for k, level in enumerate(levels):
        found = summarise(experts[:, :, k], groups)
        gone = dead(found.mean, found.load)
        rows += [
            {"level": level, "expert": e, "mean": float(found.mean[e]), "mean_low": float(found.low[e]),
             "mean_high": float(found.high[e]), "load": float(found.load[e]), "dead": bool(gone[e]),
             "entropy_of_mean": found.entropy_of_mean, "mean_entropy": found.mean_entropy,
             "mutual_information": found.mutual_information, "information_low": found.information_low,
             "information_high": found.information_high}
            for e in range(experts.shape[-1])
        ]  # fmt: skip
    return rows


def draw_experts(path: Path, experts: Floats, levels: Sequence[str], groups: NDArray[Any] | None = None) -> Path:
    """Draw mean gate and load of every expert within its level; an even spread and dead experts are marked."""
    rows = expert_rows(experts, levels, groups)
    gone = sum(row["dead"] for row in rows)
    most = max(rows, key=lambda row: row["mutual_information"])
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            1, len(levels), figsize=(2.3 * len(levels) + 0.8, 2.9), layout="constrained", squeeze=False, sharey=True
        )
        canvas.headline(
            figure,
            f"Experts within each level: {gone or 'none'} of {len(rows)} {'is' if gone == 1 else 'are'} dead; the patch "
            f"tells {most['mutual_information']:.2f} of {np.log(experts.shape[-1]):.2f} nats at most ({most['level']})",
        )
        for k, (place, level) in enumerate(zip(axes[0], levels, strict=True)):
            _gates(place, [row for row in rows if row["level"] == level], canvas.colour_of_level(k))
        axes[0, 0].set_ylabel("share (dotted: even)")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8, handlelength=1)
    return path


def _gates(axes: Any, rows: Sequence[Mapping[str, Any]], colour: str) -> None:
    """Mean gates with their 95 % intervals beside the load of one level."""
    at = np.arange(len(rows))
    means = [row["mean"] for row in rows]
    errors = np.abs(np.array([[row["mean_low"], row["mean_high"]] for row in rows]).T - means)
    axes.bar(at - 0.2, means, yerr=errors, width=0.38, color=colour, label="mean gate", error_kw={"linewidth": 1})
    axes.bar(at + 0.2, [row["load"] for row in rows], width=0.38, color=LIGHT.quiet, label="load")
    for e in (e for e, row in enumerate(rows) if row["dead"]):
        axes.text(e, 0.03, "dead", ha="center", fontsize=8, color=canvas.MARK)
    axes.axhline(1 / len(rows), color=LIGHT.ink, linewidth=0.9, linestyle=":")
    axes.set_xticks(at, [str(row["expert"]) for row in rows])
    axes.set(xlabel="expert", ylim=(0, 1))
    axes.set_title(f"{rows[0]['level']}: I = {rows[0]['mutual_information']:.3f} nats", fontsize=9.5)


def draw_prompts(
    path: Path, weights: Floats, prompts: Sequence[str], levels: Sequence[str], groups: NDArray[Any] | None = None
) -> Path:
    """Draw mean weights of the same references under several prompts (P x B x N x L), and how much the prompt says."""
    means = weights.mean(axis=tuple(range(1, weights.ndim - 1)))
    found = prompt_information(weights, groups)
    rows = [
        {"prompt": prompt, "level": level, "mean": float(means[p, k]), **found.row("information")}
        for p, prompt in enumerate(prompts) for k, level in enumerate(levels)
    ]  # fmt: skip
    with canvas.drawing(path, rows) as plt:
        figure, axes = plt.subplots(figsize=(7.4, 0.36 * len(prompts) + 1.7), layout="constrained")
        share = found.value / np.log(max(len(levels), 2))
        told = f"The prompt explains {found.value:.4f} nats of the level"
        told += f" [{found.low:.4f}, {found.high:.4f}]" if np.isfinite(found.low) else " (of a single reference)"
        canvas.headline(figure, f"{told}, {share:.1%} of what is possible")
        starts = np.zeros(len(prompts))
        for k, level in enumerate(levels):
            colour = canvas.colour_of_level(k)
            axes.barh(range(len(prompts)), means[:, k], left=starts, height=0.62, color=colour, label=level)
            starts += means[:, k]
        axes.set_yticks(range(len(prompts)), [prompt if len(prompt) < 48 else f"{prompt[:46]}…" for prompt in prompts])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="mean weight over references and patches")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside right center", fontsize=8, handlelength=1)
    return path


def draw(
    path: Path,
    images: Sequence[Image.Image],
    weights: Floats,
    levels: Sequence[str],
    grid: tuple[int, int],
    summary: RoutingSummary | None = None,
) -> Path:
    """Draw router weights over the patches of some references (B x N x L); the titles tell the means of ``summary``."""
    shaped = weights.reshape(len(images), *grid, len(levels))
    high = float(max(shaped.max(), 1 / len(levels)))
    summary = summary or summarise(weights)
    leader = levels[int(summary.mean.argmax())]
    means = {level: float(mean) for level, mean in zip(levels, summary.mean, strict=True)}
    table = [{**row, "mean_of_all": means[row["level"]]} for row in rows(weights, levels, grid)]
    with canvas.drawing(path, table) as plt:
        shape = (len(images), len(levels) + 1)
        figure, axes = plt.subplots(
            *shape, figsize=(1.55 * shape[1] + 1.0, 1.5 * shape[0] + 0.9), layout="constrained", squeeze=False
        )
        canvas.headline(
            figure, f"Which level a patch uses: {leader} leads with {summary.mean.max():.2f}, mean of all references"
        )
        drawn = None
        for b, image in enumerate(images):
            canvas.show_image(axes[b, 0], image, "reference" if b == 0 else "")
            for k, level in enumerate(levels):
                title = f"{level}  (mean {summary.mean[k]:.2f})" if b == 0 else ""
                drawn = canvas.show_map(axes[b, k + 1], shaped[b, :, :, k], title, high=high)
        canvas.scale_bar(figure, drawn, axes, "weight")
    return path


def draw_summary(path: Path, summaries: Summaries, levels: Levels) -> Path:
    """Draw mean weights and the mutual information of one or more adapters, with 95 % intervals."""
    most = max(len(names) for names in levels.values())
    with canvas.drawing(path, summary_rows(summaries, levels)) as plt:
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.2, 0.31 * len(summaries) * most + 2.4), layout="constrained"
        )
        canvas.headline(figure, "; ".join(_told(name, it, levels[name]) for name, it in summaries.items()))
        _bars(left, summaries, levels)
        _information(right, summaries, most)
    return path


def _told(name: str, summary: RoutingSummary, levels: Sequence[str]) -> str:
    if len(levels) == 1:
        return f"{name}: {levels[0]} is the only level"
    leader, thing = int(summary.mean.argmax()), "patch" if summary.within_images > 1e-9 else "image"
    return (
        f"{name}: {levels[leader]} leads with {summary.mean[leader]:.2f}; "
        f"the {thing} tells {summary.mutual_information:.2f} of {np.log(len(levels)):.2f} nats"
    )


def _interval(low: float, high: float) -> str:
    return f"\n[{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""


def _bars(axes: Any, summaries: Summaries, levels: Levels) -> None:
    names = list(dict.fromkeys(name for own in sorted(levels.values(), key=len, reverse=True) for name in own))
    for row, (adapter, summary) in enumerate(reversed([*summaries.items()])):
        start = 0.0
        for level, mean, low, high in zip(levels[adapter], summary.mean, summary.low, summary.high, strict=True):
            axes.barh(row, mean, left=start, color=canvas.colour_of_level(names.index(level)), height=0.55)
            interval = _interval(low, high) if mean > 0.18 else ""
            if mean > 0.07:
                axes.text(start + mean / 2, row, f"{mean:.2f}{interval}", ha="center", va="center", color="white",
                          fontsize=7.5)  # fmt: skip
            start += mean
    for k, name in enumerate(names):
        axes.bar(0, 0, color=canvas.colour_of_level(k), label=name)
    axes.set_yticks(range(len(summaries)), list(reversed([*summaries])))
    axes.set(xlim=(0, 1), ylim=(-0.6, len(summaries) - 0.4), xlabel="mean weight")
    axes.set_title("Mean weight of each level", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(names), fontsize=8, handlelength=1, borderpad=0)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _information(axes: Any, summaries: Summaries, levels: int) -> None:
    most = np.log(max(levels, 2))
    for row, summary in enumerate(reversed([*summaries.values()])):
        within, between = summary.within_images, summary.between_images
        axes.barh(row, within, color=LIGHT.ink, height=0.55, label="patch within its image" if row == 0 else None)
        axes.barh(row, between, left=within, color=LIGHT.quiet, height=0.55, label="image" if row == 0 else None)
        axes.plot([summary.information_low, summary.information_high], [row, row], color=canvas.MARK, linewidth=2)
        text = f"{summary.mutual_information:.2f}{_interval(summary.information_low, summary.information_high)}"
        end = np.fmax(summary.mutual_information, summary.information_high) + 0.01 * most
        axes.text(end, row, text, va="center", fontsize=8, color=LIGHT.quiet)
    ends = [np.fmax(each.mutual_information, each.information_high) for each in summaries.values()]
    high = max(0.12 * most, 1.4 * max(ends))
    axes.set_yticks([])
    axes.set(
        xlim=(0, high),
        ylim=(-0.6, len(summaries) - 0.4),
        xlabel=f"nats, of log {levels} = {np.log(levels):.2f} at most",
    )
    axes.set_title("How much the level depends on the patch", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=8, handlelength=1, borderpad=0)
    axes.spines["left"].set_visible(False)
