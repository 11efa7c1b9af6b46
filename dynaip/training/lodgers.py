"""Frozen models that only encode leave the accelerator while nothing is left to encode."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from dynaip.adapter.model import DynaIP

Made = TypeVar("Made")


class Lodgers:
    """Models that may leave ``device`` for the host's memory and come back."""

    def __init__(self, models: Sequence[nn.Module], device: torch.device) -> None:
        self.models, self.device, self.away = list(models), device, False

    @classmethod
    def of(cls, pipe: Any, dyna: DynaIP, device: torch.device) -> Lodgers:
        """Autoencoder, text encoders and visual encoder; quantised or mapped ones stay where their library put them."""
        parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
        found = [part for name, part in parts.items() if name != "transformer"] + [dyna.encoder]
        return cls([part for part in found if not _bound(part)] if device.type != "cpu" else [], device)

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(weight.nbytes for model in self.models for weight in model.parameters())

    def leave(self) -> None:
        """Send them to the host's memory."""
        self._send(torch.device("cpu"))
        self.away = True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def back(self) -> Generator[None]:
        """Have them on the device while the context is open."""
        if not self.away:
            yield
            return
        self._send(self.device)
        self.away = False
        try:
            yield
        finally:
            self.leave()

    def around(self, encode: Callable[..., Made]) -> Callable[..., Made]:
        """The same function, with the models back while it runs."""

        def run(*given: Any, **named: Any) -> Made:
            with self.back():
                return encode(*given, **named)

        return run

    def _send(self, device: torch.device) -> None:
        for model in self.models:
            model.to(device)


def _bound(part: nn.Module) -> bool:
    return getattr(part, "hf_quantizer", None) is not None or getattr(part, "hf_device_map", None) is not None
