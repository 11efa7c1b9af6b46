"""Options that the backbones of diffusers' pipelines share; nothing here imports torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt

from dynaip.config import ComponentConfig, Strict


class QuantizationConfig(Strict):
    """Weights in fewer bits, by a backend of diffusers."""

    backend: str
    """Backend by diffusers' name, e.g. bitsandbytes_4bit, bitsandbytes_8bit, torchao, quanto."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Arguments of the backend's config, e.g. {load_in_4bit: true, bnb_4bit_quant_type: nf4}."""
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
