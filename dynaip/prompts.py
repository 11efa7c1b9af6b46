"""Prompts longer than a text encoder reads: the end of them has no effect, and that is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dynaip.notes import tell

LISTED = 8
"""Unknown words that a note names."""


@dataclass(frozen=True)
class PromptLimit:
    """How much of a prompt one text encoder reads."""

    encoder: str
    """What messages call it, e.g. CLIP."""
    longest: int
    """Tokens that it reads at most, its begin and end tokens included."""
    count: Callable[[str], int]
    """Tokens that a prompt has for it, counted as ``longest`` is."""


def cut(limits: Iterable[PromptLimit], prompts: Iterable[str]) -> str | None:
    """One line that says how many tokens are read of how many, for each encoder that cuts; None if all is read.

    Several prompts are counted, and the longest stands for them.
    """
    different = list(dict.fromkeys(prompts))
    parts = [part for limit in limits if (part := _part(limit, different))]
    if not parts:
        return None
    return "; ".join(dict.fromkeys(parts)) + ": what stands behind has no effect there"


def _part(limit: PromptLimit, prompts: Sequence[str]) -> str | None:
    lengths = [limit.count(prompt) for prompt in prompts]
    longer = sum(length > limit.longest for length in lengths)
    if not longer:
        return None
    read = f"{limit.encoder} reads {limit.longest} of {max(lengths)} tokens of"
    if len(prompts) == 1:
        return f"{read} the prompt"
    return f"{read} the longest prompt, and {longer} of {len(prompts)} prompts are longer than that"


def tell_cut(limits: Iterable[PromptLimit], prompts: Iterable[str]) -> None:
    """Tell of prompts that are cut, in one note for all of them."""
    if line := cut(limits, prompts):
        tell(line)


def tell_unknown(tokenizer: Any, prompts: Iterable[str]) -> None:
    """Tell which words a text encoder has never seen (a model of the full size knows nearly all)."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    words = dict.fromkeys(word for prompt in prompts for word in re.findall(r"[^\s,.;:!?]+", prompt))
    lost = [word for word in words if unknown in tokenizer(word, add_special_tokens=False).input_ids]
    if lost:
        more = f" and {len(lost) - LISTED} more words" if len(lost) > LISTED else ""
        tell(f"the text encoder does not know {', '.join(lost[:LISTED])}{more}")


def token_count(tokenizer: Any, text: str) -> int:
    """Tokens of a text, those that a tokenizer adds included, without its own warning about long texts."""
    return len(tokenizer(text, truncation=False, verbose=False).input_ids)
