"""Fusion strategy `token_concat`."""

from dynaip.registry import Component

COMPONENT = Component(
    "fusion",
    "token_concat",
    "dynaip_plugins.fusion.token_concat.model:TokenConcatFusion",
    "dynaip_plugins.fusion.config:FusionConfig",
    "levels side by side along tokens",
)
