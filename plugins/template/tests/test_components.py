"""The components by themselves: shapes, and values that can be computed by hand."""

from __future__ import annotations

import pytest
import torch
from dynaip_acme.config import FadedConfig, GatedConfig, PatchConfig
from dynaip_acme.decoupling import FadedPolicy
from dynaip_acme.encoder import PatchEncoder
from dynaip_acme.fusion import GatedFusion
from PIL import Image

from dynaip.errors import InputError


def test_untrained_gates_are_even_and_a_coefficient_shifts_them() -> None:
    fusion = GatedFusion(GatedConfig(), widths={"low": 3, "high": 5}, dim=4)
    levels = {"low": torch.randn(2, 6, 3), "high": torch.randn(2, 6, 5)}
    fused = fusion(levels)
    assert fused.tokens.shape == (2, 6, 4)
    by_hand = (fusion.experts["low"](levels["low"]) + fusion.experts["high"](levels["high"])) / 2
    torch.testing.assert_close(fused.tokens, by_hand)
    shifted = fusion(levels, coefficients={"low": 3.0})
    assert shifted.weights is not None
    torch.testing.assert_close(shifted.weights[0, 0], torch.tensor([0.75, 0.25]))


def test_coefficients_that_leave_no_level_are_refused() -> None:
    fusion = GatedFusion(GatedConfig(), widths={"low": 3, "high": 5}, dim=4)
    levels = {"low": torch.randn(2, 6, 3), "high": torch.randn(2, 6, 5)}
    with pytest.raises(InputError, match="all of low, high are 0"):
        fusion(levels, coefficients={"low": 0.0, "high": 0.0})
    alone = fusion(levels, coefficients={"low": 0.0}).tokens
    torch.testing.assert_close(alone, fusion.experts["high"](levels["high"]))


def test_patches_are_average_colours() -> None:
    encoder = PatchEncoder(PatchConfig(rows=4))
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 64))
    assert not list(encoder.parameters()), "colours need no weights"
    low = encoder(encoder.preprocess([image]))["low"].reshape(4, 4, 3)
    torch.testing.assert_close(low[0, 0], torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(low[0, 3], torch.tensor([-1.0, -1.0, 1.0]))


@pytest.mark.parametrize(("progress", "text"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (0.9, 0.0)])
def test_the_text_branch_fades(progress: float, text: float) -> None:
    weights = FadedPolicy(FadedConfig(until=0.5)).weights("inference", block=0, blocks=4, progress=progress)
    assert (weights.image, weights.text) == (1.0, text)
