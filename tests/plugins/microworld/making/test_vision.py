"""The tower's loss: captions that are equal are right together, and the projection of images stays what it was,
patches are told apart in the middle, and detail is dropped at the end."""

from __future__ import annotations

import math

import pytest
import torch

from dynaip_plugins.microworld.making import vision


def test_equal_captions_are_right_together() -> None:
    """Two pairs of images share a caption: a perfect match of each pair costs log 2, the choice between equals."""
    ids = torch.tensor([[1, 2], [1, 2], [3, 4], [3, 4]])
    rows = torch.eye(2).repeat_interleave(2, 0)
    assert vision.contrast(rows, rows, ids, torch.tensor(100.0)).item() == pytest.approx(math.log(2), abs=1e-4)
    assert vision.contrast(rows, rows.flip(0), ids, torch.tensor(100.0)).item() > 50


def test_the_projection_of_images_is_the_identity_and_stays_it() -> None:
    learner = vision.Learner()
    learner(torch.rand(3, 3, 128, 128) * 2 - 1, torch.tensor([[2, 5, 3] + [0] * 21] * 3)).backward()
    projection = learner.clip.visual_projection.weight
    assert torch.equal(projection, torch.eye(len(projection))) and projection.grad is None
    assert learner.clip.text_projection.weight.grad is not None


def test_a_batch_is_made_of_images_alike() -> None:
    torch.manual_seed(0)
    groups = torch.randint(5, (300,)) * 7
    rows = vision.alike(groups, 100)
    assert len(rows) == 100
    for part in groups[rows].split(vision.ALIKE):
        assert len(part.unique()) == 1
    seen = torch.cat([vision.alike(groups, 100) for _ in range(60)])
    assert len(seen.unique()) == 300


def test_trunk_and_top_are_the_towers_own_layers() -> None:
    learner, images = vision.Learner(), torch.rand(2, 3, 128, 128)
    torch.manual_seed(1)
    trunk = learner.trunk(images)
    torch.manual_seed(1)
    states = learner.clip.vision_model(pixel_values=vision.augment(images), output_hidden_states=True).hidden_states
    torch.testing.assert_close(trunk, states[vision.DETAILED], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(learner.top(trunk), states[-1], atol=1e-5, rtol=1e-5)


def test_what_is_told_apart_is_counted_by_direction_and_not_by_size() -> None:
    """Pairs that differ in one of eight directions by chance cost two eighths, however small that direction is."""
    torch.manual_seed(0)
    one, direction = torch.randn(20_000, 8), torch.tensor([1.0, -1.0] * 4)
    assert vision.told(one, one).item() == pytest.approx(0, abs=1e-5)
    assert vision.told(one, torch.randn(20_000, 8)).item() == pytest.approx(
        14 / 8, abs=0.03
    )  # the norm takes one direction
    rest = one - (one @ direction)[:, None] * direction / 8
    for size in (0.05, 0.5):
        pair = (rest + size * torch.randn(len(one), 1) * direction for _ in range(2))
        assert vision.told(*pair).item() == pytest.approx(2 / 8, abs=0.03)


def test_a_patch_is_found_among_those_of_other_images() -> None:
    """Four patches of two images: each has two strangers to be told from, and equal features cost log 3."""
    owner = torch.tensor([0, 0, 1, 1])
    same = torch.ones(4, 5)
    assert vision.itself(same, same, owner).item() == pytest.approx(math.log(3), abs=1e-5)
    own = torch.eye(4)
    right = -math.log(math.exp(vision.COLDNESS) / (math.exp(vision.COLDNESS) + 2))
    assert vision.itself(own, own, owner).item() == pytest.approx(right, abs=1e-5)
    crossed = own[[1, 0, 2, 3]]
    assert vision.itself(own, crossed, owner).item() > 0.3
