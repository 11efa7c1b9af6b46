"""Where models lie: a folder, a bundle that a plugin brings, or a hub id."""

from __future__ import annotations

import re
from pathlib import Path

from dynaip.config import ComponentSpec
from dynaip.errors import InputError
from dynaip.paths import at_home, missing
from dynaip.registry import registry
from dynaip.suggest import did_you_mean

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(name: str | Path, part: str) -> Path | str:
    """Find a model by name: an existing folder, ``part`` of a bundle such as ``microworld``, or else a hub id (a string).

    ``microworld/dino`` is another part of a bundle. Raises ``InputError`` for anything else, naming the bundles there are.
    """
    folder = at_home(name)
    if folder.is_dir():
        return folder
    bundles = [entry.component.name for entry in registry().components("bundle")]
    bundle, _, own = str(name).partition("/")
    if bundle in bundles:
        return bundle_folder(bundle, own or part)
    if _HUB_ID.fullmatch(str(name)):
        return str(name)
    known = ", ".join(bundles) or "none"
    hint = did_you_mean(str(name), bundles) or missing(name)
    raise InputError(f"{name}: no such folder, no bundle ({known}) and no hub id.{hint}")


def is_here(name: str) -> bool:
    """Whether a name is a folder or a bundle, so that nothing needs to be fetched."""
    bundles = [entry.component.name for entry in registry().components("bundle")]
    return at_home(name).is_dir() or name.partition("/")[0] in bundles


def bundle_folder(name: str, part: str) -> Path:
    """Give the folder of a bundle's part; ``InputError`` if the bundle does not have it."""
    try:
        return registry().build(ComponentSpec.parse("bundle", name)).folder(part)
    except KeyError as error:
        raise InputError(f"the bundle {name} has no {part}") from error


def local_folder(name: str | Path, part: str, *, revision: str | None = None) -> Path:
    """Like ``resolve``, but fetches a hub id (or finds it in the hub's cache) and gives its folder."""
    found = resolve(name, part)
    if isinstance(found, Path):
        return found
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(found, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise InputError(
            f"{found}: not a folder here, and the hub does not give it ({type(error).__name__}).{missing(name)}"
        ) from error
