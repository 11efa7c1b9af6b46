"""DINO scores against transformers' model and a resize by hand, on tiny random towers; batches change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dynaip.config import ComponentSpec
from dynaip.contracts import Case, CaseReference
from dynaip.errors import InputError
from dynaip.registry import registry
from tests.tiny_towers import save

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def build(use: str, model: Path, **options: Any) -> Any:
    return registry().build(ComponentSpec.parse("metric", {"use": use, "model": str(model), **options}))


def picture(seed: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


def case(name: str, *references: Image.Image) -> Case:
    return Case(name, "s", "a star", tuple(CaseReference(each) for each in references), 0)


CASES = [case("1", picture(1)), case("2", picture(2, (60, 44)), picture(3)), case("3")]
IMAGES = [picture(10), picture(11, (50, 40)), picture(12)]


def by_hand(image: Image.Image, short: int, edge: int) -> torch.Tensor:
    """Shorter edge, middle, ImageNet's values: torchvision's Resize and CenterCrop, written out."""
    width, height = (int(short * side / min(image.size)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - edge) // 2, (height - edge) // 2
    values = np.asarray(resized)[top : top + edge, left : left + edge] / 255
    return torch.tensor((values - MEAN) / STD).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("tower", "options", "short", "edge", "column"),
    [
        ("dino", {}, 256, 224, "dino_w24_8"),
        ("dinov2", {}, 36, 32, "dinov2_w24_8"),
        ("dinov2", {"pixels": "protocol"}, 256, 224, "dinov2_w24_8"),
        ("dinov2_registers", {}, 36, 32, "dinov2r_w24_8"),
    ],
)
@torch.no_grad()
def test_equals_transformers(
    tower: str, options: dict[str, Any], short: int, edge: int, column: str, tmp_path: Path
) -> None:
    model = save(tower, tmp_path)
    metric = build("dino", tmp_path, **options)
    assert metric.columns == (column,)
    found = metric.score(CASES, IMAGES)
    sized = {"interpolate_pos_encoding": True} if tower == "dino" else {}

    def seen(image: Image.Image) -> torch.Tensor:
        return model(by_hand(image, short, edge), **sized).last_hidden_state[0, 0]

    for one, image, row in zip(CASES, IMAGES, found, strict=True):
        truth = [float(torch.cosine_similarity(seen(image), seen(each.image), dim=0)) * 100 for each in one.references]
        assert row[column] == pytest.approx(np.mean(truth) if truth else np.nan, abs=2e-3, nan_ok=True)


@pytest.mark.parametrize("use", ["dino", "subjects"])
def test_batches_change_nothing_and_the_record_names_the_model(use: str, tmp_path: Path) -> None:
    save("dinov3", tmp_path)
    region = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    cases = [
        Case(str(k), "s", "", (CaseReference(picture(k), region[0]), CaseReference(picture(k + 9), region[1])), 0)
        for k in range(3)
    ]
    one, many = (build(use, tmp_path, batch_size=size) for size in (1, 64))
    for row, other in zip(one.score(cases, IMAGES), many.score(cases, IMAGES), strict=True):
        assert row == pytest.approx(other, abs=1e-3)
    about = one.about()
    assert about["model"] == str(tmp_path) and about["family"] == "DINOv3" and about["weights"]
    assert about["preprocessing"]["size"] == 32 and about["preprocessing"]["mean"] == pytest.approx(MEAN.tolist())


def test_other_families_are_refused(tmp_path: Path) -> None:
    save("siglip", tmp_path)
    with pytest.raises(
        InputError, match=r"metric dino: model: .* it is a siglip_vision_model, and what can be read is"
    ):
        build("dino", tmp_path)


def test_subjects_that_changed_places(tmp_path: Path) -> None:
    """Two pictures beside each other are found where they stand; with swapped references, the other way round."""
    save("dinov2", tmp_path)
    left, right = picture(1, (32, 32)), picture(2, (32, 32))
    scene = Image.new("RGB", (64, 32))
    scene.paste(left, (0, 0))
    scene.paste(right, (32, 0))
    boxes = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    straight = Case("a", "s", "", (CaseReference(left, boxes[0]), CaseReference(right, boxes[1])), 0)
    crossed = Case("b", "s", "", (CaseReference(right, boxes[0]), CaseReference(left, boxes[1])), 0)
    alone = Case("c", "s", "", (CaseReference(left, boxes[0]),), 0)
    first, second, third = build("subjects", tmp_path).score([straight, crossed, alone], [scene] * 3)
    assert first == pytest.approx({"subjects_own": 100, "subjects_best": 100, "subjects_placed": 1}, abs=1e-3)
    assert second["subjects_best"] == pytest.approx(100, abs=1e-3) and second["subjects_placed"] == 0
    assert second["subjects_own"] < second["subjects_best"] - 0.1 and np.isnan(third["subjects_own"])
