"""Sets of every layout, made of colours that tell which picture is which."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.registry import registry


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAIP_DATA", str(tmp_path / "remembered"))


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A picture of one colour as a file's bytes."""

    def make(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
        buffer = BytesIO()
        Image.new("RGB", size, (number % 256, number // 256, 0)).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def built() -> Callable[..., Any]:
    """Build a source of its options."""

    def build(use: str, **options: Any) -> Any:
        return registry().build(ComponentSpec.parse("source", {"use": use, **options}))

    return build


def number(image: Image.Image) -> int:
    """Which picture it is."""
    red, green, _ = image.convert("RGB").getpixel((image.width // 2, image.height // 2))  # pyright: ignore
    return red + 256 * green
