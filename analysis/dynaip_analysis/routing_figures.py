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
from dynaip_analysis import figures
from dynaip_analysis.dependence import Dependence, dead, prompt_information
from dynaip_analysis.routing import summarise

Floats = NDArray[np.float64]

FLOOR = 1e-4
"""Nats at which the logarithmic scale begins."""

Dependences = Mapping[str, Mapping[str, Dependence]]
"""What chooses (levels; experts of a level) -> what it may depend on -> how much."""


def dependence_rows(found: Dependences) -> list[dict[str, Any]]:
    """Tidy rows: choice, of, information, chance, limit, p."""
    return [
        {"choice": choice, "of": name, **each.row()} for choice, parts in found.items() for name, each in parts.items()
    ]


def draw_dependence(path: Path, found: Dependences) -> Path:
    """Draw I(choice; thing) of each thing with the 95 % limit of its permutation null."""
    names = list(dict.fromkeys(name for parts in found.values() for name in parts))
    with figures.drawing(path, dependence_rows(found)) as plt:
        size = (3.1 * len(found) + 1.8, 0.27 * len(names) + 1.5)
        figure, axes = plt.subplots(1, len(found), figsize=size, layout="constrained", squeeze=False, sharey=True)
        figures.headline(figure, _what_counts(found))
        for place, (choice, parts) in zip(axes[0], found.items(), strict=True):
            _against_null(place, [parts[name] for name in names])
            place.set_title(choice, fontsize=9.5)
            place.set_xlabel("mutual information, nats")
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].invert_yaxis()
        axes[0, -1].legend(fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 1), handlelength=1.5)
    return path


def _what_counts(found: Dependences) -> str:
    """The strongest that stand out when it is counted how many were tried (Bonferroni)."""
    choice, parts = next(iter(found.items()))
    clear = [name for name, each in parts.items() if each.p <= 0.05 / len(parts)]
    told = ", ".join(sorted(clear, key=lambda name: -parts[name].information)[:3]) or "nothing beyond chance"
    return f"What the choice of {choice} depends on: {told}"


def _against_null(axes: Any, found: Sequence[Dependence]) -> None:
    """On a logarithmic scale, since what a place tells and what a class tells differ by orders of magnitude."""
    for row, each in enumerate(found):
        clear = each.information > each.limit
        colour = OKABE_ITO[0] if clear else figures.LEVEL_COLOURS[5]
        axes.plot([FLOOR, max(each.limit, FLOOR)], [row, row], color=LIGHT.line, linewidth=7, solid_capstyle="butt",
                  label="95 % of shuffled" if row == 0 else None)  # fmt: skip
        axes.plot(max(each.information, FLOOR), row, marker="o" if clear else "x", color=colour, markersize=6,
                  linestyle="none")  # fmt: skip
        axes.annotate(f"{each.information:.3f}", (max(each.information, FLOOR), row), xytext=(7, 0),
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
    rows = [{"of": of, **row} for of, weights in choices.items() for row in choice_rows(weights, names, grid, key)]
    shape = (len(images), len(choices) + 1)
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            *shape, figsize=(1.55 * shape[1] + 1.6, 1.5 * shape[0] + 1.0), layout="constrained", squeeze=False
        )
        figures.headline(figure, f"Which {key} leads at each patch; paler where it leads by less")
        for b, image in enumerate(images):
            figures.show_image(axes[b, 0], image, "reference" if b == 0 else "")
            for k, (of, weights) in enumerate(choices.items()):
                painted = _painted(weights[b].reshape(*grid, len(names)))
                figures.show_image(axes[b, k + 1], painted, of if b == 0 else "")
        _key(figure, names)
    return path


def _painted(weights: Floats) -> Floats:
    """Colour of the leader, mixed with white by how little it leads over an even spread."""
    count = weights.shape[-1]
    colours = np.array([to_rgb(figures.colour_of_level(k)) for k in range(count)])
    lead = np.clip((weights.max(axis=-1) - 1 / count) / (1 - 1 / count), 0, 1)[..., None] ** 0.5
    return 1 - (1 - colours[weights.argmax(axis=-1)]) * (0.15 + 0.85 * lead)


def _key(figure: Any, names: Sequence[str]) -> None:
    import matplotlib.patches as shapes

    patches = [shapes.Patch(color=figures.colour_of_level(k), label=name) for k, name in enumerate(names)]
    figure.legend(handles=patches, loc="outside right center", fontsize=8, handlelength=1)


def expert_rows(experts: Floats, levels: Sequence[str]) -> list[dict[str, Any]]:
    """Tidy rows of gates (B x N x L x E): level, expert, mean, load, dead, entropies and information of the level."""
    rows: list[dict[str, Any]] = []
    for k, level in enumerate(levels):
        found = summarise(experts[:, :, k])
        gone = dead(found.mean, found.load)
        rows += [
            {"level": level, "expert": e, "mean": float(found.mean[e]), "load": float(found.load[e]), "dead": bool(gone[e]),
             "entropy_of_mean": found.entropy_of_mean, "mean_entropy": found.mean_entropy,
             "mutual_information": found.mutual_information}
            for e in range(experts.shape[-1])
        ]  # fmt: skip
    return rows


def draw_experts(path: Path, experts: Floats, levels: Sequence[str]) -> Path:
    """Draw mean gate and load of every expert within its level; an even spread and dead experts are marked."""
    rows = expert_rows(experts, levels)
    count = experts.shape[-1]
    gone = sum(row["dead"] for row in rows)
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(
            1, len(levels), figsize=(2.3 * len(levels) + 0.8, 2.6), layout="constrained", squeeze=False, sharey=True
        )
        figures.headline(
            figure, f"Experts within each level: {gone or 'none'} of {len(rows)} {'is' if gone == 1 else 'are'} dead"
        )
        for k, (place, level) in enumerate(zip(axes[0], levels, strict=True)):
            own = [row for row in rows if row["level"] == level]
            for e, row in enumerate(own):
                place.bar(
                    e - 0.2,
                    row["mean"],
                    width=0.38,
                    color=figures.colour_of_level(k),
                    label="mean gate" if e == 0 else None,
                )
                place.bar(e + 0.2, row["load"], width=0.38, color=LIGHT.quiet, label="load" if e == 0 else None)
                if row["dead"]:
                    place.text(e, 0.02, "dead", ha="center", fontsize=8, color=figures.MARK)
            place.axhline(1 / count, color=LIGHT.ink, linewidth=0.9, linestyle=":")
            place.set_xticks(range(count), [str(e) for e in range(count)])
            place.set(xlabel="expert", ylim=(0, 1))
            place.set_title(f"{level}: I = {own[0]['mutual_information']:.3f} nats", fontsize=9.5)
        axes[0, 0].set_ylabel("share (dotted: even)")
        axes[0, -1].legend(fontsize=7.5, handlelength=1)
    return path


def draw_prompts(path: Path, weights: Floats, prompts: Sequence[str], levels: Sequence[str]) -> Path:
    """Draw mean weights of the same references under several prompts (P x B x N x L), and how much the prompt says."""
    means = weights.mean(axis=tuple(range(1, weights.ndim - 1)))
    rows = [
        {"prompt": prompt, "level": level, "mean": float(means[p, k])}
        for p, prompt in enumerate(prompts)
        for k, level in enumerate(levels)
    ]
    found = prompt_information(weights)
    with figures.drawing(path, rows) as plt:
        figure, axes = plt.subplots(figsize=(7.4, 0.36 * len(prompts) + 1.5), layout="constrained")
        share = found / np.log(len(levels))
        figures.headline(figure, f"The prompt explains {found:.4f} nats of the level, {share:.1%} of what is possible")
        starts = np.zeros(len(prompts))
        for k, level in enumerate(levels):
            axes.barh(
                range(len(prompts)),
                means[:, k],
                left=starts,
                height=0.62,
                color=figures.colour_of_level(k),
                label=level,
            )
            starts += means[:, k]
        axes.set_yticks(range(len(prompts)), [prompt if len(prompt) < 48 else f"{prompt[:46]}…" for prompt in prompts])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="mean weight over references and patches")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside right center", fontsize=8, handlelength=1)
    return path
