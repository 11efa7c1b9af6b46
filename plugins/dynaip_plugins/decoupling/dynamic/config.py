"""Options of the policy `dynamic`."""

from __future__ import annotations

from typing import Any

from dynaip.config import PolicyConfig


class DynamicConfig(PolicyConfig):
    """Dynamic Decoupling Strategy; nothing to set."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: the weights of both branches."""
        return {"image": 1.0, "text": 1.0}
