"""Options of the hierarchical mixture of experts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..config import FusionConfig

Probability = Annotated[float, Field(ge=0, le=1)]


class HMoEConfig(FusionConfig):
    """Experts, router, temperature, load balance, and what makes coefficients mean something."""

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
    entropy_loss: NonNegativeFloat = 0.0
    """Weight of ``log L - H(w)``, which keeps the router from deciding for one level alone; 0 is off (ours)."""
    coefficient_dropout: Probability = 0.0
    """Share of training references that meet coefficients drawn at random, so that the adapter learns what each means (ours);
    0 is the paper's form."""
