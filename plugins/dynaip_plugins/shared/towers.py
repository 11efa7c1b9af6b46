"""Shared by encoders and metrics: transformers' vision towers, by a table of what their classes have in common.

A layer is read with a hook on the layer itself: ``hidden_states[-1]`` of transformers is the normed last state in some
models and versions, and not in others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn

from dynaip.errors import ConfigError, InputError
from dynaip.models import resolve
from dynaip.suggest import one_line

from .preprocessing import Preprocessing, inside_the_model, own_preprocessing
from .pretrained import DTYPES, fingerprint, quiet, refuse_missing


@dataclass(frozen=True)
class Family:
    """What differs between the classes of one kind of tower and those of another."""

    name: str
    """For people."""
    tower: str
    """Class in transformers."""
    prefix: Callable[[Any], int]
    """Tokens before the patches, from the tower's config."""
    loading: dict[str, Any] = field(default_factory=dict)
    """Arguments of loading: parts that public weights do not have are left out."""
    headless: dict[str, Any] = field(default_factory=dict)
    """Further ones where only layers are read."""
    call: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``forward`` for pixels of another size than the model was trained on."""
    normalises: bool = False
    """Whether the model takes pixels in [0, 1] and normalises them itself."""
    pooling: bool = False
    """Whether its pooled output is that of a head; else it is the normed class token."""
    naflex: bool = False
    """Whether it takes patches with the shape of their grid instead of pixels; here the grid is a square."""


_ANY_SIZE = {"interpolate_pos_encoding": True}
_HEADLESS = {"vision_use_head": False}
_CLIP = Family("CLIP", "CLIPVisionModel", lambda config: 1, call=_ANY_SIZE, pooling=True)
_SIGLIP = Family("SigLIP", "SiglipVisionModel", lambda config: 0, headless=_HEADLESS, call=_ANY_SIZE, pooling=True)
_NAFLEX = Family(
    "SigLIP 2 NaFlex", "Siglip2VisionModel", lambda config: 0, headless=_HEADLESS, pooling=True, naflex=True
)
FAMILIES = {
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _NAFLEX,
    "siglip2_vision_model": _NAFLEX,
    "vit": Family("ViT or DINO", "ViTModel", lambda config: 1, loading={"add_pooling_layer": False}, call=_ANY_SIZE),
    "dinov2": Family("DINOv2", "Dinov2Model", lambda config: 1),
    "dinov2_with_registers": Family(
        "DINOv2 with registers", "Dinov2WithRegistersModel", lambda config: 1 + config.num_register_tokens
    ),
    "dinov3_vit": Family("DINOv3", "DINOv3ViTModel", lambda config: 1 + config.num_register_tokens),
    "radio": Family("C-RADIO", "RadioModel", lambda config: config.num_summary_tokens, normalises=True),
}
"""``model_type`` of a config -> how its tower is read. SigLIP 2 of a fixed size has SigLIP's classes, NaFlex has its own."""


class Tower(nn.Module):
    """A frozen vision tower whose layers can be read."""

    def __init__(self, model: Any, family: Family, preprocessing: Preprocessing, source: str) -> None:
        super().__init__()
        self.model, self.family, self.preprocessing, self.source = model, family, preprocessing, source
        self.layers, shape = layers_of(model), model.config
        self.depth, self.width, self.prefix = len(self.layers), int(shape.hidden_size), family.prefix(shape)
        self.edge = preprocessing.size // int(shape.patch_size)
        """Patches along one side."""
        self.revision: str = getattr(shape, "_commit_hash", None) or ""
        """Commit on the hub, if it came from there."""
        self.eval().requires_grad_(False)

    def cut_to(self, deepest: int) -> None:
        """Drop the layers behind the deepest one that is read; ``depth`` stays that of the model."""
        del self.layers[max(1, deepest) :]

    @torch.no_grad()
    def states(self, pixels: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """Patch tokens after each wanted number of layers, not normed (pixels B x 3 x S x S -> B x N x C each)."""
        found: dict[int, Tensor] = {}

        def keep(number: int) -> Callable[..., None]:
            return lambda module, given, output: found.update(
                {number: output[0] if isinstance(output, tuple) else output}
            )

        def keep_first(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            found[0] = given[0] if given else named["hidden_states"]

        with ExitStack() as hooks:
            for number in wanted:
                layer = self.layers[max(0, number - 1)]
                if number:
                    hooks.callback(layer.register_forward_hook(keep(number)).remove)
                else:
                    hooks.callback(layer.register_forward_pre_hook(keep_first, with_kwargs=True).remove)
            self._run(pixels)
        return {number: found[number][:, self.prefix :] for number in wanted}

    @torch.no_grad()
    def pooled(self, pixels: Tensor) -> Tensor:
        """One embedding a picture (B x C): the normed class token, SigLIP's pooled output, C-RADIO's summary."""
        output = self._run(pixels)
        if "summary" in output:
            return output.summary
        return output.pooler_output if self.family.pooling else output.last_hidden_state[:, 0]

    def _run(self, pixels: Tensor) -> Any:
        if not self.family.naflex:
            return self.model(pixels, **self.family.call)
        count, patches = len(pixels), patches_of(pixels, int(self.model.config.patch_size))
        shapes = torch.full((count, 2), self.edge)  # on the host, where the model reads it
        return self.model(patches, torch.ones(patches.shape[:2], device=pixels.device, dtype=torch.long), shapes)

    def mark(self) -> str:
        """Tell two towers of one shape apart by a weight of the first layer, without reading gigabytes."""
        return fingerprint(next(each for each in self.layers[0].parameters() if each.ndim > 1))

    def signature(self) -> dict[str, Any]:
        """Name what depends on it: model, shape, pixels, and which weights of that shape."""
        return {
            "model": self.source,
            "family": self.family.name,
            "hidden_size": self.width,
            "layers": self.depth,
            "image_size": self.preprocessing.size,
            "weights": self.mark(),
        }


def patches_of(pixels: Tensor, patch: int) -> Tensor:
    """Patches as rows, row by row (B x 3 x S x S -> B x N x 3 patch^2), each by its rows, columns and then colours."""
    count, colours, height, width = pixels.shape
    cut = pixels.reshape(count, colours, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * colours)


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The transformer layers, wherever the class has them: the first list of as many modules as the config says."""
    count = model.config.num_hidden_layers  # pyright: ignore[reportAttributeAccessIssue]
    return next(each for each in model.modules() if isinstance(each, nn.ModuleList) and len(each) == count)


def load_tower(
    name: str,
    *,
    revision: str | None = None,
    size: int | None = None,
    dtype: str = "fp32",
    who: str = "encoder.model",
    families: Collection[str] = tuple(FAMILIES),
    whole: bool = False,
) -> Tower:
    """Load a vision tower from a folder, a bundle or the hub, for pixels of its own size or of another one.

    ``whole`` keeps the pooling head. Raises ``InputError`` in one line, which begins with ``who``, for a model of another
    family than the named ones, one without all of its weights or without a preprocessor's config, and damaged files.
    """
    where = resolve(name, "vision")
    try:
        if isinstance(where, Path) and not (where / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        with quiet(bars=not isinstance(where, Path)):
            config: Any = transformers.AutoConfig.from_pretrained(where, revision=revision)
            family = _family(config, families)
            model, report = _class(family).from_pretrained(
                where,
                revision=revision,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                output_loading_info=True,
                **family.loading,
                **({} if whole else family.headless),
            )
        own = _preprocessing(family, where, revision, _own_size(model.config))
    except (OSError, ValueError, RuntimeError, SafetensorError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{who}: {name} cannot be loaded as a vision tower ({one_line(error)})") from error
    refuse_missing(report["missing_keys"], f"{who}: {name}", f"{family.name} vision model")
    _check_size(size, int(model.config.patch_size), who)
    return Tower(model, family, own.resized_to(size), name)


def _own_size(config: Any) -> int:
    """Edge of the pixels that a tower was trained on; a NaFlex has a grid of positions instead."""
    grid = getattr(config, "num_patches", None)
    return int(config.image_size) if grid is None else round(grid**0.5) * int(config.patch_size)


def _preprocessing(family: Family, where: Path | str, revision: str | None, size: int) -> Preprocessing:
    """A NaFlex keeps a picture's shape: of one that is not square the middle is cut, so that nothing is squeezed."""
    found = inside_the_model(size) if family.normalises else own_preprocessing(where, revision, size)
    return replace(found, shorter_edge=found.size) if family.naflex else found


def _check_size(size: int | None, patch: int, who: str) -> None:
    if size is not None and (size % patch or size < patch):
        near = max(1, round(size / patch)) * patch
        raise ConfigError(
            f"{who.replace('model', 'size')}: {size} is no multiple of the patches of {patch}: write {near}"
        )


def _family(config: Any, families: Collection[str]) -> Family:
    kind = config.model_type
    if kind not in families:
        known = ", ".join(sorted({FAMILIES[each].name for each in families}))
        raise ValueError(f"it is a {kind}, and what can be read is {known}")
    return FAMILIES[kind]


def _class(family: Family) -> Any:
    found = getattr(transformers, family.tower, None)
    if found is None:
        raise ValueError(f"transformers {transformers.__version__} has no {family.tower}: install a later one")
    return found
