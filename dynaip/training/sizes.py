"""The size of the targets: the backbone's own unless the config names one, and one that the backbone can paint."""

from __future__ import annotations

from dataclasses import replace

from dynaip.config import ComponentSpec, ExperimentConfig, SourceConfig
from dynaip.errors import InputError
from dynaip.sizes import check_size


def settled(config: ExperimentConfig) -> ComponentSpec:
    """Give the config's source with a size of its targets; nothing is loaded for it.

    Raises ``InputError`` for a size that the backbone cannot paint, or if neither says one.
    """
    source, backbone = config.source, config.backbone.config
    if not isinstance(source.config, SourceConfig):
        return source
    if source.config.target_size() is None:
        own: tuple[int, int] | None = getattr(backbone, "native_size", lambda: None)()
        if own is None:
            raise InputError(
                f"source: {config.backbone.name} does not say its size: give source.height and source.width"
            )
        source = replace(source, config=source.config.sized(*own))
    assert isinstance(source.config, SourceConfig)
    sizes = source.config.target_sizes()
    for each in sizes:
        check_size(backbone, each, "source.height x source.width" if len(sizes) == 1 else "source.buckets")
    return source
