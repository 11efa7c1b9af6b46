"""Configs: plain YAML in, typed and frozen values out. Nothing here imports torch."""

from __future__ import annotations

from dynaip.config.ablation import AblationConfig, ArmSettings
from dynaip.config.components import ComponentConfig, ComponentSpec, OfKind, PolicyConfig, Strict
from dynaip.config.experiment import AdapterConfig, EvaluationConfig, ExperimentConfig, TrainingConfig, fingerprint
from dynaip.config.loading import config_file, load_ablation, load_any, load_experiment, parse_experiment, recipes

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
    "Strict",
    "TrainingConfig",
    "config_file",
    "fingerprint",
    "load_ablation",
    "load_any",
    "load_experiment",
    "parse_experiment",
    "recipes",
]
