"""Pixels: determinism and what each attribute does to them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynaip_plugins.microworld.world.render import CENTRES, RGB, SIZE, render
from dynaip_plugins.microworld.world.scenes import Identity, Scene, Subject, region, sample_scene
from dynaip_plugins.microworld.world.shapes import EMBLEM_CENTRES, EMBLEMS, SILHOUETTES
from dynaip_plugins.microworld.world.vocabulary import IDENTITY, PROMPTED, UNPROMPTED


def scene(**changes: str) -> Scene:
    who = Identity(
        changes.pop("main", "red"),
        changes.pop("second", "blue"),
        changes.pop("texture", "halves"),
        changes.pop("emblem", "disc"),
        changes.pop("variant", "first"),
    )
    around = {"background": changes.pop("background", "snow"), "illumination": changes.pop("illumination", "from left")}
    subject = Subject("house", who, "middle", "large", "upright", "front")
    return Scene((replace(subject, **changes),), **around, jitter=7)


def test_rendering_is_deterministic_and_independent_of_the_batch() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, n) for n in (1, 2, 3, 4) * 4]
    together = render(scenes)
    assert together.shape == (16, SIZE, SIZE, 3) and together.dtype == np.uint8
    assert (together == render(scenes)).all()
    alone = np.concatenate([render([one]) for one in scenes])
    assert hashlib.sha256(alone.tobytes()).digest() == hashlib.sha256(together.tobytes()).digest()


@pytest.mark.parametrize("name", list({**IDENTITY, **PROMPTED, **UNPROMPTED}))
def test_every_value_of_an_attribute_looks_different(name: str) -> None:
    values = {**IDENTITY, **PROMPTED, **UNPROMPTED}[name]
    if name == "place":
        values = values[:5]
    images = render([scene(**{name: value}) for value in values if (name, value) != ("second", "red")])
    for i in range(len(images)):
        for j in range(i):
            assert np.abs(images[i].astype(int) - images[j]).mean() > 1.0, (values[i], values[j])


def test_a_subject_changes_only_its_own_slot() -> None:
    """The pixels outside a subject's region do not depend on it."""
    rng = np.random.default_rng(2)
    for subjects in (2, 3, 4):
        whole = sample_scene(rng, subjects)
        other = replace(whole.subjects[0], size="small", posture="upright", perspective="side")
        changed = replace(whole, subjects=(other, *whole.subjects[1:]))
        left, top, right, bottom = (round(SIZE * edge) for edge in region(whole, 0))
        difference = np.abs(render([whole])[0].astype(int) - render([changed])[0]).sum(-1)
        inside = difference[top:bottom, left:right].sum()
        assert inside > 0 and inside >= 0.97 * difference.sum()


def test_a_subject_stands_where_it_should() -> None:
    """The centre of mass of the saturated pixels lies on the named side of grey snow."""
    for place in ("left", "right", "top", "bottom", "middle"):
        image = render([scene(place=place, category="drop")])[0].astype(int)
        weight = (image.max(-1) - image.min(-1) > 40).astype(float)
        y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE * 2 - 1
        side, height = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
        wanted = np.array(CENTRES[place])
        assert np.abs(np.array([side, height]) - wanted * 0.28).max() < 0.15, place


def test_the_main_colour_is_shown() -> None:
    for colour in RGB:
        image = render([scene(main=colour, second="blue" if colour != "blue" else "red", category="mug")])[0]
        distance = np.abs(image.astype(float) - np.array(RGB[colour])).sum(-1)
        assert (distance < 90).sum() > 400, colour


def test_light_brightens_its_side() -> None:
    for light, axis, first_brighter in (("from left", 1, True), ("from right", 1, False), ("from above", 0, True)):
        image = render([scene(illumination=light, main="green", second="cyan")])[0].mean(-1)
        first, second = np.split(image, 2, axis=axis)
        assert (first.mean() > second.mean()) == first_brighter


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("name", list(SILHOUETTES))
def test_silhouettes_are_signed_distances_of_about_unit_size(name: str, form: int) -> None:
    """Inside at the emblem, outside beyond the unit square, and never steeper than a distance."""
    v, u = np.mgrid[-1.5:1.5:301j, -1.5:1.5:301j].astype(np.float32)
    field = SILHOUETTES[name][form](torch.from_numpy(u), torch.from_numpy(v)).numpy()
    x, y = EMBLEM_CENTRES[name][form]
    assert field[round((y + 1.5) * 100), round((x + 1.5) * 100)] < -0.2
    step = 3 / 300
    slope = np.hypot(*np.gradient(field, step))
    assert np.quantile(slope, 0.99) < 1.35
    assert (field[np.maximum(np.abs(u), np.abs(v)) > 1.2] > 0).all()
    assert 0.9 < (field < 0).mean() * 9 < 3.0


@pytest.mark.parametrize("name", list(EMBLEMS))
def test_emblems_fit_the_unit_disc(name: str) -> None:
    v, u = np.mgrid[-2:2:201j, -2:2:201j].astype(np.float32)
    field = EMBLEMS[name](torch.from_numpy(u), torch.from_numpy(v)).numpy()
    assert (field[np.hypot(u, v) > 1.15] > 0).all()
