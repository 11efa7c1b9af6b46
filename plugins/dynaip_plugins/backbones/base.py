"""What the backbones of diffusers' MM-DiT pipelines share: loading, signature, generation."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.contracts import Backbone, Skeleton
from dynaip.device import to_device
from dynaip.errors import InputError, MissingDependency
from dynaip.models import resolve
from dynaip.prompts import PromptLimit, token_count
from dynaip.quiet import overheard, quiet_imports
from dynaip.suggest import one_line

from ..shared.latents import packed, scaled
from .calls import check_options, finite
from .clock import HostClock
from .complete import check_complete
from .config import PipelineConfig, QuantizationConfig
from .skeleton import declared_length, layout_of, models_of, pipeline_of

Options = TypeVar("Options", bound=PipelineConfig)
TORCHAO = {
    "int8wo": "Int8WeightOnlyConfig", "float8wo": "Float8WeightOnlyConfig", "int4wo": "Int4WeightOnlyConfig",
}  # fmt: skip
"""Name of a type of weights -> torchao's config for it."""


class PipelineBackbone(Backbone, Generic[Options]):
    """A family of models behind diffusers' pipelines. A family names its classes and says how a pass is made and read."""

    family: ClassVar[str]
    """What signatures of adapters call it."""
    title: ClassVar[str]
    """What messages call it."""
    pipeline: ClassVar[str | None] = None
    """Class in diffusers that loads it; None leaves the choice to the folder."""
    skeleton_pipeline: ClassVar[str] = "DiffusionPipeline"
    """Class in diffusers that stands for it without weights, where the folder chooses."""
    transformer: ClassVar[str]
    """Class in diffusers of its transformer."""
    longest_prompt: ClassVar[int] = 512
    """Text tokens of a prompt, unless the config or the tokenizer says otherwise."""
    tokenizer: ClassVar[str | None] = None
    """Name of the tokenizer that may declare fewer."""
    guidance: ClassVar[str] = "true_cfg_scale"
    """Option of the pipeline's call that is the scale of classifier-free guidance."""
    readers: ClassVar[Mapping[str, str]] = {}
    """Tokenizers of the pipeline, and what messages call the encoders behind them."""

    def __init__(self, config: Options) -> None:
        self.config = config
        self.clock = HostClock()

    def load(self, *, device: Any, dtype: Any) -> Any:
        """Load the pipeline that the config names; a quantised or mapped one stays where diffusers put it."""
        from diffusers.utils import logging

        if logging.get_verbosity() >= logging.ERROR:
            logging.disable_progress_bar()  # the bar knows nothing of the verbosity that was asked for
        config = self.config
        where = resolve(config.model, "pipeline")
        options: dict[str, Any] = {
            "revision": config.revision,
            "variant": config.variant,
            "use_safetensors": True,  # weights that are pickled could run code
            "device_map": config.device_map,
            "quantization_config": config.quantization and quantization(config.quantization),
        }
        options = {key: value for key, value in options.items() if value is not None}
        loader = _diffusers_class(self.pipeline or "DiffusionPipeline")
        try:
            with overheard("diffusers", "transformers") as warned:
                pipe = loader.from_pretrained(where, dtype=dtype, **options)
        except ImportError as error:
            raise MissingDependency(f"backbone.model: {config.model} cannot be loaded: {one_line(error)}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"backbone.model: {config.model} cannot be loaded as a {self.title} pipeline ({one_line(error)})"
            ) from error
        except RuntimeError as error:  # so bitsandbytes says that it needs a GPU
            if config.quantization is None or isinstance(error, torch.OutOfMemoryError):
                raise
            raise InputError(f"backbone.quantization: {one_line(error)}") from error
        self._check(getattr(pipe, "transformer", pipe))
        check_complete(pipe, warned, config.model)
        return pipe if config.device_map else pipe.to(device)

    def skeleton(self) -> Skeleton | None:
        """The pipeline without weights, from its config files or the table of public models."""
        layout = layout_of(self.config)
        if layout is None or "transformer" not in layout:
            return None
        models = models_of(layout)
        self._check(models["transformer"])
        pipe = pipeline_of(_diffusers_class(self.pipeline or self.skeleton_pipeline), models)
        if self.tokenizer and (longest := declared_length(self.config, self.tokenizer)):
            setattr(pipe, self.tokenizer, SimpleNamespace(model_max_length=longest))
        with torch.device("meta"):
            text = self.text_shapes(pipe)
        channels: Any = pipe.transformer.config.in_channels
        width = int(channels) * self.channels_of_token(pipe)
        return Skeleton(pipe, text, width, lambda size: prod(self.tokens(pipe, size)))

    def channels_of_token(self, pipe: Any) -> int:
        """Channels of a latent token for each input channel of the transformer: 1 where it takes tokens."""
        return 1

    def text_shapes(self, pipe: Any) -> dict[str, Tensor]:
        """Tensors of the shape that ``encode_prompts`` gives for one prompt, on the default device."""
        config = pipe.transformer.config
        made = {"prompt_embeds": torch.empty(1, self.prompt_length(pipe), config.joint_attention_dim)}
        if pooled := getattr(config, "pooled_projection_dim", None):
            made["pooled_prompt_embeds"] = torch.empty(1, pooled)
        return made

    def condition_width(self) -> int | None:
        """Width of the pooled prompt, from the transformer's config; None for models that have no pooled prompt."""
        where = resolve(self.config.model, "pipeline")
        kind = _diffusers_class(self.transformer)
        try:
            config = kind.load_config(where, subfolder="transformer", revision=self.config.revision)
        except OSError as error:
            raise InputError(
                f"backbone.model: {self.config.model} has no readable transformer config ({one_line(error)})"
            ) from error
        width = cast("dict[str, Any]", config).get("pooled_projection_dim")
        return None if width is None else int(width)

    def signature(self, transformer: nn.Module) -> dict[str, Any]:
        """Family, width, heads, numbers of blocks and width of the pooled prompt (if there is one)."""
        self._check(transformer)
        config = cast(Any, transformer).config
        return {
            "family": self.family,
            "width": config.num_attention_heads * config.attention_head_dim,
            "heads": config.num_attention_heads,
            "double_blocks": config.num_layers,
            "single_blocks": getattr(config, "num_single_layers", 0),
            "condition_width": getattr(config, "pooled_projection_dim", None),
        }

    @torch.no_grad()
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] into packed latents (B x T x C): the mode of the autoencoder's distribution."""
        return packed(scaled(pipe.vae, pixels))

    def timesteps_on(self, device: torch.device, timesteps: Tensor, span: float = 1.0) -> Tensor:
        """Timesteps (B, from 0 to 1) times ``span`` on the transformer's device; values that the host has stay known to it."""
        moved = to_device(timesteps * span if span != 1 else timesteps, device)
        if timesteps.device.type == "cpu":
            self.clock.know_progress(moved, 1 - float(timesteps[0]))
        return moved

    def _check(self, transformer: nn.Module) -> None:
        """Refuse the transformer of another family."""
        kinds = type(getattr(transformer, "_orig_mod", transformer)).__mro__
        if all(kind.__name__ != self.transformer for kind in kinds):
            raise InputError(f"backbone {self.family}: {type(transformer).__name__} is no {self.title} transformer")

    @torch.no_grad()
    def generate(
        self,
        pipe: Any,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        size: tuple[int, int] | None = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Run the pipeline on a batch, one seed a prompt; a single negative prompt serves the whole batch.

        Raises ``InputError`` for an option that the pipeline does not have, ``NotFinite`` if what is decoded is no picture.
        """
        height, width = size or (None, None)
        check_options(pipe, options)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if isinstance(options.get("negative_prompt"), str):
            options["negative_prompt"] = [options["negative_prompt"]] * len(prompts)
        options.setdefault("max_sequence_length", self.prompt_length(pipe))
        with _quiet(pipe), finite(pipe):
            return pipe(prompt=list(prompts), height=height, width=width, generator=generators, **options).images

    def guided(self, scale: float) -> dict[str, Any]:
        """Options of the call for true classifier-free guidance; without a negative prompt pipelines leave it out."""
        unconditional = {"negative_prompt": ""} if scale > 1 and self.guidance == "true_cfg_scale" else {}
        return {self.guidance: scale, **unconditional}

    def prompt_length(self, pipe: Any) -> int:
        """Text tokens of a prompt."""
        declared = getattr(getattr(pipe, self.tokenizer or "", None), "model_max_length", self.longest_prompt)
        return self.config.max_sequence_length or int(min(declared, self.longest_prompt))

    def prompt_limits(self, pipe: Any, longest: int | None = None) -> Sequence[PromptLimit]:
        """How many tokens of a prompt each text encoder reads; ``longest`` replaces the config's own number."""
        limits: list[PromptLimit] = []
        for name, encoder in self.readers.items():
            tokenizer = getattr(pipe, name, None)
            if tokenizer is not None:
                most = int(tokenizer.model_max_length)
                if name == self.tokenizer:
                    most = min(most, longest or self.prompt_length(pipe))
                limits.append(PromptLimit(encoder, most, partial(token_count, tokenizer)))
        return limits

    def tokens(self, pipe: Any, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of image tokens for (height, width) in pixels, each a multiple of what a token covers."""
        edge = 2 * pipe.vae_scale_factor
        if size[0] % edge or size[1] % edge:
            raise InputError(f"{self.title}: height and width must be multiples of {edge}, not {size[0]} x {size[1]}")
        return size[0] // edge, size[1] // edge


def quantization(config: QuantizationConfig) -> Any:
    """Diffusers' config for weights in fewer bits; one plain line if the backend is unknown or not installed."""
    from diffusers import PipelineQuantizationConfig

    parts: dict[str, Any]
    try:
        if config.backend == "torchao":
            parts = {"quant_mapping": {part: torchao_config(config, part) for part in config.components}}
        else:
            parts = {
                "quant_backend": config.backend,
                "quant_kwargs": dict(config.options),
                "components_to_quantize": list(config.components),
            }
        return PipelineQuantizationConfig(**parts)
    except ImportError as error:
        raise MissingDependency(f"backbone.quantization: {one_line(error)}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"backbone.quantization: {one_line(error)}") from error


def torchao_config(config: QuantizationConfig, part: str) -> Any:
    """Torchao's config of one part, from the name of a type: both libraries take objects alone, which YAML does not have.

    Raises ``ValueError`` for another name, ``ImportError`` without torchao.
    """
    import diffusers
    import torchao.quantization as kinds
    import transformers

    options = dict(config.options)
    name = str(options.pop("quant_type", ""))
    if name not in TORCHAO:
        raise ValueError(f"options.quant_type: {name or 'nothing'} is no type of torchao; give {', '.join(TORCHAO)}")
    library: Any = transformers if part.startswith("text_encoder") else diffusers
    return library.TorchAoConfig(getattr(kinds, TORCHAO[name])(), **options)


def _diffusers_class(name: str) -> Any:
    """A class of diffusers, whose modules are imported when a name of theirs is asked for."""
    with quiet_imports():
        import diffusers

        return getattr(diffusers, name)


@contextmanager
def _quiet(pipe: Any) -> Generator[None]:
    """Silence the pipeline's own bar while ours is shown."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**before | {"disable": True})
    try:
        yield
    finally:
        pipe._progress_bar_config = before
