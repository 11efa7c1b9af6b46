"""``dynaip check``: is a config right, and what does it mean?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynaip.cli.options import ConfigName, Overrides
from dynaip.cli.output import echo

if TYPE_CHECKING:
    from dynaip.config import ComponentSpec


def check(file: ConfigName, set_: Overrides = None) -> None:
    """Validate a config and print it resolved, without loading a model."""
    from dynaip.ablation.plan import make_plan
    from dynaip.config import ExperimentConfig, load_any
    from dynaip.config.yaml_text import one_liner
    from dynaip.training.sizes import settled

    config = load_any(file, set_ or ())
    if isinstance(config, ExperimentConfig):
        settled(config)
        echo(f"# experiment {config.name} ({config.hash()}): valid")
        echo(config.to_yaml(), nl=False)
        for line in _buckets(settled(config)):
            echo(f"# {line}")
        return
    settings = {arm.name: arm.settings for arm in config.expand()}
    for each in settings.values():
        settled(config.experiment(each))
    echo(f"# ablation {config.name} ({config.hash()}): valid")
    echo(config.to_yaml(), nl=False)
    # Matching builds the fusions, with torch; it changes their width and nothing that is shown here.
    plan = make_plan(config.model_copy(update={"match_parameters": False}))
    echo(f"# {len(settings)} arms, seeds {config.seeds}, {len(plan.trainings)} trainings")
    for arm in plan.arms:
        if arm.name in settings and arm.seed == config.seeds[0]:
            words = " ".join(f"{path}={one_liner(value)}" for path, value in settings[arm.name].items())
            echo(f"#   {arm.name}: {words} (training {arm.training})")


def _buckets(spec: ComponentSpec) -> list[str]:
    """How many pairs land in which bucket, and what is cropped; nothing where all targets have one size."""
    from dynaip.errors import BadSample, InputError
    from dynaip.registry import registry
    from dynaip.training.buckets import buckets_of

    if len(getattr(spec.config, "target_sizes", list)()) < 2:
        return []
    try:
        found = buckets_of(registry().build(spec))
    except (InputError, BadSample) as error:
        return [f"buckets: the pairs cannot be looked at here ({error})"]
    padded = getattr(spec.config, "fit", "crop") == "pad"
    return ["buckets (height x width):", *(f"  {each.line(padded=padded)}" for each in found)]
