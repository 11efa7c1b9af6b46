"""Options of the SLURM executor."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from dynaip.config import ComponentConfig


class SlurmConfig(ComponentConfig):
    """What is asked of the scheduler; the run folder has to lie where all machines see it."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    jobs: PositiveInt = 256
    """Jobs that run at a time."""
    minutes: PositiveInt = 24 * 60
    """Time limit of a job that names none itself; what is not done by then saves, is requeued and goes on."""
    cpus: PositiveInt = 4
    """CPUs of a job."""
    memory: str | None = None
    """Memory of a job, e.g. ``64G``."""
    notice: PositiveInt = 90
    """Seconds before the time limit at which a job is asked to save."""
    setup: list[str] = Field(default_factory=list[str])
    """Shell lines before the job, e.g. ``module load cuda``."""
    options: dict[str, str | int] = Field(default_factory=dict[str, str | int])
    """Further options of ``sbatch`` by their long names."""
    cancel: bool = False
    """Whether jobs end when the ablation is asked to stop; else they go on, and ``--resume`` finds them."""
    look: PositiveFloat = 10.0
    """Seconds between two questions to ``squeue``."""
    grace: PositiveFloat = 30.0
    """Seconds after which a job that the queue no longer knows, and that left no note, counts as lost."""
