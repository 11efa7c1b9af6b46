"""What the page's canvas sends: boxes and masks, and one line for whatever else is sent in their place."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip_analysis.page.regions import DRAWN, LONGEST, drawn_of, regions_of


def mask(size: int = 32, format: str = "PNG") -> str:
    picture = np.zeros((size, size, 4), np.uint8)
    picture[8:16, 4:8] = (0, 114, 178, 255)
    target = io.BytesIO()
    Image.fromarray(picture).convert("RGB" if format == "JPEG" else "RGBA").save(target, format=format)
    return DRAWN + base64.b64encode(target.getvalue()).decode()


def test_boxes_and_masks() -> None:
    found = regions_of(json.dumps({"1": {"box": [0.1, 0, 0.50001, 1.2]}, "2": {"mask": mask()}, "3": {}}))
    assert found[1] == (0.1, 0.0, 0.5, 1.0)
    painted = np.asarray(found[2])
    assert painted[8:16, 4:8].min() == 255 and (painted > 0).sum() == 32
    assert list(found) == [1, 2]
    assert regions_of("") == regions_of(" ") == {}


def test_regions_go_back_to_the_canvas_as_they_came() -> None:
    before = regions_of(json.dumps({"1": {"box": [0.1, 0, 0.5, 1]}, "2": {"mask": mask()}}))
    again = regions_of(drawn_of(before))
    assert again[1] == before[1] and list(again) == [1, 2]
    assert np.array_equal(np.asarray(again[2]), np.asarray(before[2]))


@pytest.mark.parametrize(
    "sent",
    [
        "{", "[]", "1", "[" * 9999, {"x": {}}, {"999": {}}, {"1": 3}, {"1": {"box": [1, 2]}}, {"1": {"box": "0,0,1,1"}},
        {"1": {"box": [0.5, 0, 0.5, 1]}}, {"1": {"box": [0, 0, "1", 1]}}, {"1": {"mask": True}}, {"1": {"mask": "/etc/passwd"}},
        {"1": {"mask": DRAWN + "!"}}, {"1": {"mask": DRAWN + "aGVsbG8="}}, {"1": {"mask": mask(2048)}},
        {"1": {"mask": mask(format="JPEG")}}, "x" * (LONGEST + 1),
    ],
    ids=lambda sent: str(sent)[:40],
)  # fmt: skip
def test_whatever_else_is_one_line(sent: Any) -> None:
    with pytest.raises(InputError) as caught:
        regions_of(sent if isinstance(sent, str) else json.dumps(sent))
    assert re.search(r"clear it|drag from", str(caught.value)) and "\n" not in str(caught.value)
