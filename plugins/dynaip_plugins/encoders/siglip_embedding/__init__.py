"""SigLIP's pooled image embedding, as the InstantX adapter for FLUX reads it."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "siglip_embedding",
    "dynaip_plugins.encoders.siglip_embedding.model:SiglipEmbeddingEncoder",
    "dynaip_plugins.encoders.siglip_embedding.config:SiglipEmbeddingConfig",
    "SigLIP's pooled image embedding (InstantX)",
)
