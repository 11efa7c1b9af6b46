"""Exact scores on microworld."""

from dynaip.registry import Component

COMPONENT = Component(
    "metric",
    "oracle",
    "dynaip_plugins.metrics.oracle.model:OracleMetric",
    "dynaip_plugins.metrics.oracle.config:OracleConfig",
    "CP, PF and leak on microworld, attribute by attribute",
)
