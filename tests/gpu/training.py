"""What a training step costs over the frozen base's own forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynaip import DynaIP
from dynaip.config import TrainingConfig
from dynaip.training.memory import CONTEXT

from .models import Bench, Shape, make_pipeline, prompt_of
from .timing import Clock, Figure, Measure, free, in_turn, number, peak_gib, ratio, seconds, timed


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


def measures(bench: Bench) -> list[Measure]:
    """Batch 1 as it is, and batch 4 with gradient checkpointing."""
    return [
        Measure("training, batch 1", 14, lambda clock: steps(bench, clock, 1, checkpointing=False, budget=1.15)),
        Measure("training, batch 4", 24, lambda clock: steps(bench, clock, 4, checkpointing=True, budget=1.10), 8),
    ]


def steps(bench: Bench, clock: Clock, batch: int, *, checkpointing: bool, budget: float) -> list[Figure]:
    """A step over the base's alike; memory that was planned for it beside what it took."""
    pipe, dyna, shape = bench.pipe, bench.dyna, bench.shape
    transformer, edge = pipe.transformer, min(512, shape.edge)
    switch = "enable_gradient_checkpointing" if checkpointing else "disable_gradient_checkpointing"
    getattr(transformer, switch)()
    transformer.train(checkpointing)
    dyna.train()
    free()
    try:
        ours = step_of(pipe, dyna, shape, batch, edge)
        ours()  # makes the optimizer's moments
        ours()
        peak = peak_gib()
        sides = {"ours": ours, "base": base_of(pipe, shape, batch, edge)}
        found = in_turn(sides, bench.rounds, clock)
    finally:
        transformer.disable_gradient_checkpointing()
        transformer.eval()
        dyna.eval()
        for parameter in dyna.parameters():
            parameter.grad = None
    how = f"batch {batch}, {edge} px" + (", checkpointing" if checkpointing else "")
    return [
        ratio(f"training step, {how} / base", found, "ours", "base", budget),
        seconds(f"training step, {how}", found["ours"]),
        number(f"memory of a step, {how}: largest", peak, "GiB"),
        number(f"memory of a step, {how}: planned", planned(bench, batch, edge, checkpointing) / 2**30, "GiB"),
    ]


def planned(bench: Bench, batch: int, edge: int, checkpointing: bool) -> int:
    """Bytes that a plan of this training says, but for the context, which torch does not count."""
    from dynaip.contracts import Skeleton
    from dynaip.training.plan import TrainingPlan, Weights
    from dynaip.training.traced import trace

    pipe, like = make_pipeline(bench.shape, torch.device("meta"), bench.pipe.transformer.dtype), bench.dyna
    with torch.device("meta"):
        dyna = DynaIP(like.specs, like.model_signature, encoder=like.encoder).attach(pipe)
    text = {name: each[:1].to("meta") for name, each in prompt_of(bench.shape, bench.pipe, 1).items()}
    step = trace(Skeleton(pipe, text, 64, lambda size: (size[0] // 16) * (size[1] // 16)), dyna, (edge, edge), 1)
    dyna.detach()
    trained = sum(each.numel() for each in like.trainable_parameters())
    settings = TrainingConfig.model_validate({"steps": 1, "batch_size": batch, "precision": "bf16", "cache": False})
    base, tower = Weights.of(pipe.transformer), Weights.of(like.encoder)
    plan = TrainingPlan(base, Weights(0, 0), tower, trained, "fp32", settings, {}, step, (edge, edge), 0)
    return plan.training(checkpointing=checkpointing) - CONTEXT
