"""Figures against known answers."""

from __future__ import annotations

import pytest
import torch

from dynaip_plugins.microworld.measuring import figures


def test_psnr_of_a_known_error() -> None:
    images = torch.zeros(2, 3, 8, 8)
    assert figures.psnr(images + 0.1, images) == pytest.approx(20.0, abs=0.01)


def test_prompt_following_is_the_mean_over_prompted_attributes() -> None:
    assert figures.prompt_following({"category": 1, "background": 0.5, "place": 1, "size": 0, "main": 0}) == 0.625
