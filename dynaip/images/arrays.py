"""Arrays and tensors that hold a picture or a mask: their layout, their type and their range, or one line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.errors import InputError
from dynaip.images.files import check_pixels
from dynaip.suggest import one_line

CHANNELS = (1, 2, 3, 4)
"""Grey, grey with alpha, RGB, RGBA."""
ROUNDING = 1e-4
"""How far resampling in floats may leave [0, 1]."""


def is_array(source: Any) -> bool:
    """Whether something is an array or a tensor."""
    return hasattr(source, "shape") and hasattr(source, "dtype") and hasattr(source, "ndim")


def pixels_of(source: Any, name: str, max_pixels: int, *, mask: bool = False) -> NDArray[Any]:
    """Height x width x channels (1 to 4) of numbers of an array or tensor, as it is; leading axes of 1 are left out.

    Arrays have their channels last, tensors first; the other order is taken where only it makes sense.
    """
    values, first = _on_cpu(source, name)
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name}: an array of {values.dtype} cannot be read; give uint8, or floats in [0, 1]")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 4:
        raise InputError(
            f"{name}: has the shape {tuple(source.shape)}, {len(values)} pictures at once; give one of them"
        )
    axis = -1
    if values.ndim == 3:
        found = _channel_axis(values.shape, (0, 2) if first or mask else (2, 0), mask)
        values = values if found is None else np.moveaxis(values, found, -1)
        axis = -1 if found is None else 2
    elif values.ndim == 2:
        values, axis = values[:, :, None], 2
    if axis < 0 or 0 in values.shape:
        raise InputError(f"{name}: has the shape {tuple(source.shape)}; give {_WANTED[mask]}")
    check_pixels(values.shape[1], values.shape[0], name, max_pixels)
    return values


_WANTED = {
    True: "a mask of height x width",
    False: "height x width x 3, or a tensor 3 x height x width",
}


def _on_cpu(source: Any, name: str) -> tuple[NDArray[Any], bool]:
    """The numbers as a numpy array, and whether they come from a tensor."""
    try:
        if not hasattr(source, "detach"):
            return np.asarray(source), False
        tensor = source.detach().cpu()
        # numpy knows no floats of such a kind: bfloat16, float8
        return (tensor.float() if "float" in str(tensor.dtype) and tensor.dtype.itemsize < 4 else tensor).numpy(), True
    except Exception as error:  # sparse, quantised and meta tensors each have an error of their own
        raise InputError(f"{name}: it cannot be read as numbers ({one_line(error)}); give a plain array") from error


def _channel_axis(shape: tuple[int, ...], axes: tuple[int, int], mask: bool) -> int | None:
    """The axis of the channels, by preference; a mask's only channel goes before everything else."""
    single = [axis for axis in axes if mask and shape[axis] == 1]
    return next(iter([*single, *(axis for axis in axes if shape[axis] in CHANNELS)]), None)


def eight_bits(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Bring numbers of a picture to 0 to 255; ``InputError`` if their range is not what their type says."""
    kind, largest = values.dtype.kind, values.max()
    if kind == "f":
        return (unit_floats(values, name) * 255).round().astype(np.uint8)
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    _not_negative(values, name)
    if largest == 1:
        raise InputError(f"{name}: its integers are all 0 or 1, which is black; give 0 to 255, or floats in [0, 1]")
    if values.dtype == np.uint16 and largest > 255:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if largest > 255 or (values.dtype == np.uint16 and largest):
        raise InputError(
            f"{name}: {values.dtype} up to {largest} is of unknown range; give uint8 (0 to 255), uint16 (0 to 65535) or "
            "floats in [0, 1]"
        )
    return values.astype(np.uint8)


def unit_mask(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Bring numbers of a mask to [0, 1]: integers are 0 and 1, 0 to 255 or 0 to 65535, whichever they fill."""
    if values.dtype.kind == "f":
        return unit_floats(values, name)
    _not_negative(values, name)
    largest = int(values.max())
    wide = values.dtype == np.uint16 or largest == 65535
    full = next((full for full in (1, 255, 65535 if wide else 255) if largest <= full), None)
    if full is None:
        raise InputError(f"{name}: values must lie within 0 and 1 (or 0 and 255); these integers go up to {largest}")
    return values.astype(np.float32) / np.float32(full)


def unit_floats(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Floats within 0 and 1, all of them finite; ``InputError`` says what the range is."""
    if not np.isfinite(values).all():
        raise InputError(
            f"{name}: it holds values that are not finite (NaN or infinite); floats must lie within 0 and 1"
        )
    low, high = float(values.min()), float(values.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"{name}: floats must lie within 0 and 1; these go from {low:g} to {high:g}")
    return values.astype(np.float32).clip(0, 1)


def _not_negative(values: NDArray[Any], name: str) -> None:
    if values.dtype.kind == "i" and values.min() < 0:
        raise InputError(f"{name}: integers must not be negative; the smallest is {values.min()}")
