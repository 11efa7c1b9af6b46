"""What a family of base models tells: where its blocks are, and how one prediction runs.

Letters as in ``contracts.adapter``: B batch, T image tokens, X text tokens, C channels of a latent token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

from dynaip.contracts.adapter import Branch
from dynaip.prompts import PromptLimit


@dataclass(frozen=True)
class BlockSite:
    """One transformer block, and where its queries and outputs can be met."""

    name: str
    """Dotted path inside the transformer, e.g. ``transformer_blocks.3``."""
    kind: Literal["double", "single"]
    block: nn.Module
    attention: nn.Module
    queries: Mapping[Branch, nn.Module]
    """Modules whose output is the branch's query after its norm and before rotary embedding."""
    projections: Mapping[Branch, nn.Module]
    """Output projections of the attention (site ``projection`` adds before them)."""
    attention_outputs: Mapping[Branch, int]
    """Position of each branch in what ``attention`` returns."""
    block_outputs: Mapping[Branch, int]
    """Position of each branch in what ``block`` returns (site ``residual``)."""
    heads: int
    query_layout: Literal["BTHd", "BHTd"] = "BTHd"


@dataclass(frozen=True)
class ForwardPass:
    """What one call of the transformer is, read from its arguments."""

    batch: int
    """Images of the pass that may see references: rows of a negative pass in the same batch are not counted."""
    grid: tuple[int, int]
    """Rows and columns of the image tokens; T = rows * columns, and they come first in the image stream."""
    progress: float
    """0 at pure noise, 1 at the clean image."""
    negative: bool
    """The negative pass of classifier-free guidance: sees no reference."""
    condition: Tensor | None = None
    """Pooled prompt, B x C."""
    text_tokens: int = 0
    """X; single-stream blocks hold so many text tokens before the image tokens. Recording attention needs it."""
    negative_rows: int = 0
    """Leading rows of the batch that are its negative pass (SD3 runs [negative, positive] at once)."""
    skipped_blocks: frozenset[int] = frozenset()
    """Numbers of the blocks that this pass leaves out (SD3's skip-layer guidance)."""


@dataclass(frozen=True)
class Skeleton:
    """A pipeline in its true layout without weights: its models lie on torch's ``meta`` device."""

    pipe: Any
    """What ``load`` would give, but for weights, tokenizers and scheduler."""
    text: Mapping[str, Tensor]
    """What ``encode_prompts`` gives for one prompt, by shape and type."""
    channels: int
    """C, channels of a latent token."""
    tokens: Callable[[tuple[int, int]], int]
    """T, latent tokens of a target of (height, width) pixels."""


class Backbone(ABC):
    """A family of MM-DiT models: where the blocks are, how one velocity prediction runs. Built as ``Backbone(config)``."""

    @abstractmethod
    def load(self, *, device: Any, dtype: Any) -> Any:
        """Load the diffusers pipeline that the config names."""

    @abstractmethod
    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """All blocks in order, double-stream blocks first."""

    @abstractmethod
    def signature(self, transformer: nn.Module) -> dict[str, Any]:
        """Name what a trained adapter depends on: family, width, heads, number of blocks, condition width."""

    def skeleton(self) -> Skeleton | None:
        """The pipeline without weights, from its config files or a known layout; None if neither is at hand.

        What a training takes is computed from it before anything is loaded.
        """
        return None

    def condition_width(self) -> int | None:
        """Width of the pooled prompt that a prompt-aware router sees, read without loading weights; None: unknown."""
        return None

    @abstractmethod
    def read_pass(
        self,
        transformer: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None,
        pipe: Any = None,
    ) -> ForwardPass:
        """Read a call of the transformer; ``context`` is the name given to ``transformer.cache_context``, if any.

        ``pipe`` is the pipeline that calls; None in training and where the transformer is called by hand. A backbone that
        leaves the argument out is called without it.
        """

    @abstractmethod
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts once; each tensor is batch-first, so rows can be cached and stacked again."""

    @abstractmethod
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] (B x 3 x height x width) into the transformer's latent tokens (B x T x C)."""

    def shortened(self, text: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Prompts of a batch, still on the host, without padding that none of them needs; by default as they are.

        What ``velocity`` would have to read to know it belongs here: on a device every reading makes the host wait.
        """
        return text

    @abstractmethod
    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 for noisy latents (B x T x C) at ``timesteps`` in [0, 1] (B), for (height, width) in pixels."""

    @abstractmethod
    def generate(
        self,
        pipe: Any,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        size: tuple[int, int] | None = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Run the unmodified pipeline on a batch, one seed a prompt; ``options`` go to the pipeline's call.

        Raises ``NotFinite`` rather than give a picture of values that are not finite.
        """

    def guided(self, scale: float) -> dict[str, Any]:
        """Options of the pipeline's call for classifier-free guidance at a scale; 1 is off."""
        return {"true_cfg_scale": scale}

    def prompt_limits(self, pipe: Any, longest: int | None = None) -> Sequence[PromptLimit]:
        """How much of a prompt each text encoder reads; ``longest`` is ``max_sequence_length`` of the call, if given.

        Prompts that are longer are told to the user; a backbone that gives nothing is never asked.
        """
        return ()

    def text_stream(self, pipe: Any) -> tuple[Any, nn.Module, int]:
        """Tokenizer and text encoder of the text stream, and where the encoder's first token lies in the stream.

        By default the pipeline's second encoder (FLUX: T5), or its only one, from the stream's beginning.
        """
        if getattr(pipe, "text_encoder_2", None) is not None:
            return pipe.tokenizer_2, pipe.text_encoder_2, 0
        return pipe.tokenizer, pipe.text_encoder, 0
