"""``dynaip check``: is a config right, and what does it mean?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynaip.cli.options import ConfigName, Overrides
from dynaip.cli.output import echo

if TYPE_CHECKING:
    from dynaip.config import AblationConfig


def check(file: ConfigName, set_: Overrides = None) -> None:
    """Validate a config and print it resolved, without loading a model."""
    from dynaip.config import AblationConfig, load_any
    from dynaip.training.sizes import settled

    config = load_any(file, set_ or ())
    arms = (
        [config.experiment(arm.settings) for arm in config.expand()] if isinstance(config, AblationConfig) else [config]
    )
    for experiment in arms:
        settled(experiment)
    kind = "ablation" if isinstance(config, AblationConfig) else "experiment"
    echo(f"# {kind} {config.name} ({config.hash()}): valid")
    echo(config.to_yaml(), nl=False)
    if isinstance(config, AblationConfig):
        _print_arms(config)


def _print_arms(config: AblationConfig) -> None:
    from dynaip.ablation.plan import make_plan
    from dynaip.config.yaml_text import one_liner

    # Matching builds the fusions, with torch; it changes their width and nothing that is shown here.
    plan = make_plan(config.model_copy(update={"match_parameters": False}))
    settings = {arm.name: arm.settings for arm in config.expand()}
    echo(f"# {len(settings)} arms, seeds {config.seeds}, {len(plan.trainings)} trainings")
    for arm in plan.arms:
        if arm.name in settings and arm.seed == config.seeds[0]:
            words = " ".join(f"{path}={one_liner(value)}" for path, value in settings[arm.name].items())
            echo(f"#   {arm.name}: {words} (training {arm.training})")
