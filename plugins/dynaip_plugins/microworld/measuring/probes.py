"""Linear probes: what each layer of a vision tower holds of identities that no training saw.

A probe reads one attribute from the mean of the patches that a subject covers, by ridge regression onto its values. Its
selectivity is its accuracy on held-out identities above that of the same probe trained on shuffled answers, which is what a
probe makes of anything (after Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks").
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, CLIPModel, Dinov2Model

from ..models.pixels import signed
from ..world.render import owners, paint
from ..world.scenes import Split
from ..world.table import COLUMNS, Table, draw_table
from ..world.vocabulary import ATTRIBUTES, IDENTITY

PROBE_SEED, TRAIN, TEST, CHUNK = 5005, 4096, 1536, 256
RIDGE = 1e-2
PROBED = (*IDENTITY, "category", "background")


@torch.no_grad()
def layers_of(tower: CLIPModel | Dinov2Model, table: Table) -> Tensor:
    """Mean over the patches that the subject covers, after every layer, normalised. [layers+1,N,d]."""
    vision = tower.vision_model if isinstance(tower, CLIPModel) else tower
    parts: list[Tensor] = []
    for start in range(0, len(table), CHUNK):
        some = table[start : start + CHUNK]
        states = vision(pixel_values=signed(paint(some)), output_hidden_states=True).hidden_states
        grid = round((states[0].shape[1] - 1) ** 0.5)
        weight = (owners(some, grid) == 0).float()
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
        pooled = torch.einsum("lntd,nt->lnd", torch.stack(states)[:, :, 1:].float(), weight)
        parts.append(F.layer_norm(pooled, pooled.shape[-1:]))
    return torch.cat(parts, 1)


def accuracy(train: Tensor, right: Tensor, test: Tensor, wanted: Tensor, values: int) -> float:
    """Share of held-out rows that a ridge regression onto one-hot answers reads right. Features [n,d], answers [n]."""
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    x, y = (F.pad((part - mean) / deviation, (0, 1), value=1.0).double() for part in (train, test))
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], device=x.device, dtype=x.dtype)
    weights = torch.linalg.solve(gram, x.T @ F.one_hot(right, values).to(x.dtype))
    return ((y @ weights).argmax(1) == wanted).double().mean().item()


def probe(folder: Path, device: str = "cpu", scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Selectivity by layer (0 is before the first) and attribute, of the tower in a folder."""
    tower = AutoModel.from_pretrained(folder).float().eval()
    torch.nn.Module.to(tower, device=torch.device(device))
    counts: dict[Split, int] = {"train": TRAIN, "test": TEST}
    tables = {
        split: draw_table(PROBE_SEED + k, max(32, round(count * scale)), split, {1: 1.0}).to(device)
        for k, (split, count) in enumerate(counts.items())
    }
    seen = {split: layers_of(tower, table) for split, table in tables.items()}
    order = torch.randperm(len(tables["train"]), generator=torch.Generator().manual_seed(PROBE_SEED)).to(device)
    found: dict[str, dict[str, float]] = {}
    for layer in range(len(seen["train"])):
        row: dict[str, float] = {}
        for name in PROBED:
            right, wanted = (tables[split].values[:, 0, COLUMNS[name]] for split in ("train", "test"))
            given = (seen["test"][layer], wanted, len(ATTRIBUTES[name]))
            own, control = (accuracy(seen["train"][layer], answers, *given) for answers in (right, right[order]))
            row[name] = round(own - control, 4)
        found[f"layer {layer}"] = row
    return found
