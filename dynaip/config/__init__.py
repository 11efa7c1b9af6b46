"""Configs: plain YAML in, typed and frozen values out. Nothing here imports torch."""

from __future__ import annotations

from dynaip.config.ablation import AblationConfig, ArmSettings
from dynaip.config.components import ComponentSpec, OfKind
from dynaip.config.experiment import (
    AdapterConfig,
    EvaluationConfig,
    ExperimentConfig,
    TrainingConfig,
    ValidationConfig,
    fingerprint,
)
from dynaip.config.loading import (
    config_file,
    load_ablation,
    load_any,
    load_experiment,
    load_saved,
    parse_experiment,
    recipes,
)
from dynaip.registry.options import ComponentConfig, PolicyConfig, SourceConfig, Strict

__all__ = [
    "AblationConfig",
    "AdapterConfig",
    "ArmSettings",
    "ComponentConfig",
    "ComponentSpec",
    "EvaluationConfig",
    "ExperimentConfig",
    "OfKind",
    "PolicyConfig",
    "SourceConfig",
    "Strict",
    "TrainingConfig",
    "ValidationConfig",
    "config_file",
    "fingerprint",
    "load_ablation",
    "load_any",
    "load_experiment",
    "load_saved",
    "parse_experiment",
    "recipes",
]
