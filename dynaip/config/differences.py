"""What changed between two configs, given as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast


def differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Give dotted paths in order, with both values; of another component its name alone, for its options are others too."""
    if isinstance(before, dict) and isinstance(now, dict):
        one, other = cast("dict[str, Any]", before), cast("dict[str, Any]", now)
        keys = {"use"} if one.get("use") != other.get("use") else {*one, *other}
        for key in sorted(keys):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path, before, now
