"""Calls of pipelines: options that there are not are refused, and what is not finite is no picture."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynaip.errors import InputError, NotFinite
from dynaip.notes import tell
from dynaip.suggest import did_you_mean

NEGATIVE = ("negative_prompt", "negative_prompt_embeds")


def check_options(pipe: Any, options: Mapping[str, Any]) -> None:
    """Refuse an option that the pipeline's call does not have, and tell of guidance that nothing will come of."""
    names = list(inspect.signature(type(pipe).__call__).parameters)[1:]
    for name in options:
        if name not in names:
            raise InputError(
                f"options: {type(pipe).__name__} has no option {name}.{did_you_mean(name, names)} It takes "
                f"{', '.join(names)}"
            )
    if (options.get("true_cfg_scale") or 1) > 1 and all(options.get(name) is None for name in NEGATIVE):
        tell("true_cfg_scale has no effect without a negative prompt: give negative_prompt, if only an empty one")
    if (options.get("guidance_scale") or 1) > 1 and getattr(pipe.config, "is_distilled", False):
        tell("guidance has no effect on this model: it is distilled to few steps without")


@contextmanager
def finite(pipe: Any) -> Generator[None]:
    """Raise ``NotFinite`` on leaving if the autoencoder decoded values that are not finite: as 8 bits they are black."""
    decoder = getattr(getattr(pipe, "vae", None), "decoder", None)
    if not isinstance(decoder, nn.Module):
        yield
        return
    bad: list[Tensor] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        values = output if isinstance(output, Tensor) else output[0]
        bad.append(~torch.isfinite(values).all())

    handle = decoder.register_forward_hook(look)
    try:
        with np.errstate(invalid="ignore"):  # numpy would warn of what is told below
            yield
    finally:
        handle.remove()
    if any(bool(each) for each in bad):
        raise NotFinite("what the model painted holds values that are not finite (NaN or infinite)")
