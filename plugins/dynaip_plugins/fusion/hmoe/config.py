"""Options of the hierarchical mixture of experts."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from ..config import FusionConfig


class HMoEConfig(FusionConfig):
    """Experts, router, temperature, load balance."""

    experts_per_level: PositiveInt = 1
    """Experts within a level; more than one are mixed by a gate of their own (the second level of the hierarchy)."""
    router: Literal["token", "image", "prompt"] = "token"
    """What the weights over levels depend on: each token, the mean over tokens, or each token and the prompt."""
    router_hidden: PositiveInt | None = None
    """Width of the router's hidden layer; None for a linear router."""
    temperature: PositiveFloat = 1.0
    """tau of the router's softmax; smaller is sharper."""
    balance_loss: NonNegativeFloat = 0.0
    """Weight of the load-balance loss over levels (Switch form); 0 is off."""
