"""Options of a folder of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt

from dynaip.config import SourceConfig


class FolderPairsConfig(SourceConfig):
    """Where the pairs lie, and the size of the targets."""

    folder: Path
    """Folder with metadata.jsonl: one line a pair with reference, target, prompt and (optional) subject."""
    height: PositiveInt | None = None
    """Height of the targets in pixels, a multiple of what the backbone asks for (16 for FLUX); None: as width, or else the
    backbone's own size."""
    width: PositiveInt | None = None
    """Width of the targets in pixels; None: as height, or else the backbone's own size."""
    fit: Literal["crop", "pad"] = "crop"
    """How a target of another shape is fitted: its middle, or all of it with white beside it."""

    def target_size(self) -> tuple[int, int] | None:
        """Height and width of the targets; None if neither is given."""
        height, width = self.height or self.width, self.width or self.height
        return (height, width) if height and width else None

    def sized(self, height: int, width: int) -> Self:
        """The same options with a size, if none is given."""
        return self if self.target_size() else self.model_copy(update={"height": height, "width": width})
