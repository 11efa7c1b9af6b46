"""What every layer of the encoder holds: features for probes, its patches as colours, and how many pixels it kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from dynaip.adapter.model import DynaIP
from dynaip.adapter.parts import home_of
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


def every_layer(dyna: DynaIP) -> VisualEncoder:
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
    return encoder.eval().requires_grad_(False).to(home_of(dyna.encoder)[0])


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
    peaks: NDArray[np.float32]
    """Maxima over patches, what occurs anywhere: B x C."""
    colours: Floats
    """Patches of the shown pictures as red, green, blue in [0, 1]: S x rows x columns x 3, by one PCA over the patches of all
    pictures that are not held out."""
    psnr: Floats
    """Peak signal to noise in dB of the pictures given back by a ridge, one a held-out picture."""
    psnr_of_mean: Floats
    """The same of the mean patch, which needs no features."""
    held_out: NDArray[np.bool_]
    """Which pictures those are, B."""

    def probed(self) -> NDArray[np.float32]:
        """What probes read: means of parts and maxima side by side."""
        return np.concatenate([self.features, self.peaks], axis=1)

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

    @cached_property
    def mean_x(self) -> Floats:
        return self.x / self.count

    @cached_property
    def mean_y(self) -> Floats:
        return self.y / self.count

    @cached_property
    def covariance(self) -> Floats:
        return self.xx / self.count - np.outer(self.mean_x, self.mean_x)

    @cached_property
    def ridge(self) -> Floats:
        """Weights of centred features -> centred targets."""
        cross = self.xy / self.count - np.outer(self.mean_x, self.mean_y)
        strength = RIDGE * np.trace(self.covariance) / len(self.covariance)
        return np.linalg.solve(self.covariance + strength * np.eye(len(self.covariance)), cross)

    @cached_property
    def colours(self) -> Floats:
        """Features -> three colours with a spread of one: the first principal axes, each made positive on average."""
        values, axes = np.linalg.eigh(self.covariance)
        axes = axes[:, ::-1][:, :3] * np.sign(axes[:, ::-1][:, :3].sum(axis=0))
        return axes / np.sqrt(np.maximum(values[::-1][:3], 1e-12))


class _Reader:
    """One level while the pictures pass twice: sums and features first, then what the ridge gives back."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.sums: _Sums | None = None
        self.features: list[NDArray[np.float32]] = []
        self.peaks: list[NDArray[np.float32]] = []
        self.colours: list[Floats] = []
        self.psnr: list[float] = []
        self.psnr_of_mean: list[float] = []

    def learn(self, patches: NDArray[np.float32], target: NDArray[np.float32], learn: NDArray[np.bool_]) -> None:
        """First pass: patches (b x P x C), their pixels, and which pictures the ridge may learn from."""
        shaped = torch.from_numpy(patches).transpose(1, 2).unflatten(2, self.grid)
        self.features.append(functional.adaptive_avg_pool2d(shaped, POOL).flatten(1).numpy())
        self.peaks.append(patches.max(axis=1))
        self.sums = self.sums or _Sums(patches.shape[-1], target.shape[-1])
        self.sums.add(_flat(patches[learn]), _flat(target[learn]))

    def give_back(self, sums: _Sums, patches: NDArray[np.float32], target: NDArray[np.float32]) -> None:
        """Second pass: pictures that are held out."""
        back = (patches.astype(np.float64) - sums.mean_x) @ sums.ridge + sums.mean_y
        self.psnr += _psnr(back, target)
        self.psnr_of_mean += _psnr(sums.mean_y, target)

    def paint(self, sums: _Sums, patches: NDArray[np.float32]) -> None:
        """Second pass: pictures that are shown."""
        self.colours.append(np.clip(0.5 + (patches.astype(np.float64) - sums.mean_x) @ sums.colours / 5, 0, 1))

    def reading(self, held_out: NDArray[np.bool_]) -> LayerReading:
        """What was read."""
        return LayerReading(
            np.concatenate(self.features),
            np.concatenate(self.peaks),
            np.concatenate(self.colours).reshape(-1, *self.grid, 3),
            np.array(self.psnr),
            np.array(self.psnr_of_mean),
            held_out,
        )


def read_layers(
    encoder: VisualEncoder, images: Sequence[Image.Image], held_out: NDArray[np.bool_], shown: int = 4
) -> dict[str, LayerReading]:
    """Read every level of an encoder: the ridge learns from the pictures that are not held out, and is measured on the others.

    Pictures pass twice in batches, so that memory grows with widths and not with the number of pictures times patches.
    """
    readers: dict[str, _Reader] = {}
    for rows, patches, target in _batches(encoder, images):
        for level, values in patches.items():
            readers.setdefault(level, _Reader(encoder.grid)).learn(values, target, ~held_out[rows])
    for rows, patches, target in _batches(encoder, images):
        for level, values in patches.items():
            reader, some = readers[level], held_out[rows]
            if reader.sums is not None:
                reader.give_back(reader.sums, values[some], target[some])
                reader.paint(reader.sums, values[rows < shown])
    return {level: reader.reading(held_out) for level, reader in readers.items()}


@torch.no_grad()
def _batches(
    encoder: VisualEncoder, images: Sequence[Image.Image]
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, NDArray[np.float32]], NDArray[np.float32]]]:
    """Places of the pictures, patches of each level (b x P x C) and their pixels in [0, 1] (b x P x values)."""
    device, dtype = home_of(encoder)
    # Whatever the encoder's normalisation is, black and white tell it.
    white, black = (encoder.preprocess([Image.new("RGB", (32, 32), tone)]) for tone in ("white", "black"))
    for start in range(0, len(images), BATCH):
        pixels = encoder.preprocess(images[start : start + BATCH])
        levels = encoder(pixels.to(device, dtype))
        count = encoder.grid[0] * encoder.grid[1]
        patches = {level: values[:, -count:].float().cpu().numpy() for level, values in levels.items()}
        plain = ((pixels - black) / (white - black)).float()
        rows, columns = encoder.grid
        edge = min(PIXELS, plain.shape[-1] // columns)
        small = functional.adaptive_avg_pool2d(plain, (rows * edge, columns * edge))
        under = functional.unfold(small, kernel_size=edge, stride=edge).transpose(1, 2).numpy()
        yield np.arange(start, start + len(pixels)), patches, under


def _flat(values: NDArray[np.float32]) -> Floats:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _psnr(found: Floats, target: NDArray[np.float32]) -> list[float]:
    error = ((found - target) ** 2).mean(axis=(1, 2))
    return list(-10 * np.log10(np.maximum(error, 1e-12)))
