"""CP, PF and leak, read from pixels by microworld's oracle (definitions ours; CP and PF as terms are DreamBench++'s).

- CP: share of identity attributes that the generated subject has: over all of them, and by band: `cp_fine` (colours, texture),
  `cp_middle` (emblem), `cp_coarse` (variant of the category's form).
- PF: share of prompted attributes (category, background, place, size) that are shown; for several subjects also the count.
- leak: share of unprompted context attributes (posture, perspective, illumination) that equal the reference's, above
  chance: (agreement - 1/k) / (1 - 1/k) for an attribute of k values. 0 is chance, 1 is a copy, below 0 is avoidance.

Every value is a mean over the case's subjects; each subject is read inside its own region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from dynaip.contracts import Case, Metric
from dynaip.errors import InputError
from dynaip.models import local_folder
from dynaip_plugins.microworld.models.oracle import Oracle
from dynaip_plugins.microworld.models.pixels import of_pictures
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES, BANDS, IDENTITY, PROMPTED, UNPROMPTED

from .config import OracleConfig


class OracleMetric(Metric):
    """Scores cases of the microworld benchmark."""

    columns = (
        *("cp", "pf", "leak"),
        *(f"cp_{band}" for band in BANDS),
        *(f"cp_{name}" for name in IDENTITY),
        *(f"pf_{name}" for name in (*PROMPTED, "count")),
        *(f"leak_{name}" for name in UNPROMPTED),
    )

    def __init__(self, config: OracleConfig) -> None:
        self.oracle = Oracle.from_pretrained(local_folder(config.model, "oracle"))

    def to(self, device: Any) -> OracleMetric:
        """Move the oracle."""
        self.oracle.to(device)
        return self

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Score images of cases whose ``truth`` the microworld benchmark made."""
        if not cases:
            return []
        if any("subjects" not in case.truth for case in cases):
            raise InputError("the oracle metric scores cases of the microworld benchmark; use clip for others")
        subjects = [(row, subject) for row, case in enumerate(cases) for subject in case.truth["subjects"]]
        device = next(self.oracle.parameters()).device
        pixels = of_pictures(images)[torch.tensor([row for row, _ in subjects])].to(device)
        answers = self.oracle.read(pixels, [subject["region"] for _, subject in subjects])
        shown = {name: values.tolist() for name, values in answers.items()}
        scored: list[list[dict[str, float]]] = [[] for _ in cases]
        for place, (row, subject) in enumerate(subjects):
            several = len(cases[row].truth["subjects"]) > 1
            scored[row].append(_score({name: values[place] for name, values in shown.items()}, subject, several))
        return [
            {name: float(np.mean([part.get(name, np.nan) for part in parts])) for name in self.columns}
            for parts in scored
        ]


def _score(shown: Mapping[str, int], subject: Mapping[str, Any], several: bool) -> dict[str, float]:
    wanted, reference = subject["labels"], subject["reference"]
    prompted = [*PROMPTED, *(["count"] if several else [])]
    values = {f"cp_{name}": float(shown[name] == wanted[name]) for name in IDENTITY}
    values |= {f"pf_{name}": float(shown[name] == wanted[name]) for name in prompted}
    for name in UNPROMPTED:
        chance = 1 / len(ATTRIBUTES[name])
        values[f"leak_{name}"] = (float(shown[name] == reference[name]) - chance) / (1 - chance)
    means = {"cp": ("cp", IDENTITY), "pf": ("pf", prompted), "leak": ("leak", UNPROMPTED)}
    means |= {f"cp_{band}": ("cp", names) for band, names in BANDS.items()}
    for score, (kind, names) in means.items():
        values[score] = float(np.mean([values[f"{kind}_{name}"] for name in names]))
    return values
