"""Options of the Ray executor."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from dynaip.config import ComponentConfig


class RayConfig(ComponentConfig):
    """Which cluster, and what a job takes of it; the run folder has to lie where all of its machines see it."""

    address: str = "local"
    """``local`` starts Ray on this machine and ends it; ``auto`` finds the cluster that runs here, or name its address."""
    jobs: PositiveInt | None = None
    """Jobs that are handed over at a time; None: all, and Ray lets them wait for room."""
    cpus: PositiveFloat = 1
    """CPUs that a job takes."""
    machine_cpus: PositiveInt | None = None
    """With ``local``: CPUs that Ray may give out; None: all."""
    machine_gpus: NonNegativeInt | None = None
    """With ``local``: GPUs that Ray may give out; None: all that this process sees."""
    start_seconds: PositiveFloat = 300
    """With ``local``: how long Ray may take to start; it gives up by itself after 30 seconds and is started again until then."""
