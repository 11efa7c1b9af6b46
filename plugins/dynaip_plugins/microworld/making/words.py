"""Prompts and captions of many scenes at once, as token ids."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..models import tokens
from ..world.table import SLOTS, Table
from ..world.vocabulary import ATTRIBUTES, DENSE, FORMS, MAX_TOKENS, PROMPTED, words

ORDER = ("size", "variant", "main", "category", "second", "texture", "emblem", "place")
"""Order in which a subject's words come; the ground comes last."""
CAPTIONED: Mapping[str, float] = {
    "category": 1.0,
    "background": 1.0,
    "main": 0.2,
    "place": 0.2,
    "size": 0.1,
    "texture": 0.02,
    "second": 0.02,
    "emblem": 0.02,
    "variant": 0.02,
}
"""How often people mention an attribute in a caption (ours; what captions of photographs do to colours and details).

In a batch of a thousand, 28 images share category and ground: each further word that captions say is what tells these apart,
and so is learnt. Half of the captions say category and ground alone, which count as one caption."""
NOTHING = -1

Said = Mapping[str, Tensor]
"""Whether an attribute is said, by subject. Each [B,4] bool."""


def _ids(named: tuple[str, ...]) -> Tensor:
    """Two ids for every value; NOTHING where it has one word."""
    known = {word: number for number, word in enumerate((*tokens.SPECIAL, *words()))}
    rows = [[known[part] for part in word.split()] for word in named]
    return torch.tensor([[*row, NOTHING][:2] for row in rows])


def _words_of(table: Table, name: str) -> Tensor:
    """Ids of what an attribute is called. [B,4,2]."""
    if name == "variant":
        forms = _ids(tuple(form for category in PROMPTED["category"] for form in FORMS[category]))
        number = table.column("category") * len(ATTRIBUTES["variant"]) + table.column("variant")
        return forms.to(table.device)[number.clamp_min(0)]
    return _ids(ATTRIBUTES[name]).to(table.device)[table.column(name).clamp_min(0)]


def ids_of(table: Table, said: Said) -> Tensor:
    """Ids of what is said of the scenes, as the tokenizer would give them. [B,24] int64."""
    subjects = torch.cat([_words_of(table, name).where(said[name][..., None], NOTHING) for name in ORDER], -1)
    subjects = subjects.where(table.present[..., None], NOTHING).flatten(1)
    ground = _words_of(table, "background")[:, 0].where(said["background"][:, :1], NOTHING)
    everything = torch.cat([subjects, ground], 1)
    first = (everything == NOTHING).long().argsort(dim=1, stable=True)
    content = everything.gather(1, first)[:, : MAX_TOKENS - 2]
    length = (content != NOTHING).sum(1, keepdim=True)
    ids = torch.nn.functional.pad(content.where(content != NOTHING, tokens.PAD), (1, 1), value=tokens.PAD)
    ids[:, 0] = tokens.START
    return ids.scatter(1, length + 1, tokens.END)


def empty_ids(device: torch.device | str = "cpu") -> Tensor:
    """Ids of the empty prompt. [24]."""
    ids = torch.full((MAX_TOKENS,), tokens.PAD, device=device)
    ids[0], ids[1] = tokens.START, tokens.END
    return ids


def prompt_ids(table: Table, dense: bool) -> Tensor:
    """Ids of the scenes' prompts; dense ones only where they fit (one or two subjects). [B,24]."""
    always = torch.ones(len(table), SLOTS, dtype=torch.bool, device=table.device)
    looks = always & dense & (table.count <= 2)[:, None]
    said = dict.fromkeys(PROMPTED, always) | dict.fromkeys(DENSE, looks) | {"variant": ~always}
    return ids_of(table, said)


def caption_ids(table: Table) -> Tensor:
    """Ids of captions as people write them: by chance, from torch's generator of the table's device. [B,24]."""
    shape = (len(table), SLOTS)
    chances = {name: torch.rand(shape, device=table.device) for name in CAPTIONED}
    return ids_of(table, {name: chances[name] < often for name, often in CAPTIONED.items()})
