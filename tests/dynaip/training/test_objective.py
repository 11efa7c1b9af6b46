"""Flow matching against the formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

from dynaip.config import TrainingConfig
from dynaip.training.objective import draw, flow_matching_loss, learning_rate, mixed, noisy, sample_timesteps


def settings(**changes: float) -> TrainingConfig:
    return TrainingConfig.model_validate({"steps": 100, "batch_size": 4} | changes)


def test_loss_by_hand() -> None:
    clean = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]])
    noise = torch.tensor([[[3.0, 0.0]], [[1.0, 1.0]]])
    t = torch.tensor([0.25, 0.5])
    assert torch.equal(noisy(clean, noise, t), torch.tensor([[[1.5, 1.5]], [[0.5, 0.0]]]))
    velocity = torch.tensor([[[2.0, 0.0]], [[1.0, 5.0]]])
    # eps - x_0 = (2, -2), (1, 2); errors 0, 2, 0, 3
    assert float(flow_matching_loss(velocity, clean, noise)) == pytest.approx((4 + 9) / 4)


def test_the_true_velocity_leads_from_noise_to_image() -> None:
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    t, shorter = torch.tensor([0.9, 0.4]), torch.tensor([0.7, 0.1])
    moved = noisy(clean, noise, t) + (shorter - t).view(-1, 1, 1) * (noise - clean)
    torch.testing.assert_close(moved, noisy(clean, noise, shorter))
    assert float(flow_matching_loss(noise - clean, clean, noise)) == 0


def test_chances_depend_on_seed_and_number_alone() -> None:
    shape = torch.Size([4, 5, 6])
    one = draw(settings(), shape, number=7)
    torch.rand(100)
    again = draw(settings(), shape, number=7)
    for name in ("timesteps", "noise", "drop_prompt", "keep_reference"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    for other in (draw(settings(), shape, number=8), draw(settings(seed=1), shape, number=7)):
        assert not torch.equal(one.noise, other.noise)


def test_seeds_do_not_collide() -> None:
    made = {mixed(seed, step, rank) for seed in range(5) for step in range(2000) for rank in range(4)}
    assert len(made) == 5 * 2000 * 4


def test_shares_of_dropped_conditions() -> None:
    many = draw(settings(drop_prompt=0.1, drop_reference=0.3), torch.Size([20_000, 1, 1]), number=0)
    assert float(many.drop_prompt.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(many.keep_reference.float().mean()) == pytest.approx(0.7, abs=0.015)
    both = (many.drop_prompt & ~many.keep_reference).float().mean()
    assert float(both) == pytest.approx(0.03, abs=0.005), "drawn independently"
    none = draw(settings(drop_prompt=0, drop_reference=0), torch.Size([500, 1, 1]), number=0)
    assert not none.drop_prompt.any()
    assert none.keep_reference.all()
    every = draw(settings(drop_prompt=1, drop_reference=1), torch.Size([500, 1, 1]), number=0)
    assert every.drop_prompt.all()
    assert not every.keep_reference.any()


def test_distributions_of_timesteps() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = sample_timesteps("sigmoid_normal", 50_000, generator)
    logits = torch.logit(normal.double())
    assert float(logits.mean()) == pytest.approx(0, abs=0.02)
    assert float(logits.std()) == pytest.approx(1, abs=0.02)
    uniform = sample_timesteps("uniform", 50_000, generator)
    assert [float((uniform < edge).float().mean()) for edge in (0.1, 0.5, 0.9)] == pytest.approx(
        [0.1, 0.5, 0.9], abs=0.01
    )
    shifted = sample_timesteps("shifted", 50_000, generator, shift=3.0)
    # P(3u / (1 + 2u) < 1/2) = P(u < 1/4)
    assert float((shifted < 0.5).float().mean()) == pytest.approx(0.25, abs=0.01)
    for drawn in (normal, uniform, shifted):
        assert float(drawn.min()) >= 0
        assert float(drawn.max()) < 1


def test_learning_rate_rises_stays_and_falls() -> None:
    made = settings(learning_rate=2.0, warmup=4, decay=0.1)
    assert [learning_rate(made, step) for step in (0, 1, 3, 4, 50, 90)] == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert learning_rate(made, 95) == pytest.approx(1.0)
    assert 0 < learning_rate(made, 99) < 0.25
    plain = settings(learning_rate=2.0)
    assert {learning_rate(plain, step) for step in range(100)} == {2.0}
    assert not any(math.isnan(learning_rate(made, step)) for step in range(100))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_schedules_are_those_of_diffusers_step_by_step(schedule: str) -> None:
    from diffusers.optimization import get_scheduler

    settings = TrainingConfig.model_validate(
        {"steps": 40, "batch_size": 1, "learning_rate": 3e-3, "warmup": 5, "schedule": schedule}
    )
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-3)
    theirs = get_scheduler(schedule, optimizer, num_warmup_steps=5, num_training_steps=40)
    for step in range(40):
        # polynomial ends at 1e-7 whatever the rate, which ours scales
        assert learning_rate(settings, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=2e-7)
        optimizer.step()
        theirs.step()
    with pytest.raises(ValueError, match="falls by itself"):
        TrainingConfig.model_validate({"steps": 4, "batch_size": 1, "schedule": schedule, "decay": 0.5})
