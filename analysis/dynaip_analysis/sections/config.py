"""Options of the report sections."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from dynaip.config import ComponentConfig


class SectionConfig(ComponentConfig):
    """What every section has."""

    order: int = Field(50, ge=0, le=100)
    """Where the section stands among the others."""
    run: str | None = None
    """RUN to look into; None takes the shipped adapter beside the arms, and the reference arm if there is none."""
    suite: str = "single"
    """Suite of the benchmark that the cases come from."""
    seed: NonNegativeInt = 0


class AttentionConfig(SectionConfig):
    """Options of the section on attention."""

    order: int = Field(10, ge=0, le=100)
    cases: PositiveInt = 2
    """Cases that are drawn."""
    masked: PositiveInt = 16
    """Cases that attention is compared with the subject's mask in, where the benchmark knows it."""
    budget: str = "512MB"
    """Bytes that recorded maps may take."""


class RoutingConfig(SectionConfig):
    """Options of the section on routing."""

    order: int = Field(20, ge=0, le=100)
    cases: PositiveInt = 64
    """References that the averages are over."""
    shown: PositiveInt = 3
    """References whose maps are drawn."""
    prompts: PositiveInt = 8
    """References and prompts that are crossed where the router reads the prompt."""


class GranularityConfig(SectionConfig):
    """Options of the section on granularity."""

    order: int = Field(30, ge=0, le=100)
    cases: PositiveInt = 16
    """Cases behind the measured means."""
    shown: PositiveInt = 3
    """Cases that are drawn."""
    gammas: list[PositiveFloat] = Field(default_factory=lambda: [4.0])
    """Coefficients that each level is weighed with, beside each level alone."""
    curve: list[PositiveFloat] = Field(default_factory=lambda: [0.0625, 0.25, 4.0, 16.0])
    """Coefficients of the curves that `dynaip analyze` draws."""
    probed: PositiveInt = 480
    """Pictures that `dynaip analyze` probes every layer of the encoder with, at most; of `--labelled` whole identities."""


class DecouplingConfig(SectionConfig):
    """Options of the section on decoupling."""

    order: int = Field(40, ge=0, le=100)
    cases: PositiveInt = 24
    """Cases behind the measured means."""
    shown: PositiveInt = 5
    """Cases that are drawn."""
    probed: PositiveInt = 320
    """Cases whose injected terms `dynaip analyze` probes."""
    probe_steps: PositiveInt = 4
    """Denoising steps of the generations that are probed."""
    checkpoints: PositiveInt = 6
    """Checkpoints of the run that are looked at over training, first and last among them."""
    training_cases: PositiveInt = 16
    """Cases behind the scores at each checkpoint."""


class InterventionsConfig(SectionConfig):
    """Options of the section on interventions."""

    order: int = Field(45, ge=0, le=100)
    in_report: bool = False
    """Whether an ablation's report has it: a sweep generates every case a few dozen times."""
    cases: PositiveInt = 8
    """Cases behind the measured means."""
    kind: Literal["drop", "scale", "swap"] = "drop"
    """What is done to the reference term; a swap takes the reference of the next case."""
    factor: float = Field(0.5, ge=0)
    """What `scale` multiplies the term with."""
    windows: PositiveInt = 3
    """Parts that the denoising steps are split into."""
    branches: list[Literal["image", "text"]] = Field(default_factory=list)
    """Branches that are changed; empty for all that are open."""
    decoupling: str | dict[str, Any] | None = None
    """Policy at inference, by its name or with options; None for the adapter's own."""


class JudgesConfig(SectionConfig):
    """Options of the section on judges."""

    order: int = Field(5, ge=0, le=100)
    cases: PositiveInt = 96
    """Cases that `dynaip analyze` generates and lets every metric of the run judge."""
