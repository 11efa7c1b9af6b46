"""Arrays whose axes have names and labels, saved as safetensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dynaip.atomic import replacing, write_json
from dynaip.errors import InputError
from dynaip.reading import mapping
from dynaip.suggest import one_line

NEAR = 0.005
"""How far a number may be from a label that is a fraction."""


@dataclass(frozen=True)
class Named:
    """Values (numpy, one dimension an axis) with the labels of every axis in order; NaN means never seen."""

    values: np.ndarray
    axes: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        lengths = tuple(len(labels) for labels in self.axes.values())
        if lengths != self.values.shape:
            raise ValueError(
                f"axes {dict(zip(self.axes, lengths, strict=True))} do not fit values of shape {self.values.shape}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.told()})"

    def told(self) -> str:
        """Axes with their lengths and the range of the values, in one line."""
        axes = ", ".join(f"{name} {len(labels)}" for name, labels in self.axes.items()) or "a single number"
        seen = self.values[np.isfinite(self.values)]
        if not seen.size:
            return f"{axes}; nothing was seen"
        return f"{axes}; values from {seen.min():.3g} to {seen.max():.3g}" if self.axes else f"{axes}, {seen[0]:.4g}"

    def sel(self, **choice: Any) -> Self:
        """Choose by label: one label drops its axis, a list, range or array of labels keeps it.

        A number among labels that are fractions (``step=0.33``) finds the nearest within 0.005, what two decimals tell; a
        negative integer counts from the end. Unknown labels raise ``InputError``.
        """
        found = self
        for axis, wanted in choice.items():
            found = found._one(axis, wanted)
        return found

    def _one(self, axis: str, wanted: Any) -> Self:
        at = self._place(axis)
        if isinstance(wanted, (list, tuple, range, np.ndarray)):
            index = [self._index(axis, label) for label in wanted]
            labels = list(self.axes[axis])
            kept = np.take(self.values, np.asarray(index, int), axis=at)
            return self._with(kept, {**self.axes, axis: [labels[k] for k in index]})
        rest = {name: labels for name, labels in self.axes.items() if name != axis}
        return self._with(np.take(self.values, self._index(axis, wanted), axis=at), rest)

    def _with(self, values: np.ndarray, axes: Mapping[str, Sequence[Any]]) -> Self:
        return replace(self, values=values, axes=axes)

    def mean(self, *axes: str) -> Self:
        """Mean over axes (all without names), leaving out what was never seen."""
        over = axes or tuple(self.axes)
        places = tuple(self._place(axis) for axis in over)
        seen = np.isfinite(self.values)
        count = seen.sum(axis=places)
        total = np.where(seen, self.values, 0).sum(axis=places)
        values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return self._with(values, {name: labels for name, labels in self.axes.items() if name not in over})

    def rows(self, value: str = "value") -> list[dict[str, Any]]:
        """Tidy rows: one column an axis, and the value."""
        names = list(self.axes)
        return [
            {**{name: self.axes[name][k] for name, k in zip(names, index, strict=True)}, value: float(found)}
            for index, found in np.ndenumerate(self.values)
        ]

    def _place(self, axis: str) -> int:
        names = list(self.axes)
        if axis not in names:
            raise InputError(f"there is no axis {axis!r}; the axes are {', '.join(names)}")
        return names.index(axis)

    def _index(self, axis: str, label: Any) -> int:
        labels = list(self.axes[axis])
        if isinstance(label, slice):
            raise InputError(f"axis {axis!r}: choose by labels, such as a list of them, not by a slice")
        if label in labels:
            return labels.index(label)
        if isinstance(label, (int, np.integer)) and -len(labels) <= label < 0:
            return len(labels) + int(label)
        if isinstance(label, (float, np.floating)) and all(isinstance(each, (int, float)) for each in labels):
            away = [abs(float(each) - float(label)) for each in labels]
            if min(away, default=1.0) <= NEAR:
                return int(np.argmin(away))
        known = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in labels[:20])
        raise InputError(f"axis {axis!r} has no {label!r}; it has {known}")


def save(path: str | Path, arrays: Mapping[str, Named], extra: Mapping[str, Any] | None = None) -> None:
    """Write arrays to `path` (safetensors) and their axes beside it (`.json`)."""
    path = Path(path)
    with replacing(path) as part:
        save_file({name: np.ascontiguousarray(array.values) for name, array in arrays.items()}, part)
    axes = {name: {axis: list(labels) for axis, labels in array.axes.items()} for name, array in arrays.items()}
    write_json(path.with_suffix(".json"), {"axes": axes, "extra": dict(extra or {})}, indent=None)


def load(path: str | Path) -> tuple[dict[str, Named], dict[str, Any]]:
    """Read back what ``save`` wrote: arrays and what was saved beside them.

    ``InputError`` names a file that is missing or damaged.
    """
    path = Path(path)
    for part in (path, path.with_suffix(".json")):
        if not part.is_file():
            raise InputError(f"{part} is not there: arrays are saved as two files, {path.name} and {path.stem}.json")
    described = mapping(path.with_suffix(".json"))
    try:
        with safe_open(path, framework="numpy") as stored:
            arrays = {name: Named(stored.get_tensor(name), axes) for name, axes in described["axes"].items()}
        return arrays, described["extra"]
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path} and {path.stem}.json are damaged, or not of one recording: {one_line(error)}"
        ) from error
