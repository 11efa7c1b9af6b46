"""The oracle: its region masks, its files, and the one that ships on fresh scenes."""

from __future__ import annotations

import pytest
import torch

from dynaip_plugins.microworld.bundle import ASSETS
from dynaip_plugins.microworld.measuring import figures as measuring
from dynaip_plugins.microworld.models.oracle import QUESTIONS, Oracle, masks
from dynaip_plugins.microworld.models.pixels import unit
from dynaip_plugins.microworld.world.render import paint
from dynaip_plugins.microworld.world.table import draw_table

shipped = pytest.mark.skipif(not (ASSETS / "oracle").is_dir(), reason="no weights in this checkout")


def test_masks_cover_their_boxes() -> None:
    shown = masks([(0, 0, 0.5, 1), (0.25, 0.5, 1, 0.75)], 8)
    assert shown.shape == (2, 1, 8, 8)
    assert shown[0, 0, :, :4].all() and not shown[0, 0, :, 4:].any()
    assert shown[1].sum() == 6 * 2 and shown[1, 0, 4:6, 2:].all()


def test_oracle_survives_its_folder(tmp_path) -> None:
    torch.manual_seed(0)
    oracle = Oracle((4, 8, 8, 8)).eval()
    oracle.save_pretrained(tmp_path)
    again = Oracle.from_pretrained(tmp_path)
    images, boxes = torch.rand(3, 3, 128, 128), [(0.0, 0.0, 1.0, 1.0)] * 3
    first, second = oracle.probabilities(images, boxes), again.probabilities(images, boxes)
    for name, answers in QUESTIONS.items():
        assert first[name].shape == (3, len(answers))
        torch.testing.assert_close(first[name], second[name], atol=2e-3, rtol=0)
        torch.testing.assert_close(first[name].sum(-1), torch.ones(3))


@shipped
def test_shipped_oracle_reads_unseen_identities() -> None:
    oracle = Oracle.from_pretrained(ASSETS / "oracle")
    table = draw_table(4242, 150, "test")
    figures, _ = measuring.agreement(oracle, unit(paint(table)), table)
    assert min(figures.values()) >= 0.97, figures
