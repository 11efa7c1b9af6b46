"""Jobs as processes of this machine."""

from dynaip.registry import Component

COMPONENT = Component(
    "executor",
    "local",
    "dynaip_plugins.executors.local.model:LocalExecutor",
    "dynaip_plugins.executors.local.config:LocalConfig",
    "processes on this machine, some at a time",
)
