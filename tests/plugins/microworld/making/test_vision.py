"""The tower's loss: captions that are equal are right together, and the projection of images stays what it was."""

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
