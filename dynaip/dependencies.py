"""Which packages an extra of a distribution wants, and which of them are missing."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version


@cache
def missing_packages(distribution: str, extra: str) -> list[str]:
    """List packages that ``distribution[extra]`` wants and that are not installed, by reading metadata only."""
    from packaging.requirements import Requirement

    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    wanted = [each for each in map(Requirement, lines) if each.marker and _belongs(each, extra)]
    return [each.name for each in wanted if not _installed(each.name)]


def _belongs(requirement: object, extra: str) -> bool:
    marker = getattr(requirement, "marker")
    return bool(marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}))


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
