"""The base model: a tiny FLUX with its text encoders, trained by flow matching on latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from dynaip.training.plain_attention import PlainAttention

from ..backbones.latents import map_of
from ..backbones.latents import tokens_of as pack
from . import autoencoder, tokens
from .hints import HintHead, Hints, make_hints
from .pool import draw, pixels
from .training import Plan, Progress, Training, save_atomically
from .vocabulary import MAX_TOKENS
from .world import Scene, prompt

TEXT_WIDTH = 128
HEADS, HEAD_WIDTH, AXES = 4, 32, (4, 14, 14)
GRID = 8
PLAN = Plan(steps=9_000, batch_size=48, learning_rate=1e-3, hold=0.6, ema=0.998, warmup=300)
POOL = 65_536
NO_PROMPT, DENSE = 0.1, 0.6
NOISE_SHIFT = 0.5
"""Mean of logit(t): a little towards noise, where colours and shapes are decided."""
HINT_WEIGHT, HINTS_FALL, HINTS_END = 1.0, 0.45, 0.85
"""Weight of the hints; it falls linearly to zero between these shares of the steps."""
CODED_AT_ONCE = 2048


class Base(nn.Module):
    """Transformer and text encoders, called the way FluxPipeline calls them."""

    def __init__(self, double_blocks: int = 4, single_blocks: int = 2) -> None:
        super().__init__()
        size = tokens.vocabulary_size()
        ends = {"pad_token_id": tokens.PAD, "eos_token_id": tokens.END}
        self.clip = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size,
                hidden_size=TEXT_WIDTH,
                intermediate_size=2 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=HEADS,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokens.START,
                **ends,
            )
        )
        self.t5 = T5EncoderModel(
            T5Config(
                vocab_size=size,
                d_model=TEXT_WIDTH,
                d_kv=HEAD_WIDTH,
                d_ff=2 * TEXT_WIDTH,
                num_layers=2,
                num_heads=HEADS,
                relative_attention_num_buckets=16,
                relative_attention_max_distance=MAX_TOKENS,
                dropout_rate=0.0,
                feed_forward_proj="gated-gelu",
                decoder_start_token_id=tokens.PAD,
                **ends,
            )
        )
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * autoencoder.LATENT_CHANNELS,
            num_layers=double_blocks,
            num_single_layers=single_blocks,
            attention_head_dim=HEAD_WIDTH,
            num_attention_heads=HEADS,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            guidance_embeds=False,
            axes_dims_rope=AXES,
        )
        self.head = HintHead(HEADS * HEAD_WIDTH)
        self.features: dict[str, Tensor] = {}
        self.transformer.transformer_blocks[-1].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, given: object, result: tuple[Tensor, Tensor]) -> None:
        self.features["image"] = result[1]

    def forward(self, latents_BTC: Tensor, time_B: Tensor, ids_BX: Tensor) -> Tensor:
        """Velocity of packed latents [B,64,16] at times in [0, 1] under token ids [B,24]."""
        return self.transformer(
            hidden_states=latents_BTC,
            timestep=time_B,
            encoder_hidden_states=self.t5(ids_BX).last_hidden_state,
            pooled_projections=self.clip(ids_BX).pooler_output,
            txt_ids=torch.zeros(ids_BX.shape[1], 3),
            img_ids=image_ids(),
            return_dict=False,
        )[0]


def image_ids(grid: int = GRID) -> Tensor:
    """Row and column of every image token, as FluxPipeline numbers them. [64,3]."""
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def unpack(tokens_BTC: Tensor, grid: int = GRID) -> Tensor:
    """The inverse of `pack`. [B,T,4C] -> [B,C,2*grid,2*grid]."""
    return map_of(tokens_BTC, grid, grid)


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything a step needs, computed once: packed latents and prompts in both forms."""

    latents: Tensor
    plain: Tensor
    dense: Tensor
    hints: Hints

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B,64,16], ids [B,24] (mostly dense, a tenth empty) and hints [B,64,A]."""
        rows = torch.randint(len(self.latents), (size,), generator=generator)
        choice = torch.rand(size, 1, generator=generator)
        ids = torch.where(choice < DENSE, self.dense[rows], self.plain[rows]).long()
        silent = torch.rand(size, 1, generator=generator) < NO_PROMPT
        empty = torch.full((MAX_TOKENS,), tokens.PAD).index_copy(
            0, torch.tensor([0, 1]), torch.tensor([tokens.START, tokens.END])
        )
        return self.latents[rows].float(), torch.where(silent, empty, ids), self.hints.of(rows)


def prompt_ids(scenes: list[Scene], dense: bool) -> Tensor:
    """Ids of the scenes' prompts; dense ones only where they fit. [B,24] int16."""
    texts = [prompt(scene, dense and len(scene.subjects) <= 2) for scene in scenes]
    return tokens.encode(tokens.create(), texts).to(torch.int16)


def packed_latents(vae: AutoencoderKL, scenes: list[Scene]) -> Tensor:
    """Render, encode and pack. [N,64,16] in half precision."""
    parts = []
    for start in range(0, len(scenes), CODED_AT_ONCE):
        images = pixels(scenes[start : start + CODED_AT_ONCE])
        with torch.autocast("cpu", torch.bfloat16):
            latents = autoencoder.encode(vae, images)
        parts.append(pack(latents.float()).half())
    return torch.cat(parts)


def make_pool(vae: AutoencoderKL, seed: int, count: int, file: Path) -> Pool:
    """Draw `count` scenes; their latents come from `file`, which is made first where it is missing."""
    scenes = draw(seed, count)
    if not file.exists():
        save_atomically(packed_latents(vae, scenes), file)
    latents = torch.load(file, weights_only=True)
    return Pool(latents, prompt_ids(scenes, dense=False), prompt_ids(scenes, dense=True), make_hints(scenes))


def flow_loss(model: Base, clean: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Flow matching: x_t = (1-t) x_0 + t eps, target eps - x_0, t logit-normal around NOISE_SHIFT."""
    noise = torch.randn(clean.shape, generator=generator)
    time = torch.sigmoid(torch.randn(len(clean), generator=generator) + NOISE_SHIFT)
    t = time[:, None, None]
    with torch.autocast("cpu", torch.bfloat16), PlainAttention():
        velocity = model((1 - t) * clean + t * noise, time, ids)
    return (velocity.float() - (noise - clean)).square().mean()


def hint_weight(done: float) -> float:
    """Weight of the hints after a share of the steps."""
    return HINT_WEIGHT * min(max((HINTS_END - done) / (HINTS_END - HINTS_FALL), 0), 1)


def train(
    folder: Path,
    vae: AutoencoderKL,
    plan: Plan = PLAN,
    pool: int = POOL,
    progress: Progress | None = None,
    compiled: bool = False,
) -> Base:
    """Train, or go on from the checkpoint in `folder`; returns the averaged model.

    `compiled` costs two minutes at the start and makes every step a quarter faster.
    """
    torch.manual_seed(plan.seed + 11)
    model = Base()
    scenes = make_pool(vae, plan.seed + 12, pool, folder / "base-latents.pt")
    training = Training("base", model, plan, folder)
    if compiled:
        model.transformer.compile(dynamic=False)

    def step(generator: torch.Generator) -> Tensor:
        clean, ids, hints = scenes.batch(plan.batch_size, generator)
        loss = flow_loss(model, clean, ids, generator)
        weight = hint_weight(training.step / plan.steps)
        return loss + weight * model.head(model.features["image"], hints) if weight > 0 else loss

    training.run(step, progress)
    return model
