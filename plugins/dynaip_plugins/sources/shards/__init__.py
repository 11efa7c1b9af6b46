"""Tar shards, read where they lie."""

from dynaip.registry import Component

COMPONENT = Component(
    "source",
    "shards",
    "dynaip_plugins.sources.shards.model:ShardPairs",
    "dynaip_plugins.sources.shards.config:ShardsConfig",
    "tar shards in the webdataset layout, local or by address, read in place",
)
