"""Labels in place of features: what an adapter could keep if its tower held everything, and nothing but that.

Comparisons of towers, fusions and policies mean little in a world whose adapter could not have used the difference. This
encoder is the positive control: each level is a band of attributes, read from the reference by microworld's oracle (which
reads its renders without fault), one token an attribute, one-hot. Ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dynaip.contracts import VisualEncoder
from dynaip.errors import ConfigError
from dynaip.models import local_folder
from dynaip_plugins.microworld.models.oracle import Oracle
from dynaip_plugins.microworld.models.pixels import of_pictures
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES, BANDS, UNPROMPTED

from ...shared.pretrained import fingerprint
from .config import LabelConfig

KINDS = {**BANDS, "context": tuple(UNPROMPTED)}
"""Attributes of each level."""
TOKENS = max(len(names) for names in KINDS.values())
"""Tokens of every level; one with fewer attributes says them again."""
*_STARTS, WIDTH = accumulate((len(values) for values in ATTRIBUTES.values()), initial=0)
STARTS = dict(zip(ATTRIBUTES, _STARTS, strict=True))
"""Where each attribute's values begin among all."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


class LabelEncoder(VisualEncoder):
    """What the oracle says of a picture of one subject."""

    def __init__(self, config: LabelConfig) -> None:
        super().__init__()
        if len(set(config.levels)) < len(config.levels):
            raise ConfigError(f"encoder labels: levels named twice in {', '.join(config.levels)}")
        self.config, self.grid = config, (1, TOKENS)
        self.levels = {name: number for number, name in enumerate(config.levels, start=1)}
        self.widths = dict.fromkeys(self.levels, WIDTH)
        self.oracle = Oracle.from_pretrained(local_folder(config.model, "oracle"))
        self.eval().requires_grad_(False)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Resize to what the oracle reads: B x 3 x 128 x 128 in [0, 1]."""
        return of_pictures(images)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Read the attributes and spell them (pixels B x 3 x 128 x 128 -> B x 3 x C each)."""
        oracle = next(self.oracle.parameters())
        read = self.oracle.read(pixels.to(oracle.dtype), [WHOLE] * len(pixels))
        return {level: self._spelt(level, read).to(pixels) for level in self.levels}

    def _spelt(self, level: str, read: dict[str, Tensor]) -> Tensor:
        names = [KINDS[level][place % len(KINDS[level])] for place in range(TOKENS)]
        places = [read[name] + STARTS[name] for name in names]
        return F.one_hot(torch.stack(places, 1), WIDTH)

    def signature(self) -> dict[str, Any]:
        """Name what an adapter depends on: the oracle, its weights, and which labels."""
        first = next(self.oracle.parameters())
        return {"model": self.config.model, "levels": dict(self.levels), "weights": fingerprint(first)}
