"""Layers of encoders that hold the picture, half of it, or nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from dynaip.config import ComponentSpec
from dynaip.registry import registry
from dynaip_analysis.bench.labels import Labelled
from dynaip_analysis.bench.seen import as_seen
from dynaip_analysis.granularity import layer_figures, layers

PICTURES = 30


class Encoder(nn.Module):
    """Level 0 is the pixels of each patch, level 1 noise, both behind a class token; pixels are normalised oddly."""

    grid = (2, 2)
    levels = {"0": 0, "1": 1}

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def preprocess(self, images: list[Image.Image]) -> Tensor:
        pixels = np.stack([np.asarray(image.resize((8, 8), 0), np.float32) for image in images])
        return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.4) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        patches = nn.functional.unfold(pixels, 4, stride=4).transpose(1, 2)
        seeded = torch.randn(patches.shape, generator=torch.Generator().manual_seed(len(pixels)))
        token = torch.zeros(len(pixels), 1, patches.shape[-1])
        return {"0": torch.cat([token, patches], 1), "1": torch.cat([token, seeded], 1)}


def pictures() -> list[Image.Image]:
    """Four flat quarters, a little noisy: the colour of the first is planted."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 215, size=(PICTURES, 2, 2, 3))
    colours[:, 0, 0] = np.array([[200, 30, 30], [30, 30, 200]])[np.arange(PICTURES) % 2]
    pixels = colours.repeat(4, axis=1).repeat(4, axis=2) + rng.normal(0, 6, size=(PICTURES, 8, 8, 3))
    return [Image.fromarray(each.clip(0, 255).astype(np.uint8)) for each in pixels]


@pytest.fixture(scope="module")
def found() -> layer_figures.Layers:
    groups = np.arange(PICTURES) // 3
    labelled = Labelled(pictures(), {"colour": np.arange(PICTURES) % 2}, {"colour": "specific"}, groups)
    readings = layers.read_layers(Encoder(), labelled.images, layers.held_out(groups), shown=2)
    return layer_figures.Layers(readings, labelled, {"1": "high"})


def test_pixels_come_back_from_the_layer_that_holds_them(found: layer_figures.Layers) -> None:
    held, lost = found.readings["0"], found.readings["1"]
    assert len(held.psnr) == 6
    assert held.psnr.mean() > 40
    assert lost.psnr.mean() < lost.psnr_of_mean.mean() + 0.5
    np.testing.assert_allclose(held.psnr_of_mean, lost.psnr_of_mean)


def test_the_mean_patch_by_hand(found: layer_figures.Layers) -> None:
    held = layers.held_out(found.labelled.groups)
    pixels = np.stack([np.asarray(image, np.float64) / 255 for image in found.labelled.images])
    patches = pixels.reshape(PICTURES, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(PICTURES, 4, -1)
    error = ((patches[held] - patches[~held].mean(axis=(0, 1))) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(found.readings["0"].psnr_of_mean, -10 * np.log10(error), rtol=1e-4)


def test_the_way_back_to_pixels_is_the_ridge_of_sklearn(found: layer_figures.Layers) -> None:
    """On the noise of layer 1, whose way back is not trivial: one that learns from the pictures that are not held out."""
    held = layers.held_out(found.labelled.groups)
    encoder, images = Encoder(), found.labelled.images
    levels = encoder(encoder.preprocess(images))  # one batch, as the pictures pass
    patches = levels["1"][:, 1:].double().numpy()
    pixels = np.stack([np.asarray(image, np.float64) / 255 for image in images])
    targets = pixels.reshape(PICTURES, 2, 4, 2, 4, 3).transpose(0, 1, 3, 5, 2, 4).reshape(PICTURES, 4, -1)
    x = patches[~held].reshape(-1, patches.shape[-1])
    strength = layers.RIDGE * np.trace(np.cov(x.T, bias=True)) / x.shape[1] * len(x)
    ridge = Ridge(alpha=strength).fit(x, targets[~held].reshape(len(x), -1))
    back = ridge.predict(patches[held].reshape(-1, x.shape[1])).reshape(held.sum(), 4, -1)
    expected = -10 * np.log10(((back - targets[held]) ** 2).mean(axis=(1, 2)))
    np.testing.assert_allclose(found.readings["1"].psnr, expected, rtol=1e-3)


def test_colours_are_the_principal_axes_of_sklearn(found: layer_figures.Layers) -> None:
    held = layers.held_out(found.labelled.groups)
    encoder = Encoder()
    patches = encoder(encoder.preprocess(found.labelled.images))["0"][:, 1:].double().numpy()
    x = patches[~held].reshape(-1, patches.shape[-1])
    fitted = PCA(3).fit(x)
    scores = fitted.transform(patches[:2].reshape(8, -1)) / np.sqrt(fitted.explained_variance_ * (len(x) - 1) / len(x))
    signs = np.sign(fitted.components_.sum(axis=1))
    expected = np.clip(0.5 + scores * signs / 5, 0, 1).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(found.readings["0"].colours, expected, atol=1e-3)


def test_the_planted_layer_is_recovered(found: layer_figures.Layers) -> None:
    accuracy = {layer: parts[0].accuracy().value for layer, parts in found.probes().items()}
    assert accuracy["0"] == 1
    assert accuracy["1"] < 0.85


def test_means_of_parts(found: layer_figures.Layers) -> None:
    """Two by two parts of two by two patches are the patches themselves, without the class token."""
    encoder, images = Encoder(), found.labelled.images[:3]
    patches = encoder(encoder.preprocess(images))["0"][:, 1:]
    expected = patches.transpose(1, 2).reshape(3, -1).numpy()
    np.testing.assert_allclose(found.readings["0"].features[:3], expected, atol=1e-6)
    np.testing.assert_allclose(found.readings["0"].means()[:3], patches.mean(dim=1).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.readings["0"].peaks[:3], patches.amax(dim=1).numpy(), atol=1e-6)
    assert found.readings["0"].probed().shape == (PICTURES, 4 * 48 + 48)


def test_like_patches_have_like_colours(found: layer_figures.Layers) -> None:
    colours = found.readings["0"].colours
    assert colours.shape == (2, 2, 2, 3)
    assert colours.min() >= 0 and colours.max() <= 1
    red, blue = colours[0, 0, 0], colours[1, 0, 0]
    assert np.abs(red - blue).max() > 0.2


def test_whole_identities_are_held_out() -> None:
    groups = np.repeat(np.arange(10), 3)
    held = layers.held_out(groups)
    assert held.sum() == 6
    assert not set(groups[held]) & set(groups[~held])
    assert layers.held_out(np.zeros(4, np.int64)).tolist() == [True, False, False, False]


def test_every_layer_of_a_clip(tiny_clip_folder: Path) -> None:
    spec = ComponentSpec.parse("encoder", {"use": "clip", "model": str(tiny_clip_folder), "levels": {"a": 1, "b": 4}})
    dyna = SimpleNamespace(encoder=registry().build(spec), specs=SimpleNamespace(encoder=spec))
    encoder = layers.every_layer(dyna)
    assert list(encoder.levels) == ["0", "1", "2", "3", "4"]
    pixels = encoder.preprocess([Image.new("RGB", (32, 32), "teal")])
    every, own = encoder(pixels), dyna.encoder(pixels)
    assert torch.equal(every["1"], own["a"])
    assert torch.equal(every["4"], own["b"])


def test_figures_and_their_tables(found: layer_figures.Layers, tmp_path: Path) -> None:
    path = layer_figures.draw_layers(tmp_path / "layers.png", found)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert {row["measure"] for row in rows} == {
        "cka", "cka, 95 % of pictures dealt anew", "nearest by instance", "psnr",
    }  # fmt: skip
    psnr = next(row for row in rows if row["measure"] == "psnr" and row["layer"] == "0")
    assert psnr["value"] == pytest.approx(found.readings["0"].psnr.mean())
    path = layer_figures.draw_probes(tmp_path / "probes.png", found, found.probes())
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert [(row["layer"], row["level"], row["factor"]) for row in rows] == [
        ("0", None, "colour"),
        ("1", "high", "colour"),
    ]
    path = layer_figures.draw_colours(tmp_path / "colours.png", found.labelled.images[:2], found)
    assert len(pq.read_table(path.with_suffix(".parquet"))) == 2 * 2 * 4 * 3
    path = layer_figures.draw_neighbours(tmp_path / "neighbours.png", found, 2)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    groups = found.labelled.groups
    assert len(rows) == 2 * 2
    assert all(groups[row["image"]] != groups[row["nearest"]] for row in rows)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_picture_as_the_encoder_sees_it(tiny_clip_folder: Path, fit: str) -> None:
    """A wide one, red on its left half: cropped to its middle, or with bars above and below."""
    spec = ComponentSpec.parse(
        "encoder", {"use": "clip", "model": str(tiny_clip_folder), "levels": {"a": 1}, "fit": fit}
    )
    encoder = registry().build(spec)
    wide = Image.new("RGB", (64, 32), "blue")
    wide.paste("red", (0, 0, 32, 32))
    seen = np.asarray(as_seen(encoder, wide)).astype(int)
    rows, columns = seen.shape[:2]
    assert rows == columns
    middle = seen[rows // 2]
    assert middle[columns // 4, 0] > 240 and middle[3 * columns // 4, 2] > 240
    top = seen[1, columns // 4]
    assert (top[0] > 240 and top[2] < 15) == (fit == "crop")
    square = Image.new("RGB", (20, 20))
    assert as_seen(encoder, square) is square
