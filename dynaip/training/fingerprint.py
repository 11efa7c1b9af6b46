"""Whether the pairs of a resumed run are those that it was begun with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaip import atomic
from dynaip.contracts.data import PairSource
from dynaip.errors import BadSample, InputError, MismatchError
from dynaip.runs import Run

PROBES = 16
"""Pairs that are read where a source cannot tell cheaply what it holds."""
LISTED = 3
"""Changed pairs that a message names."""

Fingerprint = Mapping[str, Mapping[str, str]]
"""Name of a pair -> part -> digest, in the order of the pairs."""


def fingerprint(source: PairSource) -> Fingerprint:
    """What the source says of its pairs, or digests of a few of them."""
    own = source.fingerprint()
    if own is not None:
        return own
    size = len(source)
    chosen = sorted({number * size // PROBES for number in range(PROBES)})
    return {f"pair {index} of {size}": _digests(source, index) for index in chosen if index < size}


def _digests(source: PairSource, index: int) -> dict[str, str]:
    try:
        pair = source[index]
    except (BadSample, InputError):
        return {"state": "cannot be used"}
    parts = {"prompt": pair.prompt.encode(), "subject": pair.subject.encode()}
    parts |= {"reference": b"".join(each.image.tobytes() for each in pair.references), "target": pair.target.tobytes()}
    return {name: hashlib.sha256(data).hexdigest()[:12] for name, data in parts.items()}


def changes(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say in words what is different; None if nothing is."""
    said = [f"there were {len(before)} and are now {len(now)}"] if len(before) != len(now) else []
    if list(before) != list(now) and before.keys() == now.keys():
        said.append("their order is another one")
    other = {
        name: [part for part in {**parts, **now[name]} if parts.get(part) != now[name].get(part)]
        for name, parts in before.items()
        if name in now and dict(parts) != dict(now[name])
    }
    gone = [f"{name} is gone" for name in before if name not in now]
    said += [f"{name}: another {' and '.join(parts)}" for name, parts in other.items()] + gone
    more = len(said) - LISTED
    return "; ".join(said[:LISTED]) + (f"; and {more} more" if more > 0 else "") if said else None


def check_pairs(run: Run, now: Fingerprint, *, allowed: bool) -> str | None:
    """Compare pairs with those that the run was trained on so far; give what changed, if that is ``allowed``.

    Raises ``MismatchError`` that says what changed.
    """
    before = _read(run.pairs)
    changed = changes(before, now) if before is not None else None
    if changed and not allowed:
        raise MismatchError(
            f"{run.path}: the pairs are not those that the run was begun with ({changed}): put them back, train into "
            "another folder, or add --allow-changed-data"
        )
    return changed


def write_pairs(run: Run, now: Fingerprint) -> None:
    """Write down what the run is trained on."""
    atomic.write_text(run.pairs, json.dumps(now, indent=0) + "\n")


def _read(file: Path) -> Fingerprint | None:
    """What was written down; None for runs without it."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
