"""What an adapter is made of: encoder, fusion and policy.

Letters (see docs/concepts/method.md): B batch, N encoder tokens, M reference tokens, T image tokens, X text tokens, H heads,
d model width, C_l width of encoder level l, D width of reference tokens, R references, L levels, E experts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

Branch = Literal["image", "text"]
Phase = Literal["training", "inference"]


class VisualEncoder(nn.Module, ABC):
    """A frozen image encoder read at several depths. Built as ``Encoder(config)``."""

    levels: Mapping[str, int]
    """Level name -> layer index, from shallow to deep, e.g. ``{"low": 10, "mid": 17, "high": 24}``."""
    widths: Mapping[str, int]
    """Level name -> C_l."""
    grid: tuple[int, int]
    """Rows and columns of the patch tokens; ``N = rows * columns`` (plus one when the class token is kept)."""
    fit: str | None = None
    """What ``preprocess`` does to a picture that is not square: ``crop``, ``pad``, or None for something else."""

    @classmethod
    def skeleton(cls, config: Any) -> VisualEncoder | None:
        """The encoder without weights, on torch's ``meta`` device; None where that is not known without loading it."""
        return None

    @abstractmethod
    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Turn RGB images of any size into the encoder's pixels (B x 3 x S x S)."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Encode pixels (B x 3 x S x S) into level features, each B x N x C_l."""

    @abstractmethod
    def signature(self) -> dict[str, Any]:
        """Name what a trained adapter depends on (model, levels, widths): compared field by field on loading."""


@dataclass(frozen=True)
class FusedReference:
    """What a fusion strategy makes of one batch of references."""

    tokens: Tensor
    """Reference tokens z, B x M x D."""
    weights: Tensor | None = None
    """Routing weights w over levels, B x N x L (per token) or B x L (per image); None without routing."""
    expert_weights: Tensor | None = None
    """Gates of the experts within each level, B x N x L x E; None with one expert a level."""
    auxiliary_loss: Tensor | None = None
    """Scalar to be added to the training loss (already weighted); None if there is none."""


class FeatureFusion(nn.Module, ABC):
    """Turns level features into reference tokens.

    Built as ``Fusion(config, widths=..., dim=D, condition_dim=...)``: ``widths`` maps level names to C_l in the encoder's
    order, ``condition_dim`` is the width of the condition vector (None if the backbone has none).
    A config with a method ``widened(hidden)`` takes part in parameter matching.
    """

    uses_condition: bool = False
    """Whether ``forward`` reads the condition vector (a prompt-aware router)."""

    @abstractmethod
    def forward(
        self,
        levels: Mapping[str, Tensor],
        *,
        coefficients: Mapping[str, float] | None = None,
        condition: Tensor | None = None,
    ) -> FusedReference:
        """Fuse level features (each B x N x C_l) into tokens (B x M x D).

        ``coefficients`` are the user's gamma_l >= 0 (missing levels count 1); strategies without levels to weigh raise
        ``ConfigError`` when any differs from 1. ``condition`` is the pooled prompt, B x C.
        """


@dataclass(frozen=True)
class BranchWeights:
    """g_b of the reference attention equation, one number a branch."""

    image: float
    text: float


class DecouplingPolicy(ABC):
    """Says which branch may look at the references, and how much. Built as ``Policy(config)``."""

    @abstractmethod
    def weights(self, phase: Phase, *, block: int, blocks: int, progress: float) -> BranchWeights:
        """Weights of both branches in block ``block`` of ``blocks``, at denoising progress 0 (noise) to 1 (image)."""

    @abstractmethod
    def branches(self, phase: Phase) -> frozenset[Branch]:
        """The branches whose weight is not always zero in this phase."""
