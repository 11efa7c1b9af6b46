"""Options of the policy `image_only`."""

from __future__ import annotations

from typing import Any

from dynaip.config import PolicyConfig


class ImageOnlyConfig(PolicyConfig):
    """The image branch alone; nothing to set."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: the weights of both branches."""
        return {"image": 1.0, "text": 0.0}
