"""What a training step costs over the frozen base's own forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynaip import DynaIP

from .models import Shape, prompt_of
from .timing import Figure, free, in_turn, peak_gib, ratio, timed


def step_of(pipe: Any, dyna: DynaIP, shape: Shape, batch: int, edge: int) -> Callable[[], float]:
    """One step as the trainer takes it, on encodings that are at hand."""
    from dynaip.training.objective import flow_matching_loss, noisy

    device = pipe.transformer.device
    parameters = dyna.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    tokens = (edge // 16) ** 2
    features = {
        level: torch.randn(batch, dyna.encoder.grid[0] * dyna.encoder.grid[1], width, device=device)
        for level, width in dyna.encoder.widths.items()
    }
    clean = torch.randn(batch, tokens, 64, device=device)
    text, keep = prompt_of(shape, pipe, batch), torch.ones(batch, dtype=torch.bool, device=device)
    dtype = pipe.transformer.dtype

    def run() -> None:
        timesteps = torch.rand(batch).clamp(0.05, 0.95)
        noise = torch.randn_like(clean)
        with dyna.training_pass(features, keep):
            velocity = dyna.backbone.velocity(
                pipe, noisy(clean, noise, timesteps.to(device)).to(dtype), timesteps, text, (edge, edge)
            )
            flow_matching_loss(velocity, clean, noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return lambda: timed(run)


def base_of(pipe: Any, shape: Shape, batch: int, edge: int) -> Callable[[], float]:
    """The frozen base alone, forward and backward to its text input."""
    from dynaip.adapter.differentiable import differentiable_attention

    device, dtype = pipe.transformer.device, pipe.transformer.dtype
    like: dict[str, Any] = {"device": device, "dtype": dtype}
    side = edge // 16
    hidden = torch.randn(batch, side * side, 64, **like)
    text: dict[str, Tensor] = prompt_of(shape, pipe, batch)
    embeds = text["prompt_embeds"].requires_grad_()
    ids = pipe._prepare_latent_image_ids(batch, side, side, device, dtype)

    def run() -> None:
        with differentiable_attention(device):
            out = pipe.transformer(
                hidden_states=hidden, encoder_hidden_states=embeds, pooled_projections=text["pooled_prompt_embeds"],
                timestep=torch.full((batch,), 0.5, **like), guidance=torch.ones(batch, **like), img_ids=ids,
                txt_ids=torch.zeros(shape.text, 3, **like), return_dict=False,
            )[0]  # fmt: skip
            out.float().square().mean().backward()
        embeds.grad = None

    return lambda: timed(run)


def steps(pipe: Any, dyna: DynaIP, shape: Shape, rounds: int, edge: int = 512) -> list[Figure]:
    """Batch 1 as it is, and batch 4 with gradient checkpointing, each over the base alike."""
    figures: list[Figure] = []
    edge = min(edge, shape.edge)
    dyna.train()
    for batch, checkpointing, budget in ((1, False, 1.15), (4, True, 1.10)):
        switch = "enable_gradient_checkpointing" if checkpointing else "disable_gradient_checkpointing"
        getattr(pipe.transformer, switch)()
        pipe.transformer.train(checkpointing)
        free()
        sides = {"ours": step_of(pipe, dyna, shape, batch, edge), "base": base_of(pipe, shape, batch, edge)}
        found = in_turn(sides, rounds, warm_up=2)
        how = ", checkpointing" if checkpointing else ""
        figures.append(ratio(f"training step, batch {batch}, {edge} px{how} / base", found, "ours", "base", budget))
        peak = peak_gib()
        figures.append(Figure(f"peak memory, batch {batch}{how}", peak, "GiB", peak, peak))
        pipe.transformer.disable_gradient_checkpointing()
        pipe.transformer.eval()
        del sides
    dyna.eval()
    free()
    return figures
