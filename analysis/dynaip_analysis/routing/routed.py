"""Router weights of references as their prompts get them: levels, and experts within a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaip.contracts import Case, FusedReference
from dynaip.errors import InputError
from dynaip_analysis.bench.workbench import Workbench
from dynaip_analysis.recording.recorder import record

Floats = NDArray[np.float64]
BATCH = 32


@dataclass(frozen=True)
class Routed:
    """What the fusion chose for B references."""

    weights: Floats
    """B x N x L (per token) or B x L (per image)."""
    experts: Floats | None
    """Gates within each level, B x N x L x E; None with one expert a level."""


def routed(bench: Workbench, cases: Sequence[Case]) -> Routed | None:
    """Weights of the first reference of every case; None if the fusion has no router.

    A router that reads the prompt gets it as in a generation: from the first step of one. Raises ``InputError`` for such a
    router where a case has no prompt.
    """
    first = [replace(case, references=case.references[:1]) for case in cases]
    reads_prompt = getattr(bench.dyna.fusion, "uses_condition", False)
    if reads_prompt and not all(case.prompt for case in first):
        raise InputError("this adapter's router reads the prompt: say with --prompt what is to be generated")
    if reads_prompt:
        # Nothing of it is to be left out: weights are small beside what generating them takes.
        with record(bench.dyna, attention=False, routing=True, budget="32GB") as recording:
            bench.generate(first, options={"num_inference_steps": 1})
        found = recording.routing
    else:
        images = [case.references[0].image for case in first]
        with torch.no_grad():
            starts = range(0, len(images), BATCH)
            found = [bench.dyna.fuse(bench.dyna.features(images[start : start + BATCH])) for start in starts]
    weights, experts = _stacked(found, "weights"), _stacked(found, "expert_weights")
    return None if weights is None else Routed(weights, experts)


def under_prompts(bench: Workbench, cases: Sequence[Case], prompts: Sequence[str]) -> Floats:
    """Weights of the same references under every prompt, P x B x N x L."""
    found = [routed(bench, [replace(case, prompt=prompt) for case in cases]) for prompt in prompts]
    return np.stack([each.weights for each in found if each is not None])


def _stacked(found: Sequence[FusedReference], name: str) -> Floats | None:
    parts: list[Tensor | None] = [getattr(each, name) for each in found]
    known = [part.cpu().double().numpy() for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None
