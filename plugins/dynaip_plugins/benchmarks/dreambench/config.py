"""Options of DreamBench."""

from __future__ import annotations

from pydantic import PositiveInt

from ..copies import CopyConfig


class DreamBenchConfig(CopyConfig):
    """Which part of DreamBench."""

    images: PositiveInt = 1
    """Pictures a prompt, each with a seed of its own; the protocol takes 4."""
