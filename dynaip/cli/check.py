"""``dynaip check``: is a config right, and what does it mean?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from dynaip.cli.options import ConfigName, Overrides

if TYPE_CHECKING:
    from dynaip.config import AblationConfig


def check(file: ConfigName, set_: Overrides = None) -> None:
    """Validate a config and print it resolved, without loading a model."""
    from dynaip.config import AblationConfig, load_any

    config = load_any(file, set_ or ())
    kind = "ablation" if isinstance(config, AblationConfig) else "experiment"
    typer.echo(f"# {kind} {config.name} ({config.hash()}): valid")
    typer.echo(config.to_yaml(), nl=False)
    if isinstance(config, AblationConfig):
        _print_arms(config)


def _print_arms(config: AblationConfig) -> None:
    arms = config.expand()
    trainings = [config.experiment(arm.settings).training_hash() for arm in arms]
    typer.echo(f"# {len(arms)} arms, {len(config.seeds)} seed{'s' * (len(config.seeds) > 1)}")
    for arm, training in zip(arms, trainings, strict=True):
        settings = ", ".join(f"{path}={value}" for path, value in arm.settings.items())
        typer.echo(f"#   {arm.name}: {settings} (training {training})")
