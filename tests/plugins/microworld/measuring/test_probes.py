"""Probes: what is planted is read, what is not is not; pooling keeps to the patches that the subject covers."""

from __future__ import annotations

import pytest
import torch

from dynaip_plugins.microworld.measuring.probes import accuracy, layers_of
from dynaip_plugins.microworld.models.vision import LAYERS, WIDTH, create
from dynaip_plugins.microworld.world.table import draw_table


def test_probe_reads_what_is_planted_and_nothing_else() -> None:
    torch.manual_seed(0)
    answers, hidden = torch.randint(4, (2, 800))
    features = torch.randn(800, 24) + 3 * torch.eye(24)[answers]
    halves = (features[:400], features[400:])
    assert accuracy(halves[0], answers[:400], halves[1], answers[400:], 4) > 0.95
    assert accuracy(halves[0], hidden[:400], halves[1], hidden[400:], 4) == pytest.approx(0.25, abs=0.08)


def test_every_layer_gives_one_normalised_row_a_scene() -> None:
    torch.manual_seed(0)
    seen = layers_of(create().eval(), draw_table(0, 5, "test", {1: 1.0}))
    assert seen.shape == (LAYERS + 1, 5, WIDTH)
    torch.testing.assert_close(seen.mean(-1), torch.zeros(LAYERS + 1, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.var(-1, correction=0), torch.ones(LAYERS + 1, 5), atol=2e-2, rtol=0)
