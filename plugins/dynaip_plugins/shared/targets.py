"""Targets of a chosen size or of aspect buckets: what several sources offer, and how a picture is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field, PositiveInt, field_validator

from dynaip.config import SourceConfig, Strict
from dynaip.contracts import PairReference
from dynaip.errors import InputError
from dynaip.images.buckets import Size, bucket_sizes, nearest_buckets
from dynaip.images.fit import ASPECT, ENLARGED
from dynaip.notes import tell


class BucketsConfig(Strict):
    """Sizes for pictures of any shape: each goes to the one of the nearest shape."""

    area: list[PositiveInt] | None = None
    """Edge in pixels of a square with as many pixels as a target has at most; several mix resolutions: a picture takes the
    largest that it fills. None: the backbone's own size."""
    multiple: PositiveInt = 64
    """Height and width are multiples of this."""
    ratio: float = Field(2.0, ge=1)
    """The longer edge is at most so many times the shorter."""

    @field_validator("area", mode="before")
    @classmethod
    def _several(cls, area: Any) -> Any:
        return [area] if isinstance(area, int) else area

    @field_validator("area")
    @classmethod
    def _sorted(cls, area: list[int] | None) -> list[int] | None:
        return None if area is None else sorted(set(area))

    def lists(self) -> list[list[Size]]:
        """The sizes of every area, the smallest area first; ``InputError`` if there is none."""
        made = [bucket_sizes(area, self.multiple, self.ratio) for area in self.area or ()]
        for area, sizes in zip(self.area or (), made, strict=True):
            if not sizes:
                raise InputError(
                    f"source.buckets: no height and width in multiples of {self.multiple} have an area of {area} x {area} "
                    "at most: lower multiple"
                )
        return made


class TargetsConfig(SourceConfig):
    """The size of the targets."""

    height: PositiveInt | None = None
    """Height of the targets in pixels, a multiple of what the backbone asks for (16 for FLUX); None: as width, or else the
    backbone's own size."""
    width: PositiveInt | None = None
    """Width of the targets in pixels; None: as height, or else the backbone's own size."""
    fit: Literal["crop", "pad"] = "crop"
    """How a target of another shape is fitted: its middle, or all of it with white beside it."""
    buckets: BucketsConfig | None = None
    """Aspect buckets instead of one size."""

    def target_size(self) -> Size | None:
        """Height and width of the targets (the first of several); None if the config leaves them open."""
        return next(iter(self.target_sizes()), None)

    def target_sizes(self) -> list[Size]:
        """Every size that a target may take."""
        if self.buckets is not None:
            if self.height or self.width:
                raise InputError("source: give either source.height and source.width, or source.buckets")
            return [size for sizes in self.buckets.lists() for size in sizes]
        height, width = self.height or self.width, self.width or self.height
        return [(height, width)] if height and width else []

    def sized(self, height: int, width: int) -> Self:
        """The same options with a size, if none is given."""
        if self.target_size():
            return self
        if self.buckets is None:
            return self.model_copy(update={"height": height, "width": width})
        buckets = self.buckets.model_copy(update={"area": [int((height * width) ** 0.5)]})
        return self.model_copy(update={"buckets": buckets})


@dataclass(frozen=True)
class Fitted:
    """A target in its size, and which part of the picture it shows."""

    image: Image.Image
    window: tuple[float, float, float, float]
    """Its left, top, right and bottom edge in the picture, whose own are 0, 0, 1, 1: beyond these lies white."""


class Targets:
    """Brings pictures into the sizes of a config."""

    def __init__(self, config: TargetsConfig) -> None:
        self.sizes = config.target_sizes()
        if not self.sizes:
            raise InputError("source: give source.height and source.width, the size of the targets in pixels")
        self.fit, self.lists = config.fit, config.buckets.lists() if config.buckets else [self.sizes]
        self.bucketed = config.buckets is not None

    def choose(self, pictures: Sequence[Size] | NDArray[np.int64]) -> NDArray[np.int64]:
        """For pictures (height, width) the number of the size that each takes."""
        return nearest_buckets(np.asarray(pictures, dtype=np.int64).reshape(-1, 2), self.lists)

    def fitted(self, picture: Image.Image, name: str) -> Fitted:
        """A picture in its size, and a note where much of it is lost or made up."""
        height, width = self.sizes[int(self.choose([(picture.height, picture.width)])[0])]
        ratios = sorted((width / picture.width, height / picture.height))
        scale = ratios[1] if self.fit == "crop" else ratios[0]
        self._tell(picture, name, (height, width), ratios)
        method = Image.Resampling.LANCZOS
        if self.fit == "pad":
            image = ImageOps.pad(picture, (width, height), method, color="white")
        else:
            image = ImageOps.fit(picture, (width, height), method)
        x, y = width / (scale * picture.width) / 2, height / (scale * picture.height) / 2
        return Fitted(image, (0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y))

    def lost(self, picture: Size) -> float:
        """Share of a picture (height, width) that is cut off, or (padded) of its target that is white."""
        height, width = self.sizes[int(self.choose([picture])[0])]
        ratios = sorted((height / picture[0], width / picture[1]))
        return 1 - ratios[0] / ratios[1]

    def _tell(self, picture: Image.Image, name: str, size: Size, ratios: Sequence[float]) -> None:
        pixels, wanted = f"{picture.width} x {picture.height} pixels", f"{size[1]} x {size[0]}"
        if self.fit == "crop" and ratios[1] > ASPECT * ratios[0]:
            tell(
                f"{name} has {pixels}, and its middle alone is trained on, as {wanted}: crop it yourself, or set "
                "source.fit to pad",
                kind="target cropped",
            )
        scale = ratios[1] if self.fit == "crop" else ratios[0]
        if scale >= ENLARGED:
            tell(
                f"{name} has {pixels} and is enlarged {scale:.1f} times to {wanted}: give a larger one, or lower "
                "source.height and source.width",
                kind="target enlarged",
            )


def moved(reference: PairReference, fitted: Fitted) -> PairReference | None:
    """A reference whose region lies in the fitted target as it lay in the picture; None if nothing of it is left there."""
    region, (left, top, right, bottom) = reference.region, fitted.window
    if region is None:
        return reference
    if isinstance(region, tuple):
        across = [min(1.0, max(0.0, (x - left) / (right - left))) for x in region[::2]]
        down = [min(1.0, max(0.0, (y - top) / (bottom - top))) for y in region[1::2]]
        box = (across[0], down[0], across[1], down[1])
        empty = box[0] >= box[2] or box[1] >= box[3]
        return None if empty else PairReference(reference.image, box, reference.mask, reference.subject)
    width, height = region.size
    corners = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    return PairReference(reference.image, region.crop(corners), reference.mask, reference.subject)
