"""Pipelines without weights: their models on torch's ``meta`` device, from config files at hand or a known layout."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynaip.errors import InputError
from dynaip.models import resolve

from .config import PipelineConfig, cached, model_part
from .layouts import LAYOUTS, Layout


def layout_of(config: PipelineConfig) -> Layout | None:
    """The parts of a pipeline and their options: from its files, or else from the table of public models."""
    try:
        folder = resolve(config.model, "pipeline")
    except InputError:
        return None
    index = folder / "model_index.json" if isinstance(folder, Path) else cached(folder, "model_index.json", config)
    if index is None or not index.is_file():
        return LAYOUTS.get(config.model)
    parts: Layout = {}
    for name, (library, kind) in _parts(json.loads(index.read_text(encoding="utf-8"))).items():
        if options := model_part(config, name):
            parts[name] = (library, kind, {key: each for key, each in options.items() if not key.startswith("_")})
    return parts


def declared_length(config: PipelineConfig, tokenizer: str) -> int | None:
    """Tokens that a tokenizer takes at most, by its file; None if it is not at hand."""
    folder = resolve(config.model, "pipeline")
    file = folder / tokenizer / "tokenizer_config.json" if isinstance(folder, Path) else None
    if file is None or not file.is_file():
        return None
    longest = json.loads(file.read_text(encoding="utf-8")).get("model_max_length")
    return int(longest) if isinstance(longest, int) else None


def _parts(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Parts that are models: of the libraries that are built without weights here."""
    found = {name: each for name, each in index.items() if isinstance(each, list) and len(each) == 2}
    return {name: (each[0], each[1]) for name, each in found.items() if each[0] in ("diffusers", "transformers")}


def models_of(layout: Layout) -> dict[str, nn.Module]:
    """Name -> model on the meta device, frozen; schedulers, tokenizers and processors are left out."""
    made: dict[str, nn.Module] = {}
    for name, (library, kind, options) in layout.items():
        found: Any = getattr(import_module(library), kind, None)
        if isinstance(found, type) and issubclass(found, nn.Module):
            made_of: Any = found  # both libraries give their models these names; torch's type knows neither
            with torch.device("meta"):
                model: Any = (
                    made_of.from_config(options) if library == "diffusers" else made_of(made_of.config_class(**options))
                )
            made[name] = model.eval().requires_grad_(False)
    return made


def pipeline_of(kind: Any, models: dict[str, nn.Module]) -> Any:
    """A pipeline of these models, without tokenizers and scheduler."""
    options = {
        name: each.default for name, each in inspect.signature(kind.__init__).parameters.items() if name != "self"
    }
    given = {
        name: models.get(name) for name, own in options.items() if name in models or own is inspect.Parameter.empty
    }
    return kind(**given)
