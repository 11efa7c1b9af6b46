"""Features inside masks against a loop by hand: what is outside of both masks does not matter; no mask, no score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dynaip
from dynaip.config import ComponentConfig, ComponentSpec
from dynaip.contracts import Case, CaseReference, Segmenter
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip.registry import registry
from tests.tiny_towers import KINDS, save


class NoOptions(ComponentConfig):
    """None."""


class Bright(Segmenter):
    """What is bright."""

    def __init__(self, config: NoOptions) -> None: ...

    def masks(self, images: Any, subjects: Any) -> list[Any]:
        return [np.asarray(image).mean(2) > 127 for image in images]


def build(model: Path, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("metric", {"use": "masked", "model": str(model), **options}))


def picture(seed: int, mask: Any) -> Image.Image:
    """Bright noise inside a mask, dark noise outside."""
    rng = np.random.default_rng(seed)
    inside, outside = rng.integers(170, 255, (32, 32, 3)), rng.integers(0, 80, (32, 32, 3))
    return Image.fromarray(np.where(mask[:, :, None], inside, outside).astype(np.uint8))


def mask_of(rows: slice, columns: slice) -> Any:
    mask = np.zeros((32, 32), dtype=bool)
    mask[rows, columns] = True
    return mask


SHOWN, PAINTED = mask_of(slice(0, 16), slice(8, 28)), mask_of(slice(12, 32), slice(0, 8))


def tokens(model: Any, image: Image.Image) -> Any:
    pixels = torch.tensor(np.asarray(image) / 255 * 2 - 1).permute(2, 0, 1)[None].float()
    return KINDS["siglip"].by_hand(model, pixels)[3][0]


def test_equals_a_loop_by_hand(tmp_path: Path) -> None:
    model = save("siglip", tmp_path / "model")
    reference, image = picture(1, SHOWN), picture(2, PAINTED)
    cases = [Case("one", "s", "", (CaseReference(reference, mask=lambda: SHOWN),), 0)]
    (tmp_path / "masks").mkdir()
    Image.fromarray((PAINTED * 255).astype(np.uint8)).save(tmp_path / "masks" / "one.png")
    found = build(tmp_path / "model", masks=str(tmp_path / "masks")).score(cases, [image])

    def mean(of: Image.Image, mask: Any) -> torch.Tensor:
        total, weight = torch.zeros(24), 0.0
        for row in range(4):
            for column in range(4):
                share = float(mask[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].mean())
                total, weight = total + share * tokens(model, of)[row * 4 + column], weight + share
        return total / weight

    truth = float(torch.cosine_similarity(mean(reference, SHOWN), mean(image, PAINTED), dim=0)) * 100
    assert found[0]["masked"] == pytest.approx(truth, abs=1e-2)
    dynaip.register("segmenter", "test_bright", config=NoOptions)(Bright)
    segmented = build(tmp_path / "model", segmenter="test_bright").score(
        [Case("one", "s", "", (CaseReference(reference, subject="star"),), 0)], [image]
    )
    assert segmented[0]["masked"] == pytest.approx(truth, abs=1e-2)


def test_without_a_mask_there_is_no_score(tmp_path: Path) -> None:
    save("siglip", tmp_path / "model")
    (tmp_path / "masks" / "both").mkdir(parents=True)
    Image.fromarray((PAINTED * 255).astype(np.uint8)).save(tmp_path / "masks" / "both" / "2.png")
    known, unknown = CaseReference(picture(1, SHOWN), mask=lambda: SHOWN), CaseReference(picture(1, SHOWN))
    cases = [
        Case("both", "s", "", (unknown, known), 0),
        Case("no-file", "s", "", (known,), 0),
        Case("empty", "s", "", (CaseReference(picture(1, SHOWN), mask=lambda: SHOWN * 0),), 0),
    ]
    metric = build(tmp_path / "model", masks=str(tmp_path / "masks"))
    with pytest.warns(Note, match="2 of 3 cases have no mask of image and reference"):
        values = [row["masked"] for row in metric.score(cases, [picture(2, PAINTED)] * 3)]
    assert np.isfinite(values[0]) and np.isnan(values[1:]).all()
    assert metric.about()["layer"] == 3 and metric.about()["masks"].endswith("masks")


def test_somebody_has_to_say_where_subjects_are(tmp_path: Path) -> None:
    save("siglip", tmp_path)
    with pytest.raises(InputError, match=r"name masks \(a folder\) or segmenter"):
        build(tmp_path)
    with pytest.raises(InputError, match=r"no segmenter named 'sam'"):
        build(tmp_path, segmenter="sam")
