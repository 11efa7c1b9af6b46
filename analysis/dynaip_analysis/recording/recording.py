"""What was recorded: maps with named axes, routing, features, the plans that were kept; as files and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dynaip.atomic import write_tensors
from dynaip.contracts import FusedReference
from dynaip.errors import InputError
from dynaip.suggest import one_line
from dynaip_analysis.recording.budget import RecordingPlan
from dynaip_analysis.recording.maps import Branches, Map
from dynaip_analysis.recording.named import Named, load, save

PARTS = ("attention", "entropy", "energy", "share", "weight", "term", "columns", "rows")
"""Fields that hold maps by branch."""


@dataclass(repr=False)
class Recording:
    """What was recorded. Axes: block, step, sample, reference, head, query, key; a step's label is its progress.

    All are empty until the context is left; ``plans`` are there from the first pass on.
    """

    attention: Branches = field(default_factory=Branches)
    """Branch -> softmax over reference tokens: block, step, sample, reference, (head,) query, key; rows sum to one."""
    entropy: Branches = field(default_factory=Branches)
    """Branch -> entropy of the softmax in nats: block, step, sample, reference, head, query."""
    energy: Branches = field(default_factory=Branches)
    """Branch -> attention inside each mask of the request: block, step, sample, reference, mask, head, query."""
    share: Branches = field(default_factory=Branches)
    """Branch -> ||reference term|| / ||attention output|| of every query: block, step, sample, reference, query."""
    weight: Branches = field(default_factory=Branches)
    """Branch -> the policy's weight: block, step. A perfect map on a branch of weight 0 means nothing."""
    term: Branches = field(default_factory=Branches)
    """Branch -> the reference term as a mean over queries: block, step, sample, reference, width."""
    columns: Branches = field(default_factory=Branches)
    """Branch of the queries -> joint attention onto chosen words and regions: block, step, sample, (head,) key, query."""
    rows: Branches = field(default_factory=Branches)
    """Branch of the keys -> joint attention from chosen words, regions and points: block, step, sample, (head,) query, key."""
    routing: list[FusedReference] = field(default_factory=list[FusedReference])
    """What the fusion gave, call by call, on the CPU; without the tokens."""
    features: list[dict[str, Tensor]] = field(default_factory=list[dict[str, Tensor]])
    """What the fusion was given and gave, call by call: level -> B x N x C_l, and ``tokens``, B x M x D; on the CPU."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the image tokens."""
    words: list[list[str]] = field(default_factory=list[list[str]])
    """Text tokens of every sample's prompt."""
    plans: list[RecordingPlan] = field(default_factory=list[RecordingPlan])
    """What the recording was estimated to need, and how it was fitted into the budget."""

    def maps(self) -> Iterator[tuple[str, str, Map]]:
        """Part, branch and map of everything that was recorded by branch."""
        for part in PARTS:
            for branch, found in getattr(self, part).items():
                yield part, branch, found

    def told(self) -> list[tuple[str, str]]:
        """What was recorded, in words: a name and its sizes."""
        found = [(f"{part}, {branch}", each.told()) for part, branch, each in self.maps()]
        calls = {"routing": len(self.routing), "features": len(self.features)}
        found += [(name, f"{count} calls of the fusion") for name, count in calls.items() if count]
        return found + [("plan", plan.words()) for plan in self.plans]

    def __repr__(self) -> str:
        lines = "".join(f"\n  {name}: {told}" for name, told in self.told())
        return f"Recording of{lines}" if lines else "Recording: nothing yet"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(told)}</td></tr>"
            for name, told in self.told()
        )
        return f"<table>{cells}</table>" if cells else "<p>nothing was recorded yet</p>"

    def take(self, part: str, found: Branches) -> None:
        """Add maps of some branches to a part."""
        getattr(self, part).update(found)

    def save(self, path: str | Path) -> None:
        """Write maps to ``path`` (safetensors) and their axes beside it (JSON); routing and features go beside them."""
        path = Path(path)
        arrays = {f"{part}.{branch}": found for part, branch, found in self.maps()}
        routing = [{"weights": fused.weights, "expert_weights": fused.expert_weights} for fused in self.routing]
        tensors = {
            f"routing.{k}.{name}": value
            for k, parts in enumerate(routing)
            for name, value in parts.items()
            if value is not None
        }
        tensors |= {
            f"features.{k}.{name}": value for k, found in enumerate(self.features) for name, value in found.items()
        }
        if tensors:
            write_tensors(_beside(path), tensors)
        else:
            _beside(path).unlink(missing_ok=True)
        save(path, arrays, {
            "grid": self.grid, "words": self.words, "plans": [asdict(plan) for plan in self.plans], "tensors": bool(tensors),
            "grids": {name: {axis: list(grid) for axis, grid in found.grids.items()} for name, found in arrays.items()},
        })  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Read back what ``save`` wrote: neither model nor GPU is needed. ``InputError`` names a missing or damaged file."""
        path = Path(path)
        arrays, extra = load(path)
        try:
            recording = cls._described(arrays, extra)
            if extra.get("tensors", _beside(path).is_file()):
                recording._take_tensors(load_file(_beside(path)))
        except FileNotFoundError as error:
            raise InputError(f"{_beside(path)} is not there: routing and features of {path.name} are in it") from error
        except (SafetensorError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{path}, or a file beside it, is damaged: {one_line(error)}") from error
        return recording

    @classmethod
    def _described(cls, arrays: Mapping[str, Named], extra: Mapping[str, Any]) -> Recording:
        words = [list(tokens) for tokens in extra.get("words", [])]
        plans = [RecordingPlan(**plan) for plan in extra.get("plans", [])]
        recording = cls(grid=tuple(extra["grid"]) if extra["grid"] else None, words=words, plans=plans)
        for name, array in arrays.items():
            part, branch = name.split(".")
            grids = {axis: (int(grid[0]), int(grid[1])) for axis, grid in extra.get("grids", {}).get(name, {}).items()}
            own = words if branch == "text" else []
            recording.take(part, Branches({branch: Map(array.values, array.axes, grids=grids, words=own)}))
        return recording

    def _take_tensors(self, tensors: dict[str, Tensor]) -> None:
        calls: dict[tuple[str, int], dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, number, kind = name.split(".", 2)
            calls.setdefault((part, int(number)), {})[kind] = value
        for (part, _), found in sorted(calls.items()):
            if part == "routing":
                self.routing.append(FusedReference(torch.empty(0), found.get("weights"), found.get("expert_weights")))
            else:
                self.features.append(found)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-tensors.safetensors")
