"""The oracle: a small network that reads every attribute of a subject from pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dynaip.atomic import write_json, write_tensors

from ..world.render import SIZE
from ..world.scenes import Box
from ..world.vocabulary import ATTRIBUTES, COUNTS

QUESTIONS: dict[str, tuple[str, ...]] = {**ATTRIBUTES, "count": COUNTS}
"""What the oracle answers, with the words of each answer."""


def masks(regions: Sequence[Box] | Tensor, size: int = SIZE) -> Tensor:
    """Boxes (left, top, right, bottom) in [0, 1], or such numbers [B,4] -> masks, where the numbers lie. [B,1,128,128]."""
    boxes = torch.as_tensor(regions, dtype=torch.float32).view(-1, 4, 1)
    centres = (torch.arange(size, device=boxes.device) + 0.5) / size
    left, top, right, bottom = boxes.unbind(1)
    columns, rows = (centres > left) & (centres < right), (centres > top) & (centres < bottom)
    return (rows[:, :, None] & columns[:, None, :]).float()[:, None]


def _stage(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class Oracle(nn.Module):
    """Convolutions over pixels and region mask, then one linear head per question."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        a, b, c, d = self.widths
        self.body = nn.Sequential(
            _stage(4, a, 2),
            _stage(a, a, 1),
            _stage(a, b, 2),
            _stage(b, b, 1),
            _stage(b, c, 2),
            _stage(c, c, 1),
            _stage(c, d, 2),
            _stage(d, d, 1),
        )
        self.read_out = nn.Sequential(nn.Conv2d(d, 24, 1), nn.Flatten(), nn.Linear(24 * 64, 192), nn.ReLU(inplace=True))
        self.heads = nn.ModuleDict({name: nn.Linear(192 + d, len(values)) for name, values in QUESTIONS.items()})

    def forward(self, images: Tensor, regions: Tensor) -> dict[str, Tensor]:
        """Logits per question. images [B,3,128,128] in [0, 1], regions [B,1,128,128]."""
        features = self.body(torch.cat([images * 2 - 1, regions], dim=1))
        summary = torch.cat([self.read_out(features), features.amax(dim=(2, 3))], dim=1)
        return {name: head(summary) for name, head in self.heads.items()}

    @torch.no_grad()
    def probabilities(self, images: Tensor, regions: Sequence[Box] | Tensor, chunk: int = 256) -> dict[str, Tensor]:
        """Probability of every answer to every question about the subjects in `regions`. Each [B,answers]."""
        inside = masks(regions).to(images.device)
        parts = [self(i.float(), m) for i, m in zip(images.split(chunk), inside.split(chunk), strict=True)]
        return {name: torch.cat([part[name] for part in parts]).softmax(-1) for name in QUESTIONS}

    def read(self, images: Tensor, regions: Sequence[Box] | Tensor) -> dict[str, Tensor]:
        """Index of the likeliest answer to every question; see `world.labels` for the meaning. Each [B]."""
        return {name: values.argmax(-1) for name, values in self.probabilities(images, regions).items()}

    def save_pretrained(self, folder: Path | str) -> None:
        """Write `config.json` and half-precision `oracle.safetensors`."""
        folder = Path(folder)
        state = {k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        write_tensors(folder / "oracle.safetensors", state)
        write_json(folder / "config.json", {"widths": list(self.widths), "questions": QUESTIONS}, indent=1)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Oracle:
        """Load an oracle for reading, in float32."""
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text())
        oracle = cls(config["widths"])
        state = load_file(folder / "oracle.safetensors")
        oracle.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return oracle.eval()
