"""Records reference attention and routing while a pipeline runs, exactly, within a byte budget, and without a trace.

Attention is computed again from the queries and keys that the injection already holds: softmax per head first, then the
mean over heads (ours). The run itself is untouched: nothing is replaced, no random number drawn, no tensor written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynaip.contracts import Branch, FusedReference
from dynaip.errors import InputError
from dynaip_analysis.named import Named, load, save

CHUNK = 32 * 2**20
"""Bytes of attention weights that are held at once while a map is reduced."""


@dataclass(frozen=True)
class AttentionRequest:
    """Which reference attention to record."""

    branches: Collection[Branch] = ("image", "text")
    blocks: Collection[int] | None = None
    """None means all."""


@dataclass
class Recording:
    """What was recorded. Axes: block, step, sample, reference, head, query, key; a step's label is its progress.

    All are empty until the context is left.
    """

    attention: dict[str, Named] = field(default_factory=dict[str, Named])
    """Branch -> mean over heads of the softmax: block, step, sample, reference, query, key; rows sum to one."""
    entropy: dict[str, Named] = field(default_factory=dict[str, Named])
    """Branch -> entropy of the softmax in nats: block, step, sample, reference, head, query."""
    share: dict[str, Named] = field(default_factory=dict[str, Named])
    """Branch -> ||reference term|| / ||attention output|| of every query: block, step, sample, reference, query."""
    weight: dict[str, Named] = field(default_factory=dict[str, Named])
    """Branch -> the policy's weight: block, step. A perfect map on a branch of weight 0 means nothing."""
    routing: list[FusedReference] = field(default_factory=list[FusedReference])
    """What the fusion gave, call by call, on the CPU; without the tokens."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the image tokens."""

    def save(self, path: Path) -> None:
        """Write maps to `path` (safetensors) and their axes beside it (JSON)."""
        parts = {"attention": self.attention, "entropy": self.entropy, "share": self.share, "weight": self.weight}
        arrays = {f"{part}.{branch}": array for part, found in parts.items() for branch, array in found.items()}
        save(path, arrays, {"grid": self.grid})

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read back the maps that ``save`` wrote."""
        arrays, extra = load(path)
        recording = cls(grid=tuple(extra["grid"]) if extra["grid"] else None)
        for name, array in arrays.items():
            part, branch = name.split(".")
            getattr(recording, part)[branch] = array
        return recording


@contextmanager
def record(
    dyna: Any,
    *,
    attention: bool | AttentionRequest = True,
    routing: bool = True,
    budget: int | str = "512MB",
) -> Generator[Recording]:
    """Record around any call of the pipeline or training step; may be nested; gone on every exit.

    When the maps outgrow ``budget`` (bytes, or text such as ``"2GB"``), neighbouring steps are merged by their mean
    until they fit; ``InputError`` if a single step does not.
    """
    recording = Recording()
    request = AttentionRequest() if attention is True else attention
    keeper = _Keeper(request, parse_bytes(budget)) if request else None
    with ExitStack() as stack:
        if keeper is not None:
            stack.enter_context(dyna.observe(keeper.see))
        if routing:
            stack.callback(dyna.fusion.register_forward_hook(_routing_keeper(recording)).remove)
        yield recording
    if keeper is not None:
        keeper.finish(recording)


def _routing_keeper(recording: Recording) -> Callable[[Any, Any, Any], None]:
    def keep(fusion: Any, args: Any, fused: Any) -> None:
        parts = (fused.weights, fused.expert_weights)
        kept = (None if part is None else part.detach().float().cpu() for part in parts)
        recording.routing.append(FusedReference(torch.empty(0), *kept))

    return keep


def parse_bytes(size: int | str) -> int:
    """Read a size: an integer, or text such as ``"512MB"`` or ``"2 GB"`` (powers of 1000)."""
    if isinstance(size, int):
        return size
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)b?\s*", size.lower())
    if not found:
        raise InputError(f"budget {size!r} is no size in bytes; write for example 512MB or 2GB")
    return int(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2]])


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Softmax of q K^T / sqrt(d/H) over the reference tokens (b x H x t x M), in float32."""
    logits = query.float() @ key.float().transpose(-1, -2) / query.shape[-1] ** 0.5
    return logits.softmax(dim=-1)


def reduce_attention(query: Tensor, key: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Mean over heads (b x t x M) and entropy per head (b x H x t), some queries at a time."""
    rows = max(1, chunk // (4 * query.shape[0] * query.shape[1] * key.shape[2]))
    means: list[Tensor] = []
    entropies: list[Tensor] = []
    for part in query.split(rows, dim=2):
        weights = attention_weights(part, key)
        means.append(weights.mean(dim=1).cpu())
        entropies.append(torch.special.entr(weights).sum(dim=-1).cpu())
    return torch.cat(means, dim=1), torch.cat(entropies, dim=2)


@dataclass
class _Cell:
    """Sums over the passes that fell into one (branch, block, reference, step)."""

    attention: np.ndarray
    entropy: np.ndarray
    share: np.ndarray
    weight: float
    passes: int
    seen: np.ndarray
    """How often each query of each sample was seen, S x t."""

    @property
    def bytes(self) -> int:
        return self.attention.nbytes + self.entropy.nbytes + self.share.nbytes + self.seen.nbytes

    def add(self, other: _Cell) -> None:
        for name in ("attention", "entropy", "share", "seen"):
            mine, theirs = _same_shape(getattr(self, name), getattr(other, name))
            setattr(self, name, mine + theirs)
        self.weight += other.weight
        self.passes += other.passes


def _same_shape(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape = [max(sizes) for sizes in zip(one.shape, other.shape, strict=True)]
    return _padded(one, shape), _padded(other, shape)


def _padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.pad(array, [(0, int(wanted) - have) for wanted, have in zip(shape, array.shape, strict=True)])


Address = tuple[Branch, int, int]
"""Branch, block, reference."""


class _Keeper:
    """Hears events and keeps sums, merging neighbouring steps when the budget is reached."""

    def __init__(self, request: AttentionRequest, budget: int) -> None:
        self.request = request
        self.budget = budget
        self.cells: dict[tuple[Address, int], _Cell] = {}
        self.progress: list[float] = []
        self.stride = 1
        self.bytes = 0
        self.grid: tuple[int, int] | None = None

    @torch.no_grad()
    def see(self, event: Any) -> None:
        if event.branch not in self.request.branches:
            return
        if self.request.blocks is not None and event.block not in self.request.blocks:
            return
        if event.branch == "image" and not _on_grid(event):
            return
        self.grid = tuple(event.grid)
        address: Address = (event.branch, event.block, event.reference)
        step = self._step(event.progress) // self.stride
        cell = _cell(event)
        if (address, step) in self.cells:
            self.bytes -= self.cells[address, step].bytes
            self.cells[address, step].add(cell)
        else:
            self.cells[address, step] = cell
        self.bytes += self.cells[address, step].bytes
        while self.bytes > self.budget:
            self._merge()

    def _step(self, progress: float) -> int:
        if progress not in self.progress:
            self.progress.append(progress)
        return self.progress.index(progress)

    def _merge(self) -> None:
        if max(step for _, step in self.cells) == 0:
            raise InputError(
                f"one step of attention maps needs more than the budget of {self.budget:,} bytes; "
                "give more, or record fewer blocks or branches"
            )
        self.stride *= 2
        merged: dict[tuple[Address, int], _Cell] = {}
        for (address, step), cell in self.cells.items():
            if (address, step // 2) in merged:
                merged[address, step // 2].add(cell)
            else:
                merged[address, step // 2] = cell
        self.cells = merged
        self.bytes = sum(cell.bytes for cell in merged.values())

    def finish(self, recording: Recording) -> None:
        recording.grid = self.grid
        for branch in ("image", "text"):
            cells = {key: cell for key, cell in self.cells.items() if key[0][0] == branch}
            if cells:
                self._tables(recording, branch, cells)

    def _tables(self, recording: Recording, branch: Branch, cells: dict[tuple[Address, int], _Cell]) -> None:
        blocks = sorted({address[1] for address, _ in cells})
        references = sorted({address[2] for address, _ in cells})
        groups = range(max(step for _, step in cells) + 1)
        steps = [float(np.mean(self.progress[k * self.stride : (k + 1) * self.stride])) for k in groups]
        outer = {"block": blocks, "step": steps}
        shapes = {name: _largest(cells, name) for name in ("attention", "entropy", "share")}
        for name, inner in (("attention", ("query", "key")), ("entropy", ("head", "query")), ("share", ("query",))):
            samples, *rest = shapes[name]
            values = np.full((len(blocks), len(steps), samples, len(references), *rest), np.nan, dtype=np.float32)
            for (address, step), cell in cells.items():
                found = _mean(getattr(cell, name), cell.seen, name)
                place = (blocks.index(address[1]), step, slice(len(found)), references.index(address[2]))
                values[(*place, *(slice(size) for size in found.shape[1:]))] = found
            axes = {**outer, "sample": range(samples), "reference": references}
            axes |= {axis: range(size) for axis, size in zip(inner, rest, strict=True)}
            getattr(recording, name)[branch] = Named(values, {axis: list(labels) for axis, labels in axes.items()})
        weights = np.full((len(blocks), len(steps)), np.nan, dtype=np.float32)
        for (address, step), cell in cells.items():
            weights[blocks.index(address[1]), step] = cell.weight / cell.passes
        recording.weight[branch] = Named(weights, outer)


def _largest(cells: dict[tuple[Address, int], _Cell], name: str) -> tuple[int, ...]:
    shapes = [getattr(cell, name).shape for cell in cells.values()]
    return tuple(int(size) for size in np.max(shapes, axis=0))


def _mean(total: np.ndarray, seen: np.ndarray, name: str) -> np.ndarray:
    counts = {"attention": seen[:, :, None], "entropy": seen[:, None, :], "share": seen}[name]
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _cell(event: Any) -> _Cell:
    mean, entropy = reduce_attention(event.query, event.key)
    share = event.term.float().norm(dim=-1) / event.output.float().norm(dim=-1).clamp_min(1e-12)
    rows = event.samples.cpu().numpy()
    samples = int(rows.max()) + 1
    index = event.queries_index
    columns = np.arange(mean.shape[1]) if index is None else index.cpu().numpy()
    queries = _queries(event, columns)
    at = np.ix_(rows, columns)
    cell = _Cell(
        attention=np.zeros((samples, queries, mean.shape[2]), np.float32),
        entropy=np.zeros((samples, entropy.shape[1], queries), np.float32),
        share=np.zeros((samples, queries), np.float32),
        weight=float(event.weight),
        passes=1,
        seen=np.zeros((samples, queries), np.float32),
    )
    cell.attention[at] = mean.numpy()
    cell.entropy[np.ix_(rows, np.arange(entropy.shape[1]), columns)] = entropy.numpy()
    cell.share[at] = share.cpu().numpy()
    cell.seen[at] = 1
    return cell


def _on_grid(event: Any) -> bool:
    """Whether the queries are image tokens: a single-stream block may also send its text tokens here."""
    return event.queries_index is not None or event.query.shape[2] == event.grid[0] * event.grid[1]


def _queries(event: Any, columns: np.ndarray) -> int:
    if event.branch == "image":
        return int(event.grid[0] * event.grid[1])
    return int(columns.max()) + 1
