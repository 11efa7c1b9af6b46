"""Options of the resampler."""

from __future__ import annotations

from pydantic import PositiveInt

from ..config import FusionConfig


class ResamplerConfig(FusionConfig):
    """A perceiver as in IP-Adapter Plus."""

    hidden: PositiveInt | None = None
    """Width of the MLPs' hidden layers; None takes four times the width of the reference tokens. Parameter matching sets it."""
    queries: PositiveInt = 16
    """M, the number of reference tokens."""
    depth: PositiveInt = 2
    """Layers of cross attention."""
    heads: PositiveInt = 4
    """Attention heads; they divide the width of the reference tokens."""
