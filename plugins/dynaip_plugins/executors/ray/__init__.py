"""Jobs as tasks of a Ray cluster, or of this machine."""

from dynaip.registry import Component

COMPONENT = Component(
    "executor",
    "ray",
    "dynaip_plugins.executors.ray.model:RayExecutor",
    "dynaip_plugins.executors.ray.config:RayConfig",
    "tasks of a Ray cluster, or of this machine",
    extra="ray",
)
