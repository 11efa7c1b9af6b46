"""Where the blocks of diffusers' MM-DiT models give their queries and outputs.

Their double-stream attention shares one shape: ``to_q``, ``norm_q``, ``add_q_proj``, ``norm_added_q``, ``to_out``,
``to_add_out``, ``heads``; it returns image, then text, and the block text, then image.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from dynaip.contracts import BlockSite, Branch
from dynaip.errors import InputError


def double_site(number: int, block: Any, query_layout: Literal["BTHd", "BHTd"] = "BTHd") -> BlockSite:
    """A double-stream block; one that gives its text away (the last of SD3) has an image branch alone."""
    attention = block.attn
    queries: dict[Branch, nn.Module] = {"image": _query(attention, "norm_q", "to_q")}
    projections: dict[Branch, nn.Module] = {"image": attention.to_out[0]}
    if attention.to_add_out is not None:
        queries["text"] = _query(attention, "norm_added_q", "add_q_proj")
        projections["text"] = attention.to_add_out
    positions: dict[Branch, int] = {"image": 0, "text": 1}
    return BlockSite(
        name=f"transformer_blocks.{number}",
        kind="double",
        block=block,
        attention=attention,
        queries=queries,
        projections=projections,
        attention_outputs={branch: positions[branch] for branch in queries},
        block_outputs={branch: 1 - positions[branch] for branch in queries},
        heads=attention.heads,
        query_layout=query_layout,
    )


def single_site(number: int, block: Any, block_output: int) -> BlockSite:
    """A single-stream block, whose image stream is at ``block_output`` of what it returns."""
    return BlockSite(
        name=f"single_transformer_blocks.{number}",
        kind="single",
        block=block,
        attention=block.attn,
        queries={"image": block.attn.norm_q},
        projections={},
        attention_outputs={"image": 0},
        block_outputs={"image": block_output},
        heads=block.attn.heads,
    )


def _query(attention: Any, norm: str, projection: str) -> nn.Module:
    """The norm of the query, or its projection where the model has no norm."""
    module = getattr(attention, norm, None)
    if module is not None:
        return module
    # Unfusing gives the processor back; the flag of the attention stays as it is.
    if "Fused" in type(attention.processor).__name__:
        raise InputError("fused projections hide the query of a model without QK norm: unfuse_qkv_projections() first")
    return getattr(attention, projection)
