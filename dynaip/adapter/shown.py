"""What a notebook shows of an adapter: a sentence, where ``print`` shows its tree of modules."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dynaip.adapter.model import DynaIP


class Shown:
    """The part of ``DynaIP`` that tells people what it is made of."""

    def summary(self) -> str:
        """Weights, parts, branches and what it is attached to, in one sentence."""
        dyna = cast("DynaIP", self)
        weights = sum(parameter.numel() for parameter in dyna.parameters())
        levels = ", ".join(f"{level} (layer {layer})" for level, layer in dyna.encoder.levels.items())
        branches = [branch for branch in ("image", "text") if dyna.attention.serves(branch)]
        encoder, fusion, policy = (
            getattr(dyna.specs, part).use.split(":")[-1] for part in ("encoder", "fusion", "decoupling")
        )
        where = f"attached to {type(dyna.pipe).__name__}" if dyna.attached else "attached to nothing"
        return (
            f"DynaIP of {weights:,} weights: encoder {encoder} with {levels}; fusion {fusion}; keys and values for "
            f"{' and '.join(branches)} branch in {len(dyna.block_numbers)} blocks; decoupling {policy}; {where}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary())}</p>"
