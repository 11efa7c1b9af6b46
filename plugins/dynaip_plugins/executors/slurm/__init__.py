"""Jobs as arrays of a SLURM cluster."""

from dynaip.registry import Component

COMPONENT = Component(
    "executor",
    "slurm",
    "dynaip_plugins.executors.slurm.model:SlurmExecutor",
    "dynaip_plugins.executors.slurm.config:SlurmConfig",
    "array jobs of a SLURM cluster, through submitit",
    extra="slurm",
)
