"""What experiments on the tiny models have in common; nothing here imports a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def tiny_parts(flux: Path, clip: Path) -> dict[str, Any]:
    """Sections of an experiment on the tiny FLUX and CLIP in these folders; source and lengths are the test's own."""
    return {
        "backbone": {"use": "flux", "model": str(flux)},
        "encoder": {"use": "clip", "model": str(clip), "levels": {"low": 1, "mid": 2, "high": 4}},
        "fusion": "hmoe",
        "decoupling": "dynamic",
        "adapter": {"token_width": 16},
    }
