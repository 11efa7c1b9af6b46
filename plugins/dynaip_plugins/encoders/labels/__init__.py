"""What microworld's oracle reads of a reference, as levels: a positive control."""

from dynaip.registry import Component

COMPONENT = Component(
    "encoder",
    "labels",
    "dynaip_plugins.encoders.labels.model:LabelEncoder",
    "dynaip_plugins.encoders.labels.config:LabelConfig",
    "Attributes as microworld's oracle reads them, by band: a positive control",
)
