"""The second tower's questions: hidden patches are not seen, pixels are told where they belong, and both questions teach."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynaip_plugins.microworld.making import dino
from dynaip_plugins.microworld.making.loop import Schedule
from dynaip_plugins.shared.towers import load_tower


def test_pixels_of_a_patch_are_those_of_the_picture() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 128, 128)
    cut = images[1, :, 16:32, 48:64].flatten()
    expected = (cut - cut.mean()) / (cut.var(correction=0) + 1e-2).sqrt()
    torch.testing.assert_close(dino.patches(images)[1, 8 + 3], expected)


@torch.no_grad()
def test_what_is_hidden_is_not_seen_and_the_rest_is() -> None:
    torch.manual_seed(0)
    learner, images = dino.Learner().eval(), torch.rand(1, 3, 128, 128)
    places = torch.arange(8)[None]  # the first row of patches
    before = learner.seen(images, places)
    images[:, :, 16:] = 0
    assert torch.equal(learner.seen(images, places), before)
    images[:, :, :16, 112:] = 0
    assert not torch.allclose(learner.seen(images, places), before)
    whole = learner.tower(images).last_hidden_state
    torch.testing.assert_close(learner.seen(images, torch.arange(64)[None]), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pixels_are_told_for_the_places_that_are_hidden() -> None:
    """With nothing but places to go by, what is told moves with the place: order among the hidden ones is only order."""
    torch.manual_seed(0)
    learner, tokens = dino.Learner().eval(), torch.randn(1, dino.VISIBLE, dino.WIDTH)
    order = torch.randperm(dino.PATCHES)[None]
    turned = torch.cat([order[:, : dino.VISIBLE], order[:, dino.VISIBLE :].flip(1)], 1)
    told = learner.completed(tokens, order)
    assert told.shape == (1, dino.PATCHES - dino.VISIBLE, 3 * 16 * 16)
    torch.testing.assert_close(learner.completed(tokens, turned).flip(1), told, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(told[:, 0], told[:, 1])


def test_both_questions_teach_the_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is the match of crops and the error in pixels; each alone reaches the patches' weights."""
    torch.manual_seed(0)
    learner, images = dino.Learner(), torch.rand(4, 3, 128, 128) * 2 - 1
    kernel = learner.tower.embeddings.patch_embeddings.projection.weight

    def asked(weight: float, match: bool) -> tuple[float, float]:
        monkeypatch.setattr(dino, "PIXEL_WEIGHT", weight)
        if not match:
            monkeypatch.setattr(dino, "contrast", lambda *given: given[0].sum() * 0)
        learner.zero_grad()
        torch.manual_seed(1)
        loss = learner(images)
        loss.backward()
        return loss.item(), kernel.grad.abs().sum().item()

    match, reached = asked(0, True)
    both, _ = asked(1, True)
    error, reached_too = asked(1, False)
    assert both == pytest.approx(match + error, rel=1e-3) and reached > 0 and reached_too > 0


def test_a_trained_tower_is_read_as_any_other(tmp_path: Path) -> None:
    from dynaip_plugins.microworld.models.dino import LAYERS
    from dynaip_plugins.microworld.models.vision import save_tower

    schedule = Schedule(steps=2, batch_size=4, learning_rate=1e-3, warmup=1)
    model = dino.train(tmp_path, schedule, pool=8)
    save_tower(model, tmp_path / "dino")
    tower = load_tower(str(tmp_path / "dino"), families=["dinov2"])
    assert (tower.depth, tower.width, tower.edge, tower.prefix) == (LAYERS, dino.WIDTH, 8, 1)
    assert list(tower.preprocessing.mean) == [0.5] * 3
