"""Where the models that ship with microworld lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

Part = Literal["pipeline", "vision", "oracle", "adapter"]

ASSETS = Path(__file__).parent / "assets"
PARTS: tuple[str, ...] = ("pipeline", "vision", "oracle", "adapter")


class MicroworldBundle:
    """The embedded models, by part."""

    def __init__(self, config: Any = None, root: Path = ASSETS) -> None:
        self.config, self.root = config, root

    def folder(self, part: Part | str) -> Path:
        """The folder of one part; says how to make it if it is missing."""
        if part not in PARTS:
            raise ValueError(f"microworld has no part {part!r}; its parts: {', '.join(PARTS)}")
        folder = self.root / part
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is missing; `dynaip microworld build` makes it")
        return folder
