"""Where the models that ship with microworld lie, and how they are made again. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dynaip.errors import InputError

Part = Literal["pipeline", "vision", "oracle", "adapter"]

ASSETS = Path(__file__).parent / "assets"
PARTS: tuple[str, ...] = ("pipeline", "vision", "oracle", "adapter")


class MicroworldBundle:
    """The embedded models, by part."""

    def __init__(self, config: Any = None, root: Path = ASSETS) -> None:
        self.config, self.root = config, root

    def folder(self, part: Part | str) -> Path:
        """The folder of one part; ``KeyError`` if there is no such part, ``InputError`` if it was not built."""
        if part not in PARTS:
            raise KeyError(f"microworld has no part {part!r}; its parts: {', '.join(PARTS)}")
        folder = self.root / part
        if not folder.is_dir():
            raise InputError(f"{folder} is missing; `dynaip microworld build` makes it")
        return folder

    def build(
        self,
        out: Path,
        *,
        seed: int = 0,
        scale: float = 1.0,
        threads: int = 1,
        stages: Sequence[str] = (),
        compiled: bool = False,
    ) -> list[str]:
        """Make the models again into ``out``, going on where it was broken off; the stages that ran."""
        from .making import stages as building

        unknown = sorted(set(stages) - building.STAGES.keys())
        if unknown:
            raise InputError(f"unknown stage {', '.join(unknown)}; there are {', '.join(building.STAGES)}")
        with building.bars() as progress:
            options: dict[str, Any] = {"seed": seed, "scale": scale, "threads": threads, "stages": stages or None}
            return building.build(out, **options, compiled=compiled, report=building.Bars(progress))

    def measure(self, folder: Path | None = None, *, count: int = 200, threads: int = 1) -> Path:
        """Measure a folder of models (by default those that ship); the model card written into it.

        Raises ``InputError`` for a folder that lacks a part.
        """
        import torch

        from .measuring import figures

        torch.set_num_threads(threads)
        measured = MicroworldBundle(root=folder or self.root)
        for part in ("pipeline", "oracle"):
            measured.folder(part)
        figures.write(measured.root, count)
        return measured.root / "MODEL_CARD.md"

    def card(self) -> str:
        """The model card of the models that ship."""
        card = self.root / "MODEL_CARD.md"
        if not card.is_file():
            raise InputError(f"{card} is missing; `dynaip microworld measure` writes it")
        return card.read_text(encoding="utf-8")
