"""Options of a folder of pairs."""

from __future__ import annotations

from pathlib import Path

from dynaip_plugins.shared.targets import TargetsConfig


class FolderPairsConfig(TargetsConfig):
    """Where the pairs lie, and the size of the targets."""

    folder: Path
    """Folder with metadata.jsonl: one line a pair with reference, target, prompt and (optional) subject."""
