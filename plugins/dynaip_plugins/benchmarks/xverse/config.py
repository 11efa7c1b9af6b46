"""Options of XVerseBench."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..copies import CopyConfig


class XVerseBenchConfig(CopyConfig):
    """Which part of XVerseBench."""

    images: Annotated[int, Field(ge=1, le=4)] = 1
    """Pictures a prompt, each with a seed of its own; the protocol takes 4."""
