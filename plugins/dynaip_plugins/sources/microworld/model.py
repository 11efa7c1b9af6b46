"""Pairs (reference, target) of one subject, drawn by the seed; identities of the test split never occur."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dynaip.contracts import Pair, PairSource
from dynaip_plugins.microworld.world.render import pictures
from dynaip_plugins.microworld.world.scenes import Scene, another_context, prompt, sample_scene

from .config import MicroworldPairsConfig


class MicroworldPairs(PairSource):
    """An indexable set of single-subject pairs; prompts name category and context, never the identity."""

    def __init__(self, config: MicroworldPairsConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.size

    def __getitem__(self, index: int) -> Pair:
        """Draw pair ``index``; ``IndexError`` outside the set."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        reference, target = self.scenes(index)
        drawn = pictures([target] if reference is target else [reference, target])
        side = self.config.pixels
        images = [each if each.width == side else each.resize((side, side), Image.Resampling.LANCZOS) for each in drawn]
        return Pair(
            id=f"{self.config.pairs}-{self.config.seed}-{index}",
            reference=images[0],
            target=images[-1],
            prompt=prompt(target),
            subject=target.subjects[0].category,
        )

    def scenes(self, index: int) -> tuple[Scene, Scene]:
        """The scenes behind a pair: the target, and (for cross pairs) its subject in another context as reference."""
        rng = np.random.default_rng((self.config.seed, index, 0x9A1))
        target = sample_scene(rng, 1, "train")
        return (target, target) if self.config.pairs == "self" else (another_context(rng, target, 0), target)
