"""A folder of one's own pairs."""

from dynaip.registry import Component

COMPONENT = Component(
    "source",
    "pairs",
    "dynaip_plugins.sources.pairs.model:FolderPairs",
    "dynaip_plugins.sources.pairs.config:FolderPairsConfig",
    "a folder of images with metadata.jsonl (imagefolder convention)",
)
