"""Adapters on disk: ``adapter.safetensors`` and ``config.json``, nothing pickled, and refused where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.parts import Adapter, Specs
from dynaip.atomic import write_json, write_tensors
from dynaip.config import AdapterConfig, ComponentSpec
from dynaip.config.explain import explained
from dynaip.contracts import Branch
from dynaip.errors import InputError, MismatchError
from dynaip.models import local_folder

FORMAT = 1
WEIGHTS, CONFIG = "adapter.safetensors", "config.json"
PARTS = ("backbone", "encoder", "fusion", "decoupling", "adapter")
BESIDE_PIPELINE = "dynaip"
"""Folder of the adapter inside a pipeline that was saved with one attached."""

Model = TypeVar("Model", bound=Adapter)


def describe(adapter: Adapter) -> dict[str, Any]:
    """Give ``config.json``: qualified names, options, and what the weights depend on."""
    from dynaip.version import __version__

    specs = adapter.specs
    return {
        "format": FORMAT,
        "dynaip_version": __version__,
        "backbone": specs.backbone.dump() | {"signature": adapter.model_signature},
        "encoder": specs.encoder.dump() | {"signature": adapter.encoder.signature()},
        "fusion": specs.fusion.dump(),
        "decoupling": specs.decoupling.dump(),
        "adapter": specs.adapter.model_dump(mode="json"),
        "branches": [branch for branch in BRANCHES if adapter.attention.serves(branch)],
        "parameters": sum(parameter.numel() for parameter in adapter.parameters()),
    }


def save(adapter: Adapter, folder: Path) -> Path:
    """Write weights and config; each file is complete or absent."""
    write_tensors(folder / WEIGHTS, adapter.state_dict())
    write_json(folder / CONFIG, describe(adapter))
    return folder


def load(cls: type[Model], run: str | Path, *, revision: str | None = None) -> Model:
    """Build the adapter that ``run`` describes and load its weights, in evaluation mode."""
    folder = find(run, revision=revision)
    config = _read(folder / CONFIG)
    backbone, model = _split(config["backbone"])
    encoder, trained_with = _split(config["encoder"])
    with explained(AdapterConfig, f"{folder / CONFIG}: adapter"):
        settings = AdapterConfig.model_validate(config["adapter"])
    specs = Specs(
        ComponentSpec.parse("backbone", backbone, f"{folder / CONFIG}: backbone"),
        ComponentSpec.parse("encoder", encoder, f"{folder / CONFIG}: encoder"),
        ComponentSpec.parse("fusion", config["fusion"], f"{folder / CONFIG}: fusion"),
        ComponentSpec.parse("decoupling", config["decoupling"], f"{folder / CONFIG}: decoupling"),
        settings,
    )
    adapter = cls(specs, model, branches=_branches(folder / CONFIG, config))
    same("encoder", trained_with, adapter.encoder.signature())
    fill(adapter, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    adapter.source = folder.parent if folder.name == "adapter" else folder
    return adapter.eval()


def backbone_of(run: str | Path, *, revision: str | None = None) -> ComponentSpec:
    """The backbone of a RUN, read from its files alone: that of the pipeline where an adapter was saved with one."""
    folder = local_folder(run, "adapter", revision=revision)
    file = find(run, revision=revision) / CONFIG
    spec = ComponentSpec.parse("backbone", _split(_read(file)["backbone"])[0], f"{file}: backbone")
    if file.parent == folder / BESIDE_PIPELINE and (folder / "model_index.json").is_file():
        return ComponentSpec(spec.kind, spec.use, spec.config.model_copy(update={"model": str(folder)}))
    return spec


def start_from(adapter: Adapter, run: str | Path) -> None:
    """Give a new adapter the weights of a trained one; K, V of a branch that the latter lacks stay at their start.

    Raises ``MismatchError`` naming the field where encoder, fusion, adapter or base are not the same.
    """
    folder = find(run)
    config, specs = _read(folder / CONFIG), adapter.specs
    same("backbone", _split(config["backbone"])[1], adapter.model_signature)
    same("encoder", _split(config["encoder"])[1], adapter.encoder.signature())
    same("fusion", config["fusion"], specs.fusion.dump())
    settings = AdapterConfig.model_validate(config["adapter"]).model_dump(mode="json", exclude={"max_references"})
    same("adapter", settings, specs.adapter.model_dump(mode="json", exclude={"max_references"}))
    fresh = tuple(f"attention.branches.{branch}." for branch in BRANCHES if branch not in _branches(folder, config))
    kept = {name: value for name, value in adapter.state_dict().items() if fresh and name.startswith(fresh)}
    stored = read_weights(folder / WEIGHTS)
    known = adapter.state_dict().keys()
    unused = {name for name in stored if name not in known and name.startswith("attention.branches.")}
    fill(adapter, kept | {name: value for name, value in stored.items() if name not in unused}, str(folder / WEIGHTS))


def find(run: str | Path, *, revision: str | None = None) -> Path:
    """Find the adapter's folder: ``run`` itself, its ``adapter/``, its ``dynaip/`` (saved with a pipeline)."""
    folder = local_folder(run, "adapter", revision=revision)
    for candidate in (folder, folder / "adapter", folder / BESIDE_PIPELINE):
        if (candidate / CONFIG).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    raise InputError(f"{run}: no adapter there ({WEIGHTS} and {CONFIG} are missing); has the training finished?")


def _read(path: Path) -> dict[str, Any]:
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    config: dict[str, Any] = cast("dict[str, Any]", stored) if isinstance(stored, dict) else {}
    if config.get("format") != FORMAT:
        raise MismatchError(
            f"{path}: format {config.get('format')!r} is not {FORMAT}; it is no adapter of this version"
        )
    missing = [key for key in PARTS if not isinstance(config.get(key), dict)]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} is missing; it is no complete adapter config")
    return config


def _branches(path: Path, config: Mapping[str, Any]) -> list[Branch]:
    stored: Any = config.get("branches", list(BRANCHES))
    if not isinstance(stored, list) or not stored or not set(cast("list[Any]", stored)) <= set(BRANCHES):
        raise InputError(f"{path}: branches: {stored} must name some of {', '.join(BRANCHES)}")
    return cast("list[Branch]", stored)


def _split(part: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    options = dict(part)
    return options, cast(dict[str, Any], options.pop("signature", {}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read ``adapter.safetensors``; ``InputError`` in one line if it is damaged or would paint nothing but black."""
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return usable(stored, path)


def usable(weights: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Weights in types that can be computed with: those in 8 bits become float32.

    Raises ``InputError`` naming the first tensor that is quantised to integers, or holds NaN or infinity.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise InputError(f"{source}: {name} holds {kind}, no weights; give the file before it was quantised")
        if value.element_size() == 1:
            if name.removesuffix(".weight") + ".scale_weight" in weights or f"{name}_scale" in weights:
                raise InputError(f"{source}: {name} is scaled fp8; give the file before it was quantised")
            value = value.float()
        if not value.isfinite().all():
            raise InputError(f"{source} is damaged: {name} holds numbers that are not finite")
        found[name] = value
    return found


def fill(adapter: Adapter, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights into an adapter; ``MismatchError`` names what does not belong together."""
    expected = adapter.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        where = "the file" if name in weights else "the adapter's config"
        raise MismatchError(f"{source}: {name} is only in {where}; weights and config do not belong together")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise MismatchError(
                f"{source}: {name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}"
            )
    adapter.load_state_dict(dict(weights))


def same(part: str, trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Compare what an adapter was trained with and what is given, field by field; ``MismatchError`` names the field."""
    for field in sorted({*trained, *given}):
        before, now = _plain(trained.get(field)), _plain(given.get(field))
        if before != now:
            raise MismatchError(f"the adapter was trained for {part}.{field} = {before}, but this one has {now}")


def _plain(value: Any) -> Any:
    """Tuples and lists are the same after JSON."""
    return json.loads(json.dumps(value))


def saved_beside(home: Path) -> list[Path]:
    """Folders of further adapters that were saved with a pipeline, in order."""
    found = [each for each in home.glob("[0-9]*") if each.name.isdecimal() and (each / WEIGHTS).is_file()]
    return sorted(found, key=lambda each: int(each.name))
