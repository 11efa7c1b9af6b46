"""How crisp subjects are painted, asked of the renderer instead of a network (definitions ours).

- outline: overlap (IoU) of the painted silhouette with the nearest one that the renderer can draw.
- outline_own: share of subjects whose nearest outline is one of the category asked for.
- outline_variant: share of subjects whose nearest outline within that category is the form that the identity has.
- outline_psnr: agreement in dB, inside the outline, with the renderer's picture of what the oracle read there.
- outline_differs: share of subjects in which oracle and outline name different categories.

What is painted is what differs from the ground that the prompt names: on another ground than that, outlines mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynaip.contracts import Case, Metric
from dynaip.errors import InputError
from dynaip.models import local_folder
from dynaip_plugins.microworld.measuring.outline import Outlines, agreement, outlines
from dynaip_plugins.microworld.models.oracle import Oracle
from dynaip_plugins.microworld.models.pixels import of_pictures
from dynaip_plugins.microworld.world.table import COLUMNS, Table, boxes_of, table_of_labels
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES

from .config import OutlineConfig

SEARCHED = ("outline", "outline_own", "outline_variant")
READ = ("outline_psnr", "outline_differs")


class OutlineMetric(Metric):
    """Scores cases of the microworld benchmark; every value is a mean over the case's subjects."""

    def __init__(self, config: OutlineConfig) -> None:
        self.oracle = Oracle.from_pretrained(local_folder(config.model, "oracle")) if config.model else None
        self.columns = (*SEARCHED, *(READ if self.oracle else ()))
        self.device = torch.device("cpu")

    def to(self, device: Any) -> OutlineMetric:
        """Move the oracle, and search there."""
        self.device = torch.device(device)
        if self.oracle:
            self.oracle.to(self.device)
        return self

    @torch.no_grad()
    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Score images of cases whose ``truth`` the microworld benchmark made."""
        if not cases:
            return []
        if any("subjects" not in case.truth for case in cases):
            raise InputError("the outline metric scores cases of the microworld benchmark; use clip for others")
        table = table_of_labels([[s["labels"] for s in case.truth["subjects"]] for case in cases]).to(self.device)
        shown = of_pictures(images).to(self.device)
        found = outlines(shown, table)
        values = searched(found, table)
        if self.oracle:
            values |= read(self.oracle, shown, table, found)
        rows = found.rows.cpu().numpy()
        of = {name: each.float().cpu().numpy() for name, each in values.items()}
        return [{name: float(np.mean(of[name][rows == row])) for name in self.columns} for row in range(len(cases))]


def searched(found: Outlines, table: Table) -> dict[str, Tensor]:
    """What the search alone tells, by subject. Each [n]."""
    number = torch.arange(len(found.rows), device=found.rows.device)
    form = found.values[number, found.asked, COLUMNS["variant"]]
    wanted = table.column("variant")[found.rows, found.slots]
    return dict(zip(SEARCHED, (found.best, found.right, form == wanted), strict=True))


def read(oracle: Oracle, images: Tensor, table: Table, found: Outlines) -> dict[str, Tensor]:
    """What the oracle's reading adds, by subject. Each [n]."""
    answers = oracle.read(images[found.rows], boxes_of(table, found.rows, found.slots))
    seen = torch.stack([answers[name] for name in ATTRIBUTES], 1)
    return dict(zip(READ, (agreement(images, found, seen), answers["category"] != found.category), strict=True))
