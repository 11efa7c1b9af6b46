"""Tables of any layout."""

from dynaip.registry import Component

COMPONENT = Component(
    "source",
    "table",
    "dynaip_plugins.sources.table.model:TablePairs",
    "dynaip_plugins.sources.table.config:TableConfig",
    "a table (parquet, csv, json, jsonl; files or a set of the hub) whose columns are mapped by name",
)
