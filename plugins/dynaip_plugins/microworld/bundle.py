"""Where the models that ship with microworld lie, and how they are made again. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dynaip.errors import InputError

Part = Literal["pipeline", "vision", "dino", "oracle", "adapter"]

ASSETS = Path(__file__).parent / "assets"
PARTS: tuple[str, ...] = ("pipeline", "vision", "dino", "oracle", "adapter")


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
        minutes: float | None = None,
        threads: int = 1,
        device: str = "auto",
        stages: Sequence[str] = (),
        compiled: bool = False,
        eager: bool = False,
        beside: bool = False,
        waits: bool = False,
        start: Path | None = None,
    ) -> list[str]:
        """Make the models again into ``out``, going on where it was broken off; the stages that ran.

        ``minutes`` ends trainings by the clock, ``eager`` leaves captured graphs out, ``beside`` gives every stage a process
        of its own, ``waits`` lets a stage wait for what another process makes. ``start`` is a folder of models to go on with.
        """
        import torch

        from dynaip.device import choose

        from .making import stages as building

        torch.set_num_threads(threads)
        order = building.Order(
            out, seed, scale, minutes, str(choose(device)), compiled, eager, waits=waits, start=start
        )
        if beside or waits:
            return building.build(replace(order, report=building.Lines()), stages, beside=beside)
        with building.bars() as progress:
            return building.build(replace(order, report=building.Bars(progress)), stages)

    def measure(self, folder: Path | None = None, *, count: int = 200, threads: int = 1, device: str = "auto") -> Path:
        """Measure a folder of models (by default those that ship); the model card written into it.

        Raises ``InputError`` for a folder that lacks a part.
        """
        import torch

        from dynaip.device import choose

        from .measuring import figures

        torch.set_num_threads(threads)
        measured = MicroworldBundle(root=folder or self.root)
        for part in ("pipeline", "oracle"):
            measured.folder(part)
        figures.write(measured.root, count, str(choose(device)))
        return measured.root / "MODEL_CARD.md"

    def card(self) -> str:
        """The model card of the models that ship."""
        card = self.root / "MODEL_CARD.md"
        if not card.is_file():
            raise InputError(f"{card} is missing; `dynaip microworld measure` writes it")
        return card.read_text(encoding="utf-8")
