"""Probes: what is planted is read, what is not is not; pooling keeps to the patches that the subject covers."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from dynaip_plugins.microworld.measuring.probes import accuracy, layers_of
from dynaip_plugins.microworld.models import dino, vision
from dynaip_plugins.microworld.models.pixels import signed
from dynaip_plugins.microworld.world.render import owners, paint
from dynaip_plugins.microworld.world.table import draw_table


def test_probe_reads_what_is_planted_and_nothing_else() -> None:
    torch.manual_seed(0)
    answers, hidden = torch.randint(4, (2, 800))
    features = torch.randn(800, 24) + 3 * torch.eye(24)[answers]
    halves = (features[:400], features[400:])
    assert accuracy(halves[0], answers[:400], halves[1], answers[400:], 4) > 0.95
    assert accuracy(halves[0], hidden[:400], halves[1], hidden[400:], 4) == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("tower", [vision, dino])
def test_every_layer_gives_one_normalised_row_a_scene(tower: ModuleType) -> None:
    torch.manual_seed(0)
    seen = layers_of(tower.create().eval(), draw_table(0, 5, "test", {1: 1.0}))
    assert seen.shape == (tower.LAYERS + 1, 5, tower.WIDTH)
    torch.testing.assert_close(seen.mean(-1), torch.zeros(tower.LAYERS + 1, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.var(-1, correction=0), torch.ones(tower.LAYERS + 1, 5), atol=2e-2, rtol=0)


@torch.no_grad()
def test_the_layers_of_dino_are_those_of_a_loop_by_hand() -> None:
    torch.manual_seed(0)
    tower, table = dino.create().eval(), draw_table(0, 2, "test", {1: 1.0})
    tower.layernorm.weight.normal_()
    tokens = tower.embeddings(signed(paint(table)))
    for layer in tower.encoder.layer:
        tokens = layer(tokens)
    own = owners(table, 8)[0] == 0
    last = tokens[0, 1:][own].mean(0)
    torch.testing.assert_close(layers_of(tower, table)[-1, 0], torch.nn.functional.layer_norm(last, last.shape))
