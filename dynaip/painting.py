"""Painting: prompts and references go through a pipeline by one path, whichever command asks for the pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.model import DynaIP
from dynaip.adapter.reference import Reference
from dynaip.contracts import Backbone, Case
from dynaip.errors import InputError, NotFinite
from dynaip.promises import check_images
from dynaip.prompts import tell_cut, tell_unknown
from dynaip.sizes import check_size

LISTED = 4
"""Seeds that a message names."""
LARGE = 100
"""Scales, coefficients and guidance above this are named where a picture is not finite."""


def paint(
    pipe: Any,
    backbone: Backbone,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    size: tuple[int, int] | None = None,
    dyna: DynaIP | None = None,
    references: Sequence[Reference | Sequence[Reference]] = (),
    options: Mapping[str, Any] | None = None,
    **shown: Any,
) -> list[Image.Image]:
    """Paint a batch, one seed a prompt; ``dyna`` None leaves the references out.

    ``references`` and ``shown`` (granularity, decoupling, layout, subjects) are what ``dyna.references`` takes, ``options``
    go to the pipeline's call. Raises ``InputError`` for a size that the model cannot paint, and ``InputError`` or
    ``NotFinite``, by the cause, where what is painted is not finite.
    """
    given = dict(options or {})
    if size is not None:
        check_size(getattr(backbone, "config", None), size, "size")
    with dyna.references(*references, **shown) if dyna is not None else nullcontext():
        try:
            images = backbone.generate(pipe, prompts, seeds=seeds, size=size, **given)
        except NotFinite as error:
            numbers = [*_numbers(references, shown), *((name, value) for name, value in given.items())]
            raise _by_cause(error, pipe, dyna, numbers, seeds) from error
    check_images(f"backbone {type(backbone).__name__}", images, len(prompts))
    return images


def generate_cases(
    pipe: Any,
    backbone: Backbone,
    cases: Sequence[Case],
    *,
    dyna: DynaIP | None = None,
    batch_size: int = 8,
    options: Mapping[str, Any] | None = None,
    decoupling: Any = None,
    granularity: Mapping[str, float] | None = None,
) -> Iterator[tuple[Case, Image.Image]]:
    """Yield every case with its image; ``dyna`` None leaves the references out.

    Cases of one size go through the pipeline together, each with its own references and its own seed, so that all arms
    start a case from the same noise. ``options`` go to the pipeline's call.
    """
    if cases:
        tell_of_prompts(pipe, backbone, [case.prompt for case in cases], options or {})
    for batch in batches(cases, batch_size):
        images = paint(
            pipe, backbone, [case.prompt for case in batch], seeds=[case.seed for case in batch], size=batch[0].size,
            dyna=dyna, references=[] if dyna is None else [references_of(case) for case in batch], options=options,
            granularity=granularity, decoupling=decoupling,
        )  # fmt: skip
        yield from zip(batch, images, strict=True)


def references_of(case: Case) -> list[Reference]:
    """What the adapter is shown for a case."""
    return [Reference(one.image, region=one.region) for one in case.references]


def batches(cases: Sequence[Case], batch_size: int) -> Iterator[list[Case]]:
    """Neighbouring cases of one size and one number of references, ``batch_size`` at most."""
    for _, group in itertools.groupby(cases, key=lambda case: (case.size, len(case.references))):
        rest = list(group)
        yield from (rest[start : start + batch_size] for start in range(0, len(rest), batch_size))


def tell_of_prompts(pipe: Any, backbone: Backbone, prompts: Sequence[str], options: Mapping[str, Any]) -> None:
    """Tell which prompts are longer than an encoder reads, and which words it has never seen, in one note each.

    A negative prompt counts as one of the prompts.
    """
    negative = options.get("negative_prompt")
    asked = [*prompts, *([negative] if isinstance(negative, str) and negative else [])]
    tell_cut(backbone.prompt_limits(pipe, options.get("max_sequence_length")), asked)
    tell_unknown(getattr(pipe, "tokenizer_2", None) or getattr(pipe, "tokenizer", None), asked)


def _numbers(references: Sequence[Any], shown: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers that a user chose, with what they are called."""
    for item in references:
        for one in item if isinstance(item, Sequence) else [item]:
            yield f"the scale of {one.name}", one.scale
    for level, value in (shown.get("granularity") or {}).items():
        yield f"granularity {level}", value


def _by_cause(
    error: NotFinite, pipe: Any, dyna: DynaIP | None, numbers: Sequence[tuple[str, Any]], seeds: Sequence[int]
) -> Exception:
    """The error that says what to change: a number out of all proportion, damaged weights, or the type of the numbers."""
    more = f" and {len(seeds) - LISTED} more" if len(seeds) > LISTED else ""
    where = f"{error}, with the seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds[:LISTED]))}{more}"
    large = [f"{name} = {value:g}" for name, value in numbers if isinstance(value, (int, float)) and abs(value) > LARGE]
    if large:
        return InputError(f"{where}: lower {' and '.join(large)}")
    damaged = _damaged(pipe, dyna)
    if damaged:
        return InputError(f"{where}: the weights {damaged} are damaged; load others")
    return NotFinite(f"{where}: load the model with another dtype, such as float32 or bfloat16")


@torch.no_grad()
def _damaged(pipe: Any, dyna: DynaIP | None) -> str | None:
    """Name of the first weights that are not finite."""
    modules: dict[str, Any] = dict(getattr(pipe, "components", {})) | ({"adapter": dyna} if dyna is not None else {})
    for part, module in modules.items():
        for name, value in module.state_dict().items() if isinstance(module, nn.Module) else ():
            if isinstance(value, Tensor) and value.is_floating_point() and not torch.isfinite(value.float()).all():
                return f"{part}.{name}"
    return None
