"""Other people's adapters: their files become runs, and ours become their files where that is exact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dynaip.adapter import files
from dynaip.adapter.model import DynaIP
from dynaip.adapter.parts import Specs
from dynaip.atomic import write_json, write_tensors, write_text
from dynaip.config import AdapterConfig, ComponentSpec
from dynaip.config.yaml_text import dump
from dynaip.contracts import AdapterFormat, Backbone, ForeignAdapter
from dynaip.errors import InputError, MismatchError
from dynaip.models import resolve
from dynaip.registry import registry
from dynaip.runs import Run, environment
from dynaip.suggest import one_line

FILE = "ip_adapter.safetensors"
GO_ON = "train.yaml"
"""An experiment that trains on from an imported adapter."""


WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under which names trainers put a model's weights into a file, or in front of their names."""
SHELLS = {"module", "_orig_mod"}
"""What wrappers for many processes and compiled code put between the parts of a name."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a pickle with nothing but tensors in it (nested names joined by dots).

    What trainers wrap around names is taken off, and weights in 8 bits become float32. Raises ``InputError`` for a missing
    or damaged file, for weights that are quantised or not finite, and for a pickle that holds anything else: it is not
    executed.
    """
    file = file.expanduser()
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    try:
        stored: Any = (
            load_file(file) if _is_safetensors(file) else torch.load(file, map_location="cpu", weights_only=True)
        )
    except UnpicklingError as error:  # torch's own words advise to load it unsafely
        raise InputError(f"{file} is no file of weights, or a pickle that holds more than tensors") from error
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{file} is damaged, or holds more than tensors ({one_line(error)})") from error
    while isinstance(stored, Mapping):
        parts = cast("Mapping[str, Any]", stored)
        inner = next((parts[key] for key in WRAPPERS if isinstance(parts.get(key), Mapping)), None)
        if inner is None:
            break
        stored = inner
    return files.usable(_bare(dict(_flat(stored, file)), file), file)


def _is_safetensors(file: Path) -> bool:
    """Whether it is one, whatever it is called: behind its length a header begins with a brace."""
    with file.open("rb") as opened:
        return file.suffix.lower() == ".safetensors" or opened.read(9)[8:] == b"{"


def _flat(stored: Any, file: Path, path: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(stored, Tensor):
        return [(path, stored)]
    if not isinstance(stored, Mapping):
        raise InputError(f"{file}: {path or 'it'} is a {type(stored).__name__}, not a tensor or a dict of tensors")
    parts = cast("Mapping[Any, Any]", stored)
    return [each for key, value in parts.items() for each in _flat(value, file, f"{path}.{key}" if path else str(key))]


def _bare(weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Names without what trainers wrap around them."""
    names = {name: [part for part in name.split(".") if part not in SHELLS] for name in weights}
    while len(first := {parts[0] for parts in names.values() if len(parts) > 1}) == 1 and first <= set(WRAPPERS):
        names = {name: parts[1:] for name, parts in names.items()}
    bare = {".".join(parts): weights[name] for name, parts in names.items()}
    if len(bare) < len(weights):
        raise InputError(f"{file}: two of its tensors have one name once the prefixes are taken off")
    return bare


def import_adapter(file: str | Path, source: str, *, base: str | None = None, encoder: str | None = None) -> DynaIP:
    """Read somebody else's adapter as one of ours, in evaluation mode.

    ``source`` names a format; ``base`` is the model (folder or hub id) that it is for, by default the one of the public
    weights; ``encoder`` replaces the encoder's default model. Raises ``MismatchError`` naming width or blocks if the base
    is another one.
    """
    made: AdapterFormat = registry().build(ComponentSpec.parse("format", source))
    stored = read_tensors(Path(file))
    foreign = made.read(stored)
    spec = ComponentSpec.parse("backbone", {"use": made.backbone, "model": base or made.base})
    backbone: Backbone = registry().build(spec)
    model = backbone.signature(empty_transformer(base or made.base, made))
    _check_shape(foreign, model, base or made.base)
    eyes = dict(foreign.encoder) | ({"model": encoder} if encoder else {})
    specs = Specs(
        spec,
        ComponentSpec.parse("encoder", eyes),
        ComponentSpec.parse("fusion", dict(foreign.fusion)),
        ComponentSpec.parse("decoupling", dict(foreign.decoupling)),
        AdapterConfig.model_validate(dict(foreign.adapter)),
    )
    adapter = DynaIP(specs, model)
    expected = adapter.state_dict()
    kept = {name: value for name, value in expected.items() if name.endswith(foreign.untouched)}
    files.fill(adapter, {**kept, **foreign.weights}, str(file))
    return adapter.eval()


def _check_shape(foreign: ForeignAdapter, model: Mapping[str, Any], base: str) -> None:
    there = dict(model) | {"blocks": int(model["double_blocks"]) + int(model.get("single_blocks", 0))}
    for field, value in foreign.shape.items():
        if there.get(field) != value:
            raise MismatchError(
                f"the file is made for {field} = {value}, but {base} has {there.get(field)}; name its base"
            )


def empty_transformer(base: str | Path, made: AdapterFormat) -> nn.Module:
    """A base's transformer without memory (meta device), from its config alone."""
    import diffusers

    config = transformer_config(base, made)
    cls: Any = getattr(diffusers, str(config.get("_class_name")), None)
    if cls is None:
        raise InputError(f"{base}: its transformer is a {config.get('_class_name')}, which diffusers does not know")
    with torch.device("meta"):
        return cls.from_config(config)


def transformer_config(base: str | Path, made: AdapterFormat) -> dict[str, Any]:
    """Config of a base's transformer: from its folder, from the hub, or the format's own for the base it is made for."""
    where = resolve(base, "pipeline")
    if isinstance(where, Path):
        file = where / "transformer" / "config.json"
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            file = Path(hf_hub_download(where, "transformer/config.json"))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            if where == made.base:
                return dict(made.transformer)
            raise InputError(
                f"{base}: not a folder here, and the hub does not give its transformer/config.json"
            ) from error
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{base}: {file} cannot be read, so it is no pipeline folder") from error


def import_run(file: str | Path, source: str, out: Path, *, base: str | None = None, encoder: str | None = None) -> Run:
    """Write an imported adapter as a run: ``adapter/``, ``environment.json``, and ``train.yaml``, which trains on from it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: choose another folder with -o")
    adapter = import_adapter(file, source, base=base, encoder=encoder)
    run = Run(out)
    adapter.save_pretrained(run.adapter)
    told = environment() | {"imported": {"file": str(file), "format": source}}
    write_json(out / "environment.json", told)
    write_text(out / GO_ON, dump(_going_on(adapter, out)))
    return run


def _going_on(adapter: DynaIP, out: Path) -> dict[str, Any]:
    specs = adapter.specs
    return {
        "backbone": specs.backbone.dump(),
        "encoder": specs.encoder.dump(),
        "fusion": specs.fusion.dump(),
        "decoupling": specs.decoupling.dump(),
        "adapter": specs.adapter.model_dump(mode="json"),
        "source": {"use": "pairs", "folder": "pairs"},
        "training": {
            "initial": str(out.resolve()),
            "steps": 2000,
            "batch_size": 4,
            "learning_rate": 1e-5,
            "warmup": 100,
        },
    }


def export_run(run: str | Path, target: str, out: Path) -> Path:
    """Write a run's adapter as ``ip_adapter.safetensors`` in somebody else's format and give the file.

    Raises ``InputError`` naming every property of the adapter that the format cannot hold exactly.
    """
    made: AdapterFormat = registry().build(ComponentSpec.parse("format", target))
    adapter = DynaIP.from_pretrained(run)
    base = getattr(adapter.specs.backbone.config, "model", made.base)
    tensors = made.write(adapter, _with_defaults(empty_transformer(base, made)))
    write_tensors(out / FILE, tensors)
    return out / FILE


def _with_defaults(transformer: nn.Module) -> dict[str, Any]:
    """A transformer's whole config; files leave defaults out."""
    return dict(cast(Any, transformer).config)
