"""Which packages an extra of a distribution wants, and which of them are missing."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.markers import Marker


@cache
def missing_packages(distribution: str, extra: str) -> list[str]:
    """List packages that ``distribution[extra]`` wants and that are not installed, by reading metadata only."""
    from packaging.requirements import Requirement

    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    wanted = [each for each in map(Requirement, lines) if _belongs(each.marker, extra)]
    return [each.name for each in wanted if not _installed(each.name)]


def _belongs(marker: Marker | None, extra: str) -> bool:
    return bool(marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
