"""What plugins give back, held against what their contracts promise: one line that names the plugin and the rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dynaip.errors import PluginError
from dynaip.images import plain_rgb
from dynaip.numeric import four_numbers
from dynaip.plain import name_problem

if TYPE_CHECKING:
    from dynaip.contracts import Pair


def _broken(who: str, text: str) -> PluginError:
    return PluginError(f"{who}: {text}")


def check_columns(who: str, columns: Any) -> list[str]:
    """Names of a metric's columns: texts, each of its own."""
    names = list(columns) if isinstance(columns, Sequence) and not isinstance(columns, str) else []
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise _broken(who, f"columns must be different names such as ('cp', 'pf'), not {columns!r}")
    return names


def check_rows(who: str, columns: Sequence[str], rows: Any, cases: Sequence[Any]) -> list[dict[str, float]]:
    """Scores of a metric: a row a case, a number (or NaN) for each of its columns and nothing else."""
    found = list(rows) if isinstance(rows, Sequence) and not isinstance(rows, str) else None
    if found is None or len(found) != len(cases):
        given = f"{len(found)} rows" if found is not None else type(rows).__name__
        raise _broken(who, f"score must give a list with one row a case; it gave {given} for {len(cases)} cases")
    return [_row(who, columns, row, case.id) for row, case in zip(found, cases, strict=True)]


def _row(who: str, columns: Sequence[str], row: Any, case: str) -> dict[str, float]:
    if not isinstance(row, Mapping):
        raise _broken(who, f"score gave {type(row).__name__} for case {case}; a row is a dict of {', '.join(columns)}")
    lacking, more = [name for name in columns if name not in row], [str(name) for name in row if name not in columns]
    if lacking or more:
        wrong = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(more)}, which columns does not name"
        raise _broken(who, f"the row of case {case} {wrong}; its columns are {', '.join(columns)} (NaN: not defined)")
    return {name: _number(who, f"{name} of case {case}", row[name]) for name in columns}


def _number(who: str, what: str, value: Any) -> float:
    """Numbers of Python, numpy and torch (with one element) are numbers; texts are not."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise _broken(who, f"{what} must be a number, not {value!r}") from None


def check_cases(who: str, suite: str, cases: Any) -> list[Any]:
    """Cases of one suite: each with an id that can be a folder's name, a prompt, a seed, and PIL images as references.

    They are given back with pictures in upright RGB, so that adapter and metrics see the same.
    """
    from dynaip.contracts import Case

    if problem := name_problem(suite):
        raise _broken(who, f"the name of a suite: {problem}")
    if not isinstance(cases, Sequence) or not all(isinstance(case, Case) for case in cases):
        raise _broken(who, f"cases({suite!r}) must give a list of Case objects")
    for case in cases:
        if problem := name_problem(str(case.id)):
            raise _broken(who, f"the id of a case: {problem}")
        if case.suite != suite:
            raise _broken(who, f"case {case.id} of suite {suite} says that it is of suite {case.suite!r}")
        if not isinstance(case.prompt, str) or not isinstance(case.seed, int) or not 0 <= case.seed < 2**63:
            raise _broken(who, f"case {case.id} must have a text as prompt and an integer from 0 up as seed")
    return [_with_plain_references(who, case) for case in cases]


def _with_plain_references(who: str, case: Any) -> Any:
    what, plain = f"a reference of case {case.id}", list[Any]()
    for reference in case.references:
        _check_image(who, what, getattr(reference, "image", None))
        image = plain_rgb(reference.image, f"{who}: {what}")
        plain.append(reference if image is reference.image else replace(reference, image=image))
    return replace(case, references=tuple(plain))


def check_different(who: str, cases: Sequence[Any]) -> None:
    """No two cases of an evaluation share an id: their pictures would lie in one place."""
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise _broken(who, f"two cases have the id {case.id}; each needs one of its own, in all suites")
        seen.add(case.id)


def check_pair(who: str, index: int, pair: Any) -> Pair:
    """A pair of a source: an id, two PIL images and a prompt; given back with pictures in upright RGB."""
    from dynaip.contracts import Pair

    if not isinstance(pair, Pair):
        raise _broken(who, f"item {index} must be a Pair, not {type(pair).__name__}")
    for name in ("id", "prompt"):
        if not isinstance(getattr(pair, name), str):
            raise _broken(who, f"item {index}: {name} must be a text, not {getattr(pair, name)!r}")
    _check_image(who, what := f"the target of pair {pair.id}", pair.target)
    target = plain_rgb(pair.target, f"{who}: {what}")
    references = [_plain_pair_reference(who, f"the reference of pair {pair.id}", each) for each in pair.references]
    changed = target is not pair.target or any(one is not other for one, other in zip(references, pair.references))
    return replace(pair, target=target).with_references(references) if changed else pair


def _plain_pair_reference(who: str, what: str, reference: Any) -> Any:
    _check_image(who, what, getattr(reference, "image", None))
    for name in ("region", "mask"):
        given = getattr(reference, name)
        if name == "region" and isinstance(given, tuple):
            _check_region(who, what, given)
        elif given is not None:
            _check_image(who, f"the {name} of {what}", given)
    image = plain_rgb(reference.image, f"{who}: {what}")
    return reference if image is reference.image else replace(reference, image=image)


def _check_region(who: str, what: str, box: tuple[Any, ...]) -> None:
    edges = four_numbers(box)
    inside = edges is not None and 0 <= edges[0] < edges[2] <= 1 and 0 <= edges[1] < edges[3] <= 1
    if not inside:
        raise _broken(who, f"the region of {what} must be left, top, right, bottom within 0 and 1, not {box!r}")


def check_images(who: str, images: Any, count: int) -> None:
    """What a backbone painted: one PIL image a prompt."""
    if not isinstance(images, Sequence) or len(images) != count:
        given = f"{len(images)} images" if isinstance(images, Sequence) else type(images).__name__
        raise _broken(who, f"generate must give one image a prompt; it gave {given} for {count}")
    for image in images:
        _check_image(who, "an image of generate", image)


def _check_image(who: str, what: str, image: Any) -> None:
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise _broken(who, f"{what} must be a PIL image, not {type(image).__name__}")


def check_pixels(who: str, pixels: Any, count: int) -> None:
    """What an encoder made of pictures: B x 3 x S x S."""
    shape: tuple[int, ...] = tuple(getattr(pixels, "shape", ()))
    if len(shape) != 4 or shape[0] != count:
        raise _broken(who, f"preprocess must give {count} x 3 x S x S, not {_shown(pixels)}")


def check_levels(who: str, encoder: Any, features: Any, count: int) -> None:
    """Features of an encoder: all of its levels, each B x N x C_l with the N of its grid, in its order."""
    levels, grid = list(encoder.levels), getattr(encoder, "grid", None)
    if not isinstance(features, Mapping) or set(features) != set(levels):
        given = list(features) if isinstance(features, Mapping) else type(features).__name__
        raise _broken(who, f"forward must give the levels {levels}, not {given}")
    for level, values in features.items():
        shape: list[int] = list(getattr(values, "shape", ()))
        width = encoder.widths[level]
        least = 0 if grid is None else grid[0] * grid[1]
        fits = len(shape) == 3 and (shape[0], shape[2]) == (count, width)
        if not fits or (least and shape[1] not in (least, least + 1)):
            wanted = f"{count} x {f'{least} (or one more)' if least else 'N'} x {width}"
            raise _broken(who, f"level {level} must be {wanted} (B x N x C), not {_shown(values)}")


def check_fused(who: str, fused: Any, count: int, width: int) -> None:
    """What a fusion strategy made of a batch: tokens B x M x D."""
    tokens = getattr(fused, "tokens", None)
    shape = tuple(getattr(tokens, "shape", ()))
    if len(shape) != 3 or shape[0] != count or shape[2] != width or not shape[1]:
        given = _shown(tokens) if hasattr(fused, "tokens") else type(fused).__name__
        raise _broken(who, f"forward must give FusedReference(tokens) of {count} x M x {width}, not {given}")


def check_finite(who: str, what: str, values: Any) -> None:
    """A tensor without NaN or infinite values; one that holds no values (meta) is not judged."""
    if values.device.type != "meta" and not bool(values.isfinite().all()):
        raise _broken(who, f"{what} hold values that are not finite (NaN or infinite)")


def check_weights(who: str, weights: Any) -> None:
    """What a policy says of one block at one step: a finite number for each branch."""
    try:
        finite = all(math.isfinite(getattr(weights, branch)) for branch in ("image", "text"))
    except (AttributeError, TypeError, ValueError):
        finite = False
    if not finite:
        raise _broken(who, f"weights must give BranchWeights of two finite numbers, not {weights!r}")


def _shown(values: Any) -> str:
    return " x ".join(map(str, values.shape)) if hasattr(values, "shape") else type(values).__name__
