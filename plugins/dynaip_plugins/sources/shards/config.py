"""Options of tar shards: where they are, and which member is what."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveFloat, field_validator

from dynaip.registry.options import Located
from dynaip_plugins.shared.filters import Filter
from dynaip_plugins.shared.targets import TargetsConfig


class ShardsConfig(TargetsConfig):
    """Where the shards are, and which member is what.

    Members whose names are the same up to the first dot of the file's name are one sample: ``007.target.jpg``,
    ``007.reference.jpg`` and ``007.json`` are sample 007, with the parts ``target``, ``reference`` and ``json``. The ending of
    a picture is no part of its part's name, unless it is all of it (``007.jpg`` is the part ``jpg``).
    """

    shards: list[str] = Field(min_length=1)
    """Tar files by path, pattern (``data/*.tar``), range (``data/{000..101}.tar``), or address (https, hf)."""
    target: str = "target"
    """Part with the target."""
    references: list[str] = Field(default=["reference*"], min_length=1)
    """Parts with the references, also as patterns; in this order, those of one pattern by name."""
    prompt: str = "txt"
    """Part with the prompt; or a value of a JSON part, such as ``json.caption``."""
    subject: str | None = None
    """Part or value with the subject's name."""
    where: str | None = None
    """Which samples, by values of their JSON part without its name, e.g. ``score >= 3.5``."""
    cache_gb: PositiveFloat = 100.0
    """What copies of shards that are read by address may take on the disk."""

    @field_validator("shards", mode="before")
    @classmethod
    def _shards(cls, given: Any) -> Any:
        """Relative paths are relative to the config file."""
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list):
            return listed
        return [str(each.folder / each) if isinstance(each, Located) and "://" not in each else each for each in listed]

    @field_validator("references", mode="before")
    @classmethod
    def _references(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("where")
    @classmethod
    def _where(cls, where: str | None) -> str | None:
        if where is not None:
            Filter(where)
        return where
