"""What was drawn on the page becomes boxes and masks, and back; whatever else is sent is refused in one line."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from dynaip.contracts.data import Box
from dynaip.errors import InputError

LONGEST = 2_000_000
"""Characters of a drawing that are read."""
MASK = 512
"""Pixels of a painted mask's longer edge at most."""
DRAWN = "data:image/png;base64,"


def regions_of(text: str) -> dict[int, Box | Image.Image]:
    """Read what the page's canvas tells: number of the reference (from 1) -> a box, or a mask as a grey picture."""
    if not text.strip():
        return {}
    if len(text) > LONGEST:
        raise InputError("the drawing is too large: clear it, and draw again")
    try:
        entries: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("the drawing cannot be read: clear it, and draw again") from error
    if not isinstance(entries, dict):
        raise InputError("the drawing cannot be read: clear it, and draw again")
    found = {_number(name): _region(name, entry) for name, entry in entries.items()}
    return {number: region for number, region in found.items() if region is not None}


def drawn_of(regions: Mapping[int, Box | Image.Image]) -> str:
    """What ``regions_of`` reads, as the page's canvas would have told it."""
    return json.dumps({str(number): _told(region) for number, region in regions.items()})


def _told(region: Box | Image.Image) -> dict[str, Any]:
    if not isinstance(region, Image.Image):
        return {"box": list(region)}
    painted = Image.new("RGBA", region.size)
    painted.putalpha(region.convert("L"))
    file = io.BytesIO()
    painted.save(file, "PNG")
    return {"mask": DRAWN + base64.b64encode(file.getvalue()).decode()}


def _number(name: str) -> int:
    if not (name.isascii() and name.isdecimal() and len(name) < 3):
        raise InputError("the drawing names no reference: clear it, and draw again")
    return int(name)


def _region(name: str, entry: Any) -> Box | Image.Image | None:
    if not isinstance(entry, dict):
        raise InputError(f"the region of reference {name} cannot be read: clear it, and draw again")
    if entry.get("mask"):
        return _mask(name, entry["mask"])
    box = entry.get("box")
    if not box:
        return None
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(edge, (int, float)) for edge in box)):
        raise InputError(f"the box of reference {name} has no four edges: clear it, and draw again")
    left, top, right, bottom = (round(min(max(float(edge), 0.0), 1.0), 4) for edge in box)
    if left >= right or top >= bottom:
        raise InputError(f"the box of reference {name} has no area: drag from one corner to the other")
    return left, top, right, bottom


def _mask(name: str, text: Any) -> Image.Image | None:
    """A painted mask; None if nothing is painted."""
    try:
        if not isinstance(text, str) or not text.startswith(DRAWN):
            raise ValueError
        with Image.open(io.BytesIO(base64.b64decode(text[len(DRAWN) :], validate=True)), formats=("PNG",)) as image:
            if max(image.size) > MASK:
                raise ValueError
            painted = np.asarray(image.convert("RGBA"))[:, :, 3] > 127
    except (ValueError, OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise InputError(f"the mask of reference {name} cannot be read: clear it, and paint again") from error
    return Image.fromarray(painted.astype(np.uint8) * 255) if painted.any() else None
