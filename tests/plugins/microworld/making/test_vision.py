"""The tower's loss: captions that are equal are right together, and the projection of images stays what it was,
and crops are told half-way."""

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


def test_a_crop_is_a_part_of_its_own_image() -> None:
    """An image whose channels say where a pixel lies shows what was cut out: a square, straight, inside, not too small."""
    torch.manual_seed(0)
    row = (torch.arange(128) + 0.5) / 64 - 1
    image = torch.stack([row.expand(128, 128), row[:, None].expand(128, 128), torch.zeros(128, 128)])
    cut = vision.crop(image.expand(64, -1, -1, -1))
    sides = [cut[:, channel].amax((1, 2)) - cut[:, channel].amin((1, 2)) for channel in (0, 1)]
    torch.testing.assert_close(*sides, atol=0.03, rtol=0)
    assert sides[0].min() >= 2 * vision.SMALLEST - 0.05 and sides[0].max() <= 2 and sides[0].std() > 0.1
    torch.testing.assert_close(cut[:, 0, :1].expand(-1, 128, -1), cut[:, 0], atol=1e-5, rtol=0)


def test_a_batch_is_made_of_images_alike() -> None:
    torch.manual_seed(0)
    groups = torch.randint(5, (300,)) * 7
    rows = vision.alike(groups, 100)
    assert len(rows) == 100
    for part in groups[rows].split(vision.ALIKE):
        assert len(part.unique()) == 1
    seen = torch.cat([vision.alike(groups, 100) for _ in range(60)])
    assert len(seen.unique()) == 300


def test_half_way_is_the_towers_own_layer() -> None:
    learner, images = vision.Learner(), torch.rand(2, 3, 128, 128)
    torch.manual_seed(1)
    found = learner.half_way(images)
    torch.manual_seed(1)
    states = learner.clip.vision_model(pixel_values=vision.augment(images), output_hidden_states=True).hidden_states
    torch.testing.assert_close(found, states[vision.HALF_WAY], atol=1e-5, rtol=1e-5)
