"""FLUX: where its blocks are, how a pass is read, and how one velocity prediction runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.contracts import Backbone, BlockSite, ForwardPass
from dynaip.errors import InputError
from dynaip.models import resolve

from .config import FluxConfig

LONGEST_PROMPT = 512


class FluxBackbone(Backbone):
    """Everything that DynaIP needs to know about FLUX.1 models."""

    def __init__(self, config: FluxConfig) -> None:
        self.config = config

    def load(self, *, device: Any, dtype: Any) -> Any:
        """Load the FluxPipeline that the config names; without ``height`` and ``width`` it paints its native size."""
        from diffusers import FluxPipeline
        from diffusers.utils import logging

        if logging.get_verbosity() >= logging.ERROR:
            logging.disable_progress_bar()  # the bar knows nothing of the verbosity that was asked for
        where = resolve(self.config.model, "pipeline")
        options = {
            "revision": self.config.revision,
            "variant": self.config.variant,
            "device_map": self.config.device_map,
        }
        try:
            pipe = FluxPipeline.from_pretrained(
                where, dtype=dtype, **{key: value for key, value in options.items() if value is not None}
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"backbone.model: {self.config.model} cannot be loaded as a FLUX pipeline ({error})"
            ) from error
        pipe.default_sample_size = pipe.vae.config.sample_size // pipe.vae_scale_factor
        return pipe if self.config.device_map else pipe.to(device)

    def condition_width(self) -> int | None:
        """Width of CLIP's pooled prompt, from the transformer's config."""
        from diffusers import FluxTransformer2DModel

        where = resolve(self.config.model, "pipeline")
        try:
            config = FluxTransformer2DModel.load_config(where, subfolder="transformer", revision=self.config.revision)
        except OSError as error:
            raise InputError(
                f"backbone.model: {self.config.model} has no readable transformer config ({error})"
            ) from error
        return int(cast("dict[str, Any]", config)["pooled_projection_dim"])

    def blocks(self, transformer: nn.Module) -> list[BlockSite]:
        """List double-stream blocks, then single-stream blocks."""
        model = cast(Any, transformer)
        double = [_double(number, block) for number, block in enumerate(model.transformer_blocks)]
        return double + [_single(number, block) for number, block in enumerate(model.single_transformer_blocks)]

    def signature(self, transformer: nn.Module) -> dict[str, Any]:
        """Family, width, heads, numbers of blocks and width of the pooled prompt."""
        if not hasattr(transformer, "single_transformer_blocks"):
            raise InputError(f"backbone flux: {type(transformer).__name__} is no FLUX transformer")
        config = cast(Any, transformer).config
        return {
            "family": "flux",
            "width": config.num_attention_heads * config.attention_head_dim,
            "heads": config.num_attention_heads,
            "double_blocks": config.num_layers,
            "single_blocks": config.num_single_layers,
            "condition_width": config.pooled_projection_dim,
        }

    def read_pass(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: str | None
    ) -> ForwardPass:
        """Read grid from the image ids, progress from the timestep, and the negative pass from the cache context."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return ForwardPass(
            batch=hidden.shape[0],
            grid=_grid(kwargs["img_ids"]),
            progress=1 - float(kwargs["timestep"].flatten()[0]),
            negative=context == "uncond",
            condition=kwargs.get("pooled_projections"),
            text_tokens=kwargs["encoder_hidden_states"].shape[1],
        )

    @torch.no_grad()
    def encode_prompts(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give ``prompt_embeds`` (B x X x C) and ``pooled_prompt_embeds`` (B x C)."""
        embeds, pooled, _ = pipe.encode_prompt(
            prompt=list(prompts), prompt_2=None, max_sequence_length=self.prompt_length(pipe)
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    @torch.no_grad()
    def encode_images(self, pipe: Any, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1] into packed latents (B x T x C): the mode of the autoencoder's distribution."""
        vae = pipe.vae
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        latents = (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
        return pipe._pack_latents(latents, *latents.shape)

    def velocity(
        self, pipe: Any, latents: Tensor, timesteps: Tensor, text: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Predict eps - x_0 (B x T x C) as the pipeline's own denoising step does."""
        rows, columns = (edge // (2 * pipe.vae_scale_factor) for edge in size)
        embeds = text["prompt_embeds"]
        guidance = None
        if pipe.transformer.config.guidance_embeds:
            guidance = torch.full((len(latents),), self.config.training_guidance, device=latents.device)
        return pipe.transformer(
            hidden_states=latents,
            timestep=timesteps,
            guidance=guidance,
            pooled_projections=text["pooled_prompt_embeds"],
            encoder_hidden_states=embeds,
            txt_ids=torch.zeros(embeds.shape[1], 3, device=latents.device, dtype=latents.dtype),
            img_ids=pipe._prepare_latent_image_ids(len(latents), rows, columns, latents.device, latents.dtype),
            return_dict=False,
        )[0]

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
        """Run the pipeline on a batch, one seed a prompt; a single negative prompt serves the whole batch."""
        height, width = size or (None, None)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if isinstance(options.get("negative_prompt"), str):
            options["negative_prompt"] = [options["negative_prompt"]] * len(prompts)
        options.setdefault("max_sequence_length", self.prompt_length(pipe))
        with _quiet(pipe):
            return pipe(list(prompts), height=height, width=width, generator=generators, **options).images

    def prompt_length(self, pipe: Any) -> int:
        """T5 tokens of a prompt."""
        declared = getattr(pipe.tokenizer_2, "model_max_length", LONGEST_PROMPT)
        return self.config.max_sequence_length or min(int(min(declared, LONGEST_PROMPT)), LONGEST_PROMPT)


def _double(number: int, block: Any) -> BlockSite:
    attention = block.attn
    return BlockSite(
        name=f"transformer_blocks.{number}",
        kind="double",
        block=block,
        attention=attention,
        queries={"image": attention.norm_q, "text": attention.norm_added_q},
        projections={"image": attention.to_out[0], "text": attention.to_add_out},
        attention_outputs={"image": 0, "text": 1},
        block_outputs={"text": 0, "image": 1},
        heads=attention.heads,
    )


def _single(number: int, block: Any) -> BlockSite:
    return BlockSite(
        name=f"single_transformer_blocks.{number}",
        kind="single",
        block=block,
        attention=block.attn,
        queries={"image": block.attn.norm_q},
        projections={},
        attention_outputs={"image": 0},
        block_outputs={"image": 1},
        heads=block.attn.heads,
    )


def _grid(img_ids: Tensor) -> tuple[int, int]:
    """Rows and columns of the tokens whose first id is 0: Kontext's reference tokens carry 1 and are left out."""
    ids = img_ids[0] if img_ids.ndim == 3 else img_ids
    own = ids[ids[:, 0] == 0]
    return int(own[:, 1].max()) + 1, int(own[:, 2].max()) + 1


@contextmanager
def _quiet(pipe: Any) -> Generator[None]:
    """Silence the pipeline's own bar while ours is shown."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**before | {"disable": True})
    try:
        yield
    finally:
        pipe._progress_bar_config = before
