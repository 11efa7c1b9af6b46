"""From what the user gave to slots: pictures encoded once, fused at the first pass, with their regions and scales."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from dynaip.adapter.compiled import transformer_of
from dynaip.adapter.layout import AutoLayout, LayoutFinder
from dynaip.adapter.parts import Adapter
from dynaip.adapter.reference import Reference, normalised
from dynaip.adapter.slots import Slot
from dynaip.contracts import ForwardPass
from dynaip.errors import InputError
from dynaip.promises import check_finite

Placed = list[tuple[Reference, Tensor | None]]
"""One sample's references with their regions on the grid."""


def slot_maker(
    adapter: Adapter,
    samples: list[list[Reference]],
    granularity: Mapping[str, float] | None,
    finder: LayoutFinder | None,
) -> Callable[[ForwardPass], list[Slot]]:
    """Encode every picture once now; fuse at the first pass, when a prompt-aware router can see the prompt."""
    given = {id(one): one for sample in samples for one in sample if one.scale != 0}
    pictures, names = [one.picture() for one in given.values()], [one.name for one in given.values()]
    encoded = adapter.features(pictures, names) if pictures else {}
    check_encoded(adapter, encoded)
    features = {
        key: {level: values[place : place + 1] for level, values in encoded.items()} for place, key in enumerate(given)
    }

    def make(call: ForwardPass) -> list[Slot]:
        rows = samples
        if adapter.fusion.uses_condition or finder is not None:
            # A router sees each prompt, and each image has a layout of its own: then every image has its own references.
            rows = [sample for sample in samples for _ in range(call.batch // len(samples))]
        placed = [
            list(zip(sample, regions(sample, call.grid, finder, row), strict=True)) for row, sample in enumerate(rows)
        ]
        slots = [
            _slot(adapter, placed, number, features, granularity, call)
            for number in range(max(map(len, rows), default=0))
        ]
        return [slot for slot in slots if slot is not None]

    return make


def check_encoded(adapter: Adapter, encoded: Mapping[str, Tensor]) -> None:
    """``InputError`` naming the first level that is not finite; all levels are one question, so that a device is read once."""
    if not encoded or any(values.is_meta for values in encoded.values()):  # without values there is nothing to judge
        return
    finite = torch.stack([values.isfinite().all() for values in encoded.values()])
    if not bool(finite.all()):
        level = list(encoded)[finite.tolist().index(False)]
        raise InputError(
            f"encoder {adapter.specs.encoder.use}: level {level} of a reference is not finite; load it in another dtype"
        )


def regions(
    sample: Sequence[Reference], grid: tuple[int, int], finder: LayoutFinder | None = None, row: int = 0
) -> list[Tensor | None]:
    """M_r of every reference of a sample; those with scale 0 take no part in sharing what overlaps."""
    given = [one.weights(grid) for one in sample]
    if finder is not None and finder.layout is not None:
        found = finder.layout.regions[row].flatten(1)
        given = [found[place] if weights is None else weights for place, weights in enumerate(given)]
    shared = iter(normalised([weights for one, weights in zip(sample, given, strict=True) if one.scale != 0]))
    return [next(shared) if one.scale != 0 else None for one in sample]


def _slot(
    adapter: Adapter, samples: list[Placed], number: int, features: dict[int, dict[str, Tensor]],
    granularity: Mapping[str, float] | None, call: ForwardPass,
) -> Slot | None:  # fmt: skip
    """The ``number``-th reference of every sample that has one and gives it a scale; None if no sample does."""
    found = {
        row: sample[number]
        for row, sample in enumerate(samples)
        if len(sample) > number and sample[number][0].scale != 0
    }
    if not found:
        return None
    rows, (references, where) = list(found), zip(*found.values(), strict=True)
    parts = [features[id(reference)] for reference in references]
    picked = {level: torch.cat([part[level] for part in parts]) for level in adapter.encoder.levels}
    condition = call.condition[rows] if adapter.fusion.uses_condition and call.condition is not None else None
    with torch.no_grad():
        tokens = adapter.fuse(picked, coefficients=granularity, condition=condition).tokens
    check_finite(f"fusion {adapter.specs.fusion.use}", "its tokens", tokens)
    scales = torch.tensor([reference.scale for reference in references], dtype=torch.float32)
    return Slot(rows, tokens, scales, list(where), repeats=call.batch // len(samples), number=number)


def layout_finder(
    adapter: Adapter, pipe: Any, samples: list[list[Reference]], layout: Any, subjects: Sequence[Any] | None
) -> LayoutFinder | None:
    """Make what finds the regions, or None without ``layout``; ``InputError`` if subjects do not fit the references."""
    if layout is None:
        if subjects is not None:
            raise InputError('subjects: they are read for a layout alone; add layout="auto"')
        return None
    settings = AutoLayout() if layout == "auto" else layout
    if not isinstance(settings, AutoLayout):
        raise InputError(f'layout: {layout!r} must be "auto" or an AutoLayout')
    named = _per_sample(samples, subjects)
    sites = adapter.backbone.blocks(transformer_of(pipe))
    words = any(isinstance(each, str) for sample in named for each in sample)
    text = adapter.backbone.text_stream(pipe) if words else (None, None, 0)
    held = weakref.ref(pipe)
    return LayoutFinder(settings, named, sites, text, lambda: getattr(held(), "_num_timesteps", None))


def _per_sample(samples: list[list[Reference]], subjects: Sequence[Any] | None) -> list[list[Any]]:
    if not subjects or isinstance(subjects, str):
        raise InputError('layout: name the word of each reference in the prompt, e.g. subjects=["corgi", "mug"]')
    nested = len(samples) > 1 or (
        len(subjects) == 1 and isinstance(subjects[0], (list, tuple)) and not _places(subjects[0])
    )
    named = [list(each) for each in subjects] if nested else [list(subjects)]
    if [len(each) for each in named] != [len(sample) for sample in samples]:
        raise InputError(
            f"layout: {sum(map(len, samples))} references, but subjects for {sum(map(len, named))}; name one for each reference"
        )
    return named


def _places(given: Any) -> bool:
    return bool(given) and all(isinstance(each, Integral) for each in given)
