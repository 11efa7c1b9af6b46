"""Options of token-wise concatenation."""

from __future__ import annotations

from ..config import FusionConfig


class TokenConcatConfig(FusionConfig):
    """Levels side by side along tokens."""
