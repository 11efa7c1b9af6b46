"""Options that the backbones of diffusers' pipelines share; nothing here imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from dynaip.config import ComponentConfig, Strict
from dynaip.errors import InputError
from dynaip.models import resolve


class QuantizationConfig(Strict):
    """Weights in fewer bits, by a backend of diffusers."""

    backend: str
    """Backend by diffusers' name, e.g. bitsandbytes_4bit, bitsandbytes_8bit, torchao, quanto."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Arguments of the backend's config, e.g. {load_in_4bit: true, bnb_4bit_quant_type: nf4}, or (torchao)
    {quant_type: int8wo}, float8wo or int4wo."""
    components: tuple[str, ...] = ("transformer",)
    """Parts of the pipeline that are quantised."""


class PipelineConfig(ComponentConfig):
    """Which pipeline is loaded, and how."""

    model: str
    """Hub id, folder of a pipeline, or a bundle such as microworld."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    variant: str | None = None
    """Variant of the weight files, e.g. fp16."""
    device_map: str | None = None
    """Passed to diffusers, e.g. balanced."""
    quantization: QuantizationConfig | None = None
    """Weights in fewer bits; None loads them as they are."""
    max_sequence_length: PositiveInt | None = Field(default=None, le=512)
    """Text tokens of a prompt; None takes what the model was made for."""

    patch: ClassVar[int] = 2
    """Latents on an edge of one image token, unless the transformer's config says otherwise."""
    vae_scale: ClassVar[int] = 8
    """Pixels on an edge of one latent, for models whose files are not at hand."""

    def size_multiple(self) -> int:
        """Pixels on an edge of one image token, from the model's config files: sizes must be multiples of it."""
        return self.patch * (self.latent_edge(model_part(self, "vae")) or self.vae_scale)

    def native_size(self) -> tuple[int, int]:
        """Height and width in pixels that the model was made for, from its config files: 128 latents unless they say so."""
        edge = 128 * (self.latent_edge(model_part(self, "vae")) or self.vae_scale)
        return edge, edge

    def latent_edge(self, vae: dict[str, Any]) -> int | None:
        """Pixels on an edge of one latent, by the autoencoder's config; None if it does not say."""
        blocks = vae.get("block_out_channels")
        return 2 ** (len(blocks) - 1) if blocks else None


def model_part(config: PipelineConfig, part: str) -> dict[str, Any]:
    """The config file of a part of the pipeline; empty if the model is not on this machine or has no such file."""
    try:
        folder = resolve(config.model, "pipeline")
    except InputError:  # loading it says what is wrong
        return {}
    file = folder / part / "config.json" if isinstance(folder, Path) else cached(folder, f"{part}/config.json", config)
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def cached(repo: str, file: str, config: PipelineConfig) -> Path | None:
    """A file of a hub id that was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=config.revision)
    return Path(found) if isinstance(found, str) else None
