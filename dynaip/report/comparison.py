"""Runs beside each other: where their configs differ, how their losses went, and what they scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynaip.config.differences import differences
from dynaip.errors import InputError
from dynaip.reading import entries, mapping
from dynaip.report.listing import RunState, number, run_state
from dynaip.report.scored import named
from dynaip.report.style import arm_colour, figure_style
from dynaip.runs import Run

Curve = list[tuple[int, float]]
"""Step, value."""
SMOOTH = 0.1
"""Weight of a step in the moving mean of a curve."""


@dataclass(frozen=True)
class Compared:
    """Several runs, in the order given."""

    states: Mapping[str, RunState]
    """Name -> what its files tell."""
    settings: list[tuple[str, list[Any]]]
    """Dotted path of the config -> its value in each run, where they differ."""
    losses: dict[str, Curve] = field(default_factory=dict[str, Curve])
    validation: dict[str, Curve] = field(default_factory=dict[str, Curve])

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "runs": {name: state.plain() for name, state in self.states.items()},
            "settings": {path: dict(zip(self.states, values, strict=True)) for path, values in self.settings},
            "losses": self.losses,
            "validation": self.validation,
        }


def compare_runs(folders: Sequence[Path]) -> Compared:
    """Read runs; ``InputError`` names a folder that holds none, or is given twice."""
    names = _names(folders)
    configs = [mapping(folder / "config.yaml") for folder in folders]
    logs = {name: entries(Run(folder).metrics) for name, folder in names.items()}
    return Compared(
        {name: run_state(folder, folder) for name, folder in names.items()},
        settings_apart(configs),
        {name: _curve(log, "loss") for name, log in logs.items()},
        {name: curve for name, log in logs.items() if (curve := _curve(log, "validation_loss"))},
    )


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """Short names of the folders: their last parts, as many as it takes to tell them apart."""
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            raise InputError(
                f"{folder} holds no run (there is no config.yaml in it): dynaip runs lists those there are"
            )
    return named(folders)


def settings_apart(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Paths at which not all configs have one value, with the value of each."""
    paths = {path: None for config in configs[1:] for path, _, _ in differences(configs[0], config)}
    return [(path, [_at(config, path) for config in configs]) for path in sorted(paths)]


def _at(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _curve(log: Sequence[Mapping[str, Any]], key: str) -> Curve:
    found = [(each.get("step"), number(each.get(key))) for each in log]
    return [(step, value) for step, value in found if isinstance(step, int) and value is not None]


def smoothed(curve: Curve) -> Curve:
    """The moving mean of a curve, which begins at its first value."""
    mean, made = 0.0, Curve()
    for place, (step, value) in enumerate(curve):
        mean = value if place == 0 else (1 - SMOOTH) * mean + SMOOTH * value
        made.append((step, mean))
    return made


def draw_curves(compared: Compared, path: Path) -> Path:
    """Draw the losses of all runs over their steps, and validation losses as marks; the format is that of the file's name.

    Raises ``InputError`` where there is nothing to draw, or for a format that cannot be drawn.
    """
    if not any(compared.losses.values()):
        raise InputError("none of these runs has logged a loss: there is no curve to draw")
    with figure_style() as plt:
        figure, axes = plt.subplots(figsize=(7, 4))
        for place, (name, curve) in enumerate(compared.losses.items()):
            axes.plot(*zip(*smoothed(curve), strict=True) if curve else ([], []), color=arm_colour(place), label=name)
            marks = compared.validation.get(name, [])
            axes.plot(*zip(*marks, strict=True) if marks else ([], []), "o", color=arm_colour(place), markersize=3.5)
        axes.set(xlabel="step", ylabel="loss", title="Loss, a moving mean (dots: on held-out pairs)")
        axes.legend()
        try:
            figure.savefig(path)
        except ValueError as error:
            raise InputError(f"{path}: name a file that ends in .png, .svg or .pdf ({error})") from error
    return path
