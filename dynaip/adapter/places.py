"""Chosen blocks: what their hooks read and hold, and whether what they were to add was added."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from dynaip.adapter.attention import KeyValue
from dynaip.adapter.compiled import unwrapped
from dynaip.contracts import BlockSite, Branch

Span = Literal["off", "image_tokens", "all_tokens"]
"""Which tokens of single-stream blocks see references."""
Kept = dict[tuple[str, int], tuple[Tensor, Tensor]]
"""Keys and values by (name of the pair, reference)."""


@dataclass
class Place:
    """One chosen block.

    Modules of the block belong to the transformer, which may be deleted. Hooks read no number of the block, so that compiled
    blocks share one graph.
    """

    number: int
    single: bool
    query_layout: Literal["BTHd", "BHTd"]
    pairs: Mapping[Branch, KeyValue]
    weights: dict[Branch, float] = field(default_factory=dict[Branch, float])
    """g_b of the branches that are open in this pass."""
    factors: dict[Branch, Sequence[float]] = field(default_factory=dict[Branch, "Sequence[float]"])
    """Factors of the weights, one a reference, where an intervention tells references apart."""
    kept: Kept = field(default_factory=dict[Any, Any])
    """Keys and values by (name of the pair, reference)."""
    queries: dict[Branch, Tensor] = field(default_factory=dict[Branch, Tensor])
    """Held from the query's norm to the end of the attention, the projection or the block."""
    added: dict[Branch, bool] = field(default_factory=dict[Branch, bool])
    """Branches that the hooks reached in this pass, and whether there was a query to add a term with."""
    served: bool = False
    """Whether a term was added here since references became active."""
    reuses: bool = False
    """Whether a cache leaves this attention out in some steps: then the latest query serves them."""
    latest: dict[Branch, Tensor] = field(default_factory=dict[Branch, Tensor])
    """The latest queries, where they are used again."""
    leader: Any = None
    """The hook of a cache whose first block gives what all blocks would add, where terms are added behind blocks."""
    name: str = ""
    attention: weakref.ref[nn.Module] | None = None
    block: weakref.ref[nn.Module] | None = None

    def stand_at(self, site: BlockSite) -> None:
        """Remember the modules that the hooks are on."""
        self.name = site.name
        self.attention, self.block = (weakref.ref(unwrapped(module)) for module in (site.attention, site.block))

    def kinds(self, branch: Branch, span: Span) -> tuple[Branch, ...]:
        """What the tokens are that a branch's query serves: in a single-stream block, both kinds."""
        both = self.single and branch == "image" and span == "all_tokens"
        return ("image", "text") if both else (branch,)

    def factor(self, branch: Branch, reference: int) -> float:
        """The factor of a reference; references beyond a sequence of factors keep theirs."""
        factors = self.factors.get(branch)
        return 1.0 if factors is None or reference >= len(factors) else float(factors[reference])

    def close(self) -> None:
        """Shut every branch and let go of what was held for a pass."""
        self.weights, self.factors, self.kept = {}, {}, {}
        self.queries.clear()
        self.added.clear()
        self.reuses, self.leader = False, None

    def forget(self) -> None:
        """Let go of what is held from one pass to the next."""
        self.latest.clear()
        self.served = False
