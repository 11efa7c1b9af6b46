"""The contracts: what every room of the house promises to the path that runs through it.

Letters (see docs/method.md): B batch, N encoder tokens, M reference tokens, T image tokens, X text tokens, H heads,
d model width, C_l width of encoder level l, D width of reference tokens, R references, L levels, E experts.

A component is built as ``Target(config, **context)``; ``config`` is an instance of the component's own config class
and ``context`` is what its contract's constructor names below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from torch import Tensor, nn

from dynaip.report.section import ReportSection as ReportSection
from dynaip.report.section import SectionContent as SectionContent

Branch = Literal["image", "text"]
Phase = Literal["training", "inference"]
Box = tuple[float, float, float, float]
"""left, top, right, bottom in [0, 1]."""


class VisualEncoder(nn.Module, ABC):
    """A frozen image encoder read at several depths. Built as ``Encoder(config)``."""

    levels: Mapping[str, int]
    """Level name -> layer index, from shallow to deep, e.g. ``{"low": 10, "mid": 17, "high": 24}``."""
    widths: Mapping[str, int]
    """Level name -> C_l."""
    grid: tuple[int, int]
    """Rows and columns of the patch tokens; ``N = rows * columns`` (plus one when the class token is kept)."""

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
    A config with an integer field ``hidden`` takes part in parameter matching.
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
    """X: single-stream blocks hold so many text tokens before the image tokens."""
    negative_rows: int = 0
    """Leading rows of the batch that are its negative pass (SD3 runs [negative, positive] at once)."""


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

    def condition_width(self) -> int | None:
        """Width of the pooled prompt that a prompt-aware router sees, read without loading weights; None: unknown."""
        return None

    @abstractmethod
    def read_pass(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: str | None
    ) -> ForwardPass:
        """Read a call of the transformer; ``context`` is the name given to ``transformer.cache_context``, if any."""

    @abstractmethod
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts once; each tensor is batch-first, so rows can be cached and stacked again."""

    @abstractmethod
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] (B x 3 x height x width) into the transformer's latent tokens (B x T x C)."""

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
        """Run the unmodified pipeline on a batch, one seed a prompt; ``options`` go to the pipeline's call."""

    def text_stream(self, pipe: Any) -> tuple[Any, nn.Module, int]:
        """Tokenizer and text encoder of the text stream, and where the encoder's first token lies in the stream.

        By default the pipeline's second encoder (FLUX: T5), or its only one, from the stream's beginning.
        """
        if getattr(pipe, "text_encoder_2", None) is not None:
            return pipe.tokenizer_2, pipe.text_encoder_2, 0
        return pipe.tokenizer, pipe.text_encoder, 0


@dataclass(frozen=True)
class Pair:
    """One training example: the reference shows the subject, the target shows it as the prompt says."""

    id: str
    reference: Image.Image
    target: Image.Image
    prompt: str
    subject: str = ""


class PairSource(ABC):
    """An indexable set of training pairs. Built as ``Source(config)``; the same index always gives the same pair."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Pair:
        """Load one pair; raises ``BadSample`` with the reason if its files cannot be used."""


@dataclass(frozen=True)
class CaseReference:
    """A reference of a benchmark case; ``region`` None means everywhere."""

    image: Image.Image
    region: Box | None = None
    subject: str = ""
    mask: Callable[[], Any] | None = None
    """Gives where the subject is in the picture (height x width, bool), if the benchmark knows; for analyses alone."""


@dataclass(frozen=True)
class Case:
    """One thing to generate and score."""

    id: str
    suite: str
    prompt: str
    references: tuple[CaseReference, ...]
    seed: int
    size: tuple[int, int] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Whatever the benchmark's metrics need to know."""


class Benchmark(ABC):
    """Cases in suites. Built as ``Benchmark(config)``."""

    suites: tuple[str, ...]

    @abstractmethod
    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """The cases of one suite; the same seed always gives the same cases."""


class Metric(ABC):
    """Scores generated images. Built as ``Metric(config)``."""

    columns: tuple[str, ...]
    """Names of the values that ``score`` gives, e.g. ``("cp", "pf", "leak")``."""

    @abstractmethod
    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """One dict a case; NaN where a value is not defined for the case."""


@dataclass(frozen=True)
class Job:
    """One process of an ablation: a command line, where its output goes, and what it is called."""

    name: str
    arguments: tuple[str, ...]
    log: Path


class Executor(ABC):
    """Runs jobs, some at a time. Built as ``Executor(config)``."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], *, on_change: Callable[[Job, str], None]) -> dict[str, int]:
        """Run all jobs to their end and give exit codes by name; ``on_change`` hears started, finished, failed.

        A failed job never stops the others.
        """


class Bundle(ABC):
    """A set of model folders under one name, such as ``microworld``. Built as ``Bundle(config)``."""

    @abstractmethod
    def folder(self, part: str) -> Path:
        """The folder of a part: ``pipeline``, ``vision``, ``oracle`` or ``adapter``; raises ``KeyError`` if it has none."""


@dataclass(frozen=True)
class ForeignAdapter:
    """Somebody else's adapter in our terms."""

    encoder: Mapping[str, Any]
    """``{use: name, **options}``, as a config has it; so are ``fusion`` and ``decoupling``."""
    fusion: Mapping[str, Any]
    decoupling: Mapping[str, Any]
    adapter: Mapping[str, Any]
    """Section ``adapter`` of a config."""
    weights: Mapping[str, Tensor]
    """Tensors named as in ``adapter.safetensors``."""
    shape: Mapping[str, int]
    """What the file tells of its base: ``width``, ``double_blocks``, or ``blocks`` of both kinds together."""
    untouched: tuple[str, ...] = ()
    """Ends of names that the file lacks and that keep what they begin with."""


class AdapterFormat(ABC):
    """Somebody else's file format of adapters. Built as ``Format(config)``."""

    backbone: str
    """The backbone that the format's adapters are made for."""
    base: str
    """Hub id of the model that its public weights are made for."""
    transformer: Mapping[str, Any]
    """Config of that model's transformer, for when the model is not at hand."""

    @abstractmethod
    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Turn a file's tensors (nested names joined by dots) into an adapter; ``InputError`` if they are of something else."""

    @abstractmethod
    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the tensors of a ``DynaIP`` for a base with this transformer config.

        Raises ``InputError`` that names every property which the format cannot hold exactly.
        """
