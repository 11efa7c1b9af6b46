"""What every layer of the encoder holds: features for probes, its patches as colours, and how many pixels it kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dynaip.config import ComponentSpec
from dynaip.contracts import VisualEncoder
from dynaip.registry import registry

Floats = NDArray[np.float64]

POOL = 2
"""Probes read means over POOL x POOL parts of the picture, so that places are not averaged away."""
PIXELS = 8
"""A patch is given back at this many pixels a side at most."""
RIDGE = 1e-4
"""Ridge strength of the way back to pixels, as a share of the features' mean variance."""
BATCH = 32


def every_layer(dyna: Any) -> VisualEncoder:
    """The adapter's encoder with one level for every layer, ``"0"`` being what enters the first.

    Encoders that tell no number of layers, or whose levels cannot be chosen, are read at the levels that they have.
    """
    depth = dyna.encoder.signature().get("layers")
    spec: ComponentSpec = dyna.specs.encoder
    if not isinstance(depth, int) or "levels" not in type(spec.config).model_fields:
        return dyna.encoder
    levels = {str(layer): layer for layer in range(depth + 1)}
    config = type(spec.config).model_validate({**spec.config.model_dump(), "levels": levels})
    encoder: VisualEncoder = registry().build(ComponentSpec(spec.kind, spec.use, config))
    return encoder.eval().requires_grad_(False).to(next(dyna.encoder.parameters()).device)


def held_out(groups: NDArray[np.int64], share: float = 0.2, seed: int = 0) -> NDArray[np.bool_]:
    """Whether each picture is held out: all pictures of some identities, one of them at least, never all."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    return (
        np.isin(groups, names[: max(1, round(share * len(names)))]) if len(names) > 1 else np.arange(len(groups)) == 0
    )


@dataclass(frozen=True)
class LayerReading:
    """One layer over all pictures."""

    features: NDArray[np.float32]
    """Means over parts of the picture side by side: B x (POOL * POOL * C)."""
    colours: Floats
    """Patches of the shown pictures as red, green, blue in [0, 1], by a PCA over all pictures: S x rows x columns x 3."""
    psnr: Floats
    """Peak signal to noise in dB of the pictures given back by a ridge, one a held-out picture."""
    psnr_of_mean: Floats
    """The same of the mean patch, which needs no features."""

    def means(self) -> NDArray[np.float32]:
        """Means over the whole picture, B x C: for neighbours, who may stand elsewhere."""
        return self.features.reshape(len(self.features), -1, POOL * POOL).mean(axis=-1)


class _Sums:
    """Sums over patches from which a ridge and a PCA are made, so that no patches are kept."""

    def __init__(self, width: int, targets: int) -> None:
        self.count = 0
        self.x, self.y = np.zeros(width), np.zeros(targets)
        self.xx, self.xy = np.zeros((width, width)), np.zeros((width, targets))

    def add(self, x: Floats, y: Floats) -> None:
        self.count += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def covariance(self) -> Floats:
        return self.xx / self.count - np.outer(self.x, self.x) / self.count**2

    def ridge(self) -> Floats:
        """Weights of centred features -> centred targets."""
        own = self.covariance()
        cross = self.xy / self.count - np.outer(self.x, self.y) / self.count**2
        return np.linalg.solve(own + RIDGE * np.trace(own) / len(own) * np.eye(len(own)), cross)

    def colours(self) -> Floats:
        """Features -> three colours with a spread of one: the first principal axes, each made positive on average."""
        values, axes = np.linalg.eigh(self.covariance())
        axes = axes[:, ::-1][:, :3] * np.sign(axes[:, ::-1][:, :3].sum(axis=0))
        return axes / np.sqrt(np.maximum(values[::-1][:3], 1e-12))


def read_layers(
    encoder: VisualEncoder, images: Sequence[Image.Image], held_out: NDArray[np.bool_], shown: int = 4
) -> dict[str, LayerReading]:
    """Read every level of an encoder: the ridge learns from the pictures that are not held out, and is measured on the others.

    Pictures pass twice in batches, so that memory grows with widths and not with the number of pictures times patches.
    """
    sums: dict[str, _Sums] = {}
    pooled: dict[str, list[NDArray[np.float32]]] = {}
    for rows, patches, target in _batches(encoder, images):
        learn = ~held_out[rows]
        for level, values in patches.items():
            pooled.setdefault(level, []).append(_parts(values, encoder.grid))
            own = sums.setdefault(level, _Sums(values.shape[-1], target.shape[-1]))
            own.add(_flat(values[learn]), _flat(target[learn]))
    psnr: dict[str, list[tuple[float, float]]] = {level: [] for level in sums}
    colours: dict[str, list[Floats]] = {level: [] for level in sums}
    ways = {
        level: (each.ridge(), each.colours(), each.x / each.count, each.y / each.count) for level, each in sums.items()
    }
    for rows, patches, target in _batches(encoder, images):
        for level, values in patches.items():
            ridge, axes, centre, mean = ways[level]
            some = np.flatnonzero(held_out[rows])
            back = (values[some].astype(np.float64) - centre) @ ridge + mean
            psnr[level] += zip(_psnr(back, target[some]), _psnr(mean, target[some]), strict=True)
            painted = (values[rows < shown].astype(np.float64) - centre) @ axes
            colours[level].append(np.clip(0.5 + painted / 5, 0, 1))
    return {
        level: LayerReading(
            np.concatenate(pooled[level]),
            np.concatenate(colours[level]).reshape(-1, *encoder.grid, 3),
            np.array([found for found, _ in psnr[level]]),
            np.array([plain for _, plain in psnr[level]]),
        )
        for level in sums
    }


@torch.no_grad()
def _batches(
    encoder: VisualEncoder, images: Sequence[Image.Image]
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, NDArray[np.float32]], NDArray[np.float32]]]:
    """Places of the pictures, patches of each level (b x P x C) and their pixels in [0, 1] (b x P x values)."""
    parameter = next(encoder.parameters())
    white, black = (encoder.preprocess([Image.new("RGB", (32, 32), tone)]) for tone in ("white", "black"))
    for start in range(0, len(images), BATCH):
        pixels = encoder.preprocess(images[start : start + BATCH])
        levels = encoder(pixels.to(parameter.device, parameter.dtype))
        count = encoder.grid[0] * encoder.grid[1]
        patches = {level: values[:, -count:].float().cpu().numpy() for level, values in levels.items()}
        # Whatever the encoder's normalisation is, black and white tell it.
        plain = ((pixels - black) / (white - black)).float()
        yield np.arange(start, start + len(pixels)), patches, _patched(plain, encoder.grid)


def _patched(pixels: Tensor, grid: tuple[int, int]) -> NDArray[np.float32]:
    """Pixels (b x 3 x S x S) -> those under every patch, at PIXELS a side at most: b x P x values."""
    edge = min(PIXELS, pixels.shape[-1] // grid[1])
    small = functional.adaptive_avg_pool2d(pixels, (grid[0] * edge, grid[1] * edge))
    return functional.unfold(small, kernel_size=edge, stride=edge).transpose(1, 2).numpy()


def _parts(patches: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Means over POOL x POOL parts: b x P x C -> b x (POOL * POOL * C)."""
    shaped = torch.from_numpy(patches).transpose(1, 2).unflatten(2, grid)
    return functional.adaptive_avg_pool2d(shaped, POOL).flatten(1).numpy()


def _flat(values: NDArray[np.float32]) -> Floats:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _psnr(found: Floats, target: NDArray[np.float32]) -> list[float]:
    error = ((found - target) ** 2).mean(axis=(1, 2))
    return list(-10 * np.log10(np.maximum(error, 1e-12)))
