"""Sizes that a family of models can paint, judged by its config alone: nothing is loaded for it."""

from __future__ import annotations

from typing import Any

from dynaip.errors import InputError
from dynaip.images import MAX_PIXELS


def check_size(backbone: Any, size: tuple[int, int], name: str) -> None:
    """Refuse a (height, width) in pixels that the model behind a backbone's config cannot paint.

    The config says by ``size_multiple()`` of what both must be multiples, and by ``longest_edge()`` where they end; a config
    without them is not judged. ``name`` is what the message calls the size, e.g. ``--size`` or ``source.height``.
    """
    height, width = size
    if min(size) < 1:
        raise InputError(f"{name}: {height} x {width} cannot be painted; give height and width in pixels, from 1 up")
    if height * width > MAX_PIXELS:
        raise InputError(f"{name}: {height} x {width} pixels are more than {MAX_PIXELS / 1e6:g} megapixels")
    rule, limit = getattr(backbone, "size_multiple", None), getattr(backbone, "longest_edge", None)
    multiple, longest = rule() if rule else 1, limit() if limit else None
    if longest is not None and max(size) > longest:
        raise InputError(f"{name}: {height} x {width} cannot be painted; no edge may be longer than {longest}")
    if height % multiple or width % multiple:
        near = " x ".join(str(max(multiple, round(edge / multiple) * multiple)) for edge in size)
        raise InputError(
            f"{name}: {height} x {width} cannot be painted; height and width must be multiples of {multiple}, "
            f"e.g. {near}"
        )
