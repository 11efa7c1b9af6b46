"""Options of a folder of pairs."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from dynaip.config import ComponentConfig


class FolderPairsConfig(ComponentConfig):
    """Where the pairs lie, and the size of the targets."""

    folder: Path
    """Folder with metadata.jsonl: one line a pair with reference, target, prompt and (optional) subject."""
    height: PositiveInt = 512
    """Height of the targets in pixels; a multiple of what the backbone asks for (16 for FLUX)."""
    width: PositiveInt = 512
    """Width of the targets in pixels."""
