"""Shared by encoders and metrics: pixels as a model's own ``preprocessor_config.json`` asks for them.

transformers' processors use torchvision or Pillow by what is installed, which resize differently, and DINOv3's needs the
former. This reads the same file and uses Pillow alone, so that a picture has the same pixels on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .pixels import square
from .pretrained import preprocessor_config


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes S x S pixels: resized (squeezed, or by its shorter edge), its middle cut, normalised."""

    size: int
    """S, in pixels."""
    shorter_edge: int | None
    """Resize to this shorter edge before the middle is cut; None squeezes the picture into the square."""
    resample: int
    """Pillow's number of the filter."""
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def fit(self) -> str | None:
        """What happens to a picture that is not square, as ``VisualEncoder.fit`` says it."""
        return None if self.shorter_edge is None else "crop"

    def resized_to(self, size: int | None) -> Preprocessing:
        """The same for another size of the square; the share that is cut away stays."""
        if size is None or size == self.size:
            return self
        edge = None if self.shorter_edge is None else max(size, round(self.shorter_edge * size / self.size))
        return replace(self, size=size, shorter_edge=edge)

    def pixels(self, images: Sequence[Image.Image], fit: str = "own") -> Tensor:
        """Bring pictures to size and scale: B x 3 x S x S. ``fit`` crop or pad replaces what the file says of the shape."""
        squares = [self._own(image) if fit == "own" else square(image, self.size, fit) for image in images]
        values = np.stack([np.asarray(each, dtype=np.float32) for each in squares])
        scaled = (values * np.float32(self.factor) - np.asarray(self.mean, np.float32)) / np.asarray(
            self.std, np.float32
        )
        return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()

    def _own(self, image: Image.Image) -> Image.Image:
        image = image.convert("RGB")
        if self.shorter_edge is None:
            return image.resize((self.size, self.size), Image.Resampling(self.resample))
        short = min(image.size)
        width, height = (int(self.shorter_edge * edge / short) for edge in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        resized = image.resize((width, height), Image.Resampling(self.resample))
        return resized.crop((left, top, left + self.size, top + self.size))

    def described(self) -> dict[str, Any]:
        """All of it as plain data, for the records of scores."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def inside_the_model(size: int) -> Preprocessing:
    """For models that normalise themselves: a middle square in [0, 1]."""
    return Preprocessing(size, size, int(Image.Resampling.BICUBIC), 1 / 255, (0.0,) * 3, (1.0,) * 3)


def own_preprocessing(where: Path | str, revision: str | None, size: int) -> Preprocessing:
    """Read the preprocessing of a model; ``size`` is that of its config, for files that name none.

    Raises ``ValueError`` if the model brings no such file (values are never assumed), or if the file is damaged.
    """
    file = preprocessor_config(where, revision)
    if file is None:
        raise ValueError(
            "it brings no preprocessor_config.json, which says how its pixels are normalised: add the one of the model's page"
        )
    settings = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise ValueError(f"{file} holds no keys and values")
    crop = _edge(settings.get("crop_size")) if settings.get("do_center_crop") else None
    edge = _edge(settings.get("size")) if settings.get("do_resize", True) else None
    wanted = crop or edge or size
    shorter = (edge or wanted) if crop or "shortest_edge" in _mapping(settings.get("size")) else None
    if shorter is not None and shorter < wanted:
        raise ValueError(f"{file}: the square of {wanted} pixels is larger than the resized picture ({shorter})")
    mean, std = _normalisation(settings, file)
    factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    return Preprocessing(wanted, shorter, int(settings.get("resample", Image.Resampling.BICUBIC)), factor, mean, std)


def _normalisation(settings: dict[str, Any], file: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not settings.get("do_normalize", True):
        return (0.0,) * 3, (1.0,) * 3
    if not settings.get("image_mean") or not settings.get("image_std"):
        raise ValueError(f"{file} names no image_mean and image_std")
    mean, std = (tuple(map(float, settings[name])) for name in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise ValueError(f"{file}: image_mean and image_std must be three numbers each, the latter not 0")
    return mean, std


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _edge(value: Any) -> int | None:
    """An edge from any of the ways to write it; of height and width, which are the same for every tower here, the height."""
    given = _mapping(value)
    found = given.get("shortest_edge") or given.get("height") or (None if given else value)
    return int(found) if found else None
