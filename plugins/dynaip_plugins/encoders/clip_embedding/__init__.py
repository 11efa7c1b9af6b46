"""CLIP's projected image embedding, as the XLabs adapters read it."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "clip_embedding",
    "dynaip_plugins.encoders.clip_embedding.model:ClipEmbeddingEncoder",
    "dynaip_plugins.encoders.clip_embedding.config:ClipEmbeddingConfig",
    "CLIP's projected image embedding (XLabs)",
)
