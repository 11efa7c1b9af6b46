"""Somebody else's adapters, read and written. Importing this needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ForeignAdapter:
    """Somebody else's adapter in our terms."""

    encoder: Mapping[str, Any]
    """``{use: name, **options}``, as a config has it; so are ``fusion`` and ``decoupling``."""
    fusion: Mapping[str, Any]
    decoupling: Mapping[str, Any]
    adapter: Mapping[str, Any]
    """Section ``adapter`` of a config."""
    weights: Mapping[str, Tensor]
    """Tensors named as in ``adapter.safetensors``."""
    shape: Mapping[str, int]
    """What the file tells of its base: ``width``, ``double_blocks``, or ``blocks`` of both kinds together."""
    untouched: tuple[str, ...] = ()
    """Ends of names that the file lacks and that keep what they begin with."""


class AdapterFormat(ABC):
    """Somebody else's file format of adapters. Built as ``Format(config)``."""

    backbone: str
    """The backbone that the format's adapters are made for."""
    base: str
    """Hub id of the model that its public weights are made for."""
    transformer: Mapping[str, Any]
    """Config of that model's transformer, for when the model is not at hand."""

    @abstractmethod
    def read(self, tensors: Mapping[str, Tensor]) -> ForeignAdapter:
        """Turn a file's tensors (nested names joined by dots) into an adapter; ``InputError`` if they are of something else."""

    @abstractmethod
    def write(self, adapter: Any, transformer: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the tensors of a ``DynaIP`` for a base with this transformer config.

        Raises ``InputError`` that names every property which the format cannot hold exactly.
        """
