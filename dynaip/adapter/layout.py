"""A layout found by attention: the subject words of the prompt say where each reference belongs (the rule is ours).

While the first steps run without references, ``A_s(t)`` is the mean over these steps, over the double-stream blocks and
their heads of ``softmax_x(q_t k_x^T / sqrt(d/H))``, summed over the text tokens x of subject word s; queries and keys
are the block's own before rotary embedding. Each map is smoothed over 3 x 3 tokens and brought to [0, 1]; a token belongs
to the subject with the largest value, or to the background where that value is below the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dynaip.adapter.attention import split_heads
from dynaip.adapter.words import occurrences, pieces_of
from dynaip.contracts import BlockSite, ForwardPass
from dynaip.device import to_device
from dynaip.errors import InputError, MismatchError

Subject = str | Sequence[int]
"""A word (or words) of the prompt, or the places of its tokens in the text stream."""
COLOURS = (
    (230, 85, 60),
    (60, 120, 220),
    (70, 170, 90),
    (240, 190, 50),
    (150, 90, 200),
    (70, 190, 200),
    (220, 110, 170),
)


@dataclass(frozen=True)
class AutoLayout:
    """How regions are found."""

    steps: int = 4
    """Denoising steps that are looked at, without references; a quarter of all steps at most."""
    threshold: float = 0.4
    """Where every subject's map, brought to [0, 1], is below it there is background."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.threshold <= 1:
            raise InputError("layout: steps must be 1 at least, and threshold within 0 and 1")


@dataclass(frozen=True)
class Layout:
    """Where each reference of each image was put."""

    regions: Tensor
    """M_r: images x references x rows x columns of image tokens, 0 or 1."""
    attention: Tensor
    """A_s, the same shape: what the regions were read from."""

    def mask(self, reference: int, image: int = 0) -> Tensor:
        """Region of one reference, rows x columns: fit for ``Reference(region=...)``."""
        return self.regions[image, reference]

    def picture(self, image: int = 0, cell: int = 16) -> Image.Image:
        """Regions in colours on grey, ``cell`` pixels a token."""
        shown = np.full((*self.regions.shape[-2:], 3), 225, dtype=np.uint8)
        for number, region in enumerate(self.regions[image]):
            shown[region.numpy() > 0] = COLOURS[number % len(COLOURS)]
        return Image.fromarray(shown.repeat(cell, axis=0).repeat(cell, axis=1))


def assigned(attention: Tensor, threshold: float) -> Tensor:
    """Regions (R x rows x columns, 0 or 1) from maps of the same shape; no region is empty."""
    smooth = F.avg_pool2d(attention[None].float(), 3, stride=1, padding=1, count_include_pad=False)[0]
    low, high = smooth.amin(dim=(1, 2), keepdim=True), smooth.amax(dim=(1, 2), keepdim=True)
    shares = (smooth - low) / (high - low).clamp_min(1e-12)
    largest = shares.argmax(dim=0)
    numbers = torch.arange(len(shares), device=shares.device)[:, None, None]
    regions = ((largest == numbers) & (shares >= threshold)).float()
    for region, share in zip(regions, shares, strict=True):
        if not region.any():
            region.view(-1)[share.argmax()] = 1
    return regions


class LayoutFinder:
    """Looks at the first steps of a generation and finds its layout."""

    def __init__(
        self, settings: AutoLayout, subjects: Sequence[Sequence[Subject]], sites: Sequence[BlockSite],
        text: tuple[Any, nn.Module | None, int], steps: Callable[[], int | None],
    ) -> None:  # fmt: skip
        self.settings = settings
        self.subjects = subjects
        self.sites = [site for site in sites if site.kind == "double"]
        self.tokenizer: Any = text[0]
        self.encoder, self.start = text[1:]
        self.all_steps = steps
        self.layout: Layout | None = None
        self.call: ForwardPass | None = None
        """The pass that is looked at, if one is."""
        self._rows: list[list[int]] = []
        self._pieces: dict[tuple[int, ...], list[str]] = {}
        self._spent = False
        """Whether the prompts heard belong to a generation that has begun: the next one replaces them."""
        self._seen: tuple[float, int, tuple[int, int]] | None = None
        self._passes = 0
        self._sums: Tensor | None = None
        self._query: Tensor | None = None
        self._sent: list[list[Tensor]] | None = None
        """Places of the subjects' tokens on the device."""

    @contextmanager
    def listening(self) -> Generator[None]:
        """Hear the text encoder, the image queries and the text keys."""
        handles: list[Any] = []
        if self.encoder is not None:
            handles.append(self.encoder.register_forward_pre_hook(self._hear, with_kwargs=True))
        for site in self.sites:
            handles.append(site.queries["image"].register_forward_hook(self._hold))
            handles.append(text_keys(site).register_forward_hook(self._look_at(site)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            # The layout outlives the context; models that it was read from do not.
            self.call = self._query = self._sums = self._sent = self.encoder = self.tokenizer = None
            self.sites = []

    def begins(self, call: ForwardPass) -> bool:
        """Whether a generation begins with this pass."""
        before, self._seen = self._seen, (call.progress, call.batch, call.grid)
        return before is None or call.progress < before[0] or before[1:] != (call.batch, call.grid)

    def restart(self) -> None:
        """Forget the layout of the generation before."""
        self.layout, self._sums, self._sent, self._passes, self._spent = None, None, None, 0, True

    def look(self, call: ForwardPass) -> bool:
        """Look at this pass, if it is one of the first; afterwards the layout is there."""
        steps = self.all_steps() or 4 * self.settings.steps
        if self._passes < max(1, min(self.settings.steps, steps // 4)):
            self._passes += 1
            self.call = call
            return True
        if self.layout is None and self._sums is not None:
            maps = (self._sums / (self._passes * len(self.sites))).cpu()
            self.layout = Layout(torch.stack([assigned(each, self.settings.threshold) for each in maps]), maps)
        return False

    # -- hooks ---------------------------------------------------------------------------------------------------------

    def _hear(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if not isinstance(ids, Tensor):
            return
        rows = ids.tolist()
        # The negative prompt is encoded, too: the prompt is what came first, or what has all the subjects.
        if not self._rows or self._spent or all(self._places(row, sample) for row, sample in self._paired(rows)):
            self._rows, self._spent, self._sent = rows, False, None

    def _hold(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self._query = output if self.call is not None else None

    def _look_at(self, site: BlockSite) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, output: Tensor) -> None:
            query, self._query = self._query, None
            if self.call is not None and query is not None:
                rows = self.call.negative_rows
                query, key = (split_heads(each, site.heads, site.query_layout)[rows:] for each in (query, output))
                self._add(query, key, self.call)

        return look

    @torch.no_grad()
    def _add(self, query: Tensor, key: Tensor, call: ForwardPass) -> None:
        """Add one block's maps (B x R x rows x columns)."""
        tokens = call.grid[0] * call.grid[1]
        scores = query[:, :, :tokens] @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        shares = scores.float().softmax(dim=-1).mean(dim=1)
        places = self._places_on(call.batch, shares)
        maps = torch.stack(
            [torch.stack([row[:, each].sum(-1) for each in sample]) for row, sample in zip(shares, places, strict=True)]
        )
        maps = maps.unflatten(-1, call.grid)
        self._sums = maps if self._sums is None else self._sums + maps

    def _places_on(self, batch: int, shares: Tensor) -> list[list[Tensor]]:
        """``places`` where the maps lie, sent there once a generation."""
        if self._sent is None:
            found = self.places(batch, shares.shape[-1])
            if len({len(sample) for sample in found}) > 1:
                raise InputError(
                    "layout: all prompts of a batch need one number of references; paint the others by themselves"
                )
            self._sent = [[to_device(torch.tensor(each), shares.device) for each in sample] for sample in found]
        return self._sent

    # -- words ---------------------------------------------------------------------------------------------------------

    def places(self, batch: int, length: int) -> list[list[list[int]]]:
        """Per row of the pass and subject: places of its tokens in a text stream of ``length`` tokens."""
        rows: list[list[int]] = self._rows or [[] for _ in self.subjects]
        found: list[list[list[int]]] = []
        for row, sample in self._paired(rows):
            given = self._places(row, sample)
            if not given or any(not 0 <= place < length for each in given for place in each):
                raise InputError(self._missing(row, sample))
            found.append(given)
        if batch % len(found):
            raise MismatchError(f"layout: {len(found)} prompts do not divide {batch} images")
        return [each for each in found for _ in range(batch // len(found))]

    def _paired(self, rows: list[list[int]]) -> list[tuple[list[int], Sequence[Subject]]]:
        """Each prompt with its subjects; those of one sample serve all prompts."""
        if len(self.subjects) == 1:
            return [(row, self.subjects[0]) for row in rows]
        repeats = max(1, len(rows) // len(self.subjects))
        return [(row, self.subjects[min(place // repeats, len(self.subjects) - 1)]) for place, row in enumerate(rows)]

    def _places(self, row: list[int], sample: Sequence[Subject]) -> list[list[int]]:
        """Places of every subject of a prompt; none at all if one is missing."""
        found: list[list[int]] = []
        for number, subject in enumerate(sample):
            if not isinstance(subject, str):
                found.append([int(place) for place in subject])
                continue
            mentions = self._mentions(row, subject)
            if not mentions:
                return []
            # A word named twice is meant twice: its second mention is the second reference.
            mention = mentions[min(list(sample[:number]).count(subject), len(mentions) - 1)]
            found.append([self.start + place for place in mention])
        return found

    def _mentions(self, row: list[int], word: str) -> list[range]:
        """Places of a word among the encoder's tokens; words of an instruction that is cut off are not the prompt's."""
        known = tuple(row)
        if known not in self._pieces:
            self._pieces[known] = pieces_of(self.tokenizer, row)
        return [places for places in occurrences(word, self._pieces[known]) if places[0] >= max(0, -self.start)]

    def _missing(self, row: list[int], sample: Sequence[Subject]) -> str:
        if not row:
            return "layout: no prompt was encoded inside the context; give the places of its tokens: subjects=[[3, 4], ...]"
        lost = [each for each in sample if isinstance(each, str) and not self._mentions(row, each)]
        return f"layout: the prompt has no {', '.join(lost) or 'such token'}; subjects are words of the prompt"


def text_keys(site: BlockSite) -> nn.Module:
    """The module whose output is a double-stream block's text key before rotary embedding."""
    attention: Any = site.attention
    norm = getattr(attention, "norm_added_k", None)
    return attention.add_k_proj if norm is None else norm
