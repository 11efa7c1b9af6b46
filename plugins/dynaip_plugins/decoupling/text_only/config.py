"""Options of the policy `text_only`."""

from __future__ import annotations

from typing import Any

from dynaip.config import PolicyConfig


class TextOnlyConfig(PolicyConfig):
    """The text branch alone."""

    shared: bool = True
    """Let an ablation read the text branch of an adapter trained with both branches, instead of training one more."""

    def training_part(self) -> dict[str, Any]:
        """What training sees of the policy: the weights of both branches."""
        return {"image": 0.0, "text": 1.0}

    def served_by(self) -> list[dict[str, Any]]:
        """An adapter of both branches holds a text branch too."""
        return [{"image": 1.0, "text": 1.0}] if self.shared else []
