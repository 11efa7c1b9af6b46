"""Scenes: splits, words, regions and labels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dynaip_plugins.microworld.models import tokens
from dynaip_plugins.microworld.world.scenes import LAYOUTS, Identity, identities, labels, prompt, region, sample_scene
from dynaip_plugins.microworld.world.vocabulary import ATTRIBUTES, IDENTITY, MAX_TOKENS, PROMPTED, UNPROMPTED


def scenes(count: int, subjects: int, split: str | None = "train", seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, subjects, split) for _ in range(count)]


def test_splits_part_all_identities_and_never_overlap() -> None:
    train, test = set(identities("train")), set(identities("test"))
    assert not train & test
    assert train | test == set(identities())
    assert len(identities()) == 6 * 5 * 4 * 4 * 3
    assert 0.10 < len(test) / len(identities()) < 0.20


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", list(IDENTITY))
def test_every_identity_value_occurs_in_both_splits(split: str, name: str) -> None:
    assert {getattr(identity, name) for identity in identities(split)} == set(IDENTITY[name])


def test_the_split_of_an_identity_is_fixed() -> None:
    """A change here would let shipped models have seen test identities."""
    import zlib

    for who in identities()[::37]:
        key = f"{who.main}/{who.second}/{who.texture}/{who.emblem}/{who.variant}".encode()
        assert (who.split == "test") == (zlib.crc32(key) % 100 < 15)


@pytest.mark.parametrize("subjects", [1, 2, 3, 4])
@pytest.mark.parametrize("split", ["train", "test"])
def test_sampled_scenes_keep_to_their_split(subjects: int, split: str) -> None:
    drawn = scenes(200, subjects, split)
    assert {s.identity.split for scene in drawn for s in scene.subjects} == {split}
    assert all(tuple(s.place for s in scene.subjects) in LAYOUTS[subjects] for scene in drawn)
    assert all(len({s.category for s in scene.subjects}) == subjects for scene in drawn)


def test_the_same_generator_draws_the_same_scenes() -> None:
    assert scenes(50, 2, seed=3) == scenes(50, 2, seed=3)
    assert scenes(50, 2, seed=3) != scenes(50, 2, seed=4)


def test_single_scenes_are_balanced() -> None:
    counts = Counter(scene.subjects[0].category for scene in scenes(3000, 1))
    assert min(counts.values()) > 400


def test_prompt_says_what_is_prompted_and_nothing_else() -> None:
    for scene in scenes(100, 1) + scenes(100, 4):
        said = prompt(scene)
        hidden = {v for values in (*IDENTITY.values(), *UNPROMPTED.values()) for v in values}
        assert not hidden & set(said.replace(",", "").split())
        assert scene.background in said
        for subject in scene.subjects:
            assert f"{subject.size} {subject.category}" in said and subject.place in said


def test_dense_prompt_says_the_identity() -> None:
    scene = scenes(1, 1)[0]
    who = scene.subjects[0].identity
    assert f"{who.main} {scene.subjects[0].category} with {who.second} {who.texture} and a {who.emblem}" in prompt(
        scene, True
    )


@pytest.mark.parametrize(("subjects", "dense"), [(1, False), (1, True), (2, False), (2, True), (3, False), (4, False)])
def test_prompts_survive_the_tokenizer(subjects: int, dense: bool) -> None:
    """Every content word comes back, in order, within the constant length."""
    tokenizer = tokens.create()
    fillers = {"a", "the", "at", "in", "on", "with", "and"}
    for scene in scenes(100, subjects):
        said = prompt(scene, dense)
        ids = tokens.encode(tokenizer, [said])[0]
        content = [word for word in said.replace(",", "").split() if word not in fillers]
        kept = ids[(ids != tokens.PAD)].tolist()
        assert len(ids) == MAX_TOKENS and tokens.UNKNOWN not in kept
        assert (kept[0], kept[-1]) == (tokens.START, tokens.END)
        assert tokenizer.convert_ids_to_tokens(kept[1:-1]) == content


def test_tokenizer_ignores_case_and_punctuation() -> None:
    a, b = tokens.encode(tokens.create(), ["A small STAR, at the left; on snow!", "small star left snow"])
    assert a.tolist() == b.tolist()


def test_regions_of_several_subjects_part_the_image() -> None:
    for subjects in (2, 4):
        for scene in scenes(20, subjects):
            boxes = [region(scene, k) for k in range(subjects)]
            areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
            assert sum(areas) == 1
    assert region(scenes(1, 1)[0], 0) == (0, 0, 1, 1)


def test_labels_name_the_scene() -> None:
    for scene in scenes(20, 3):
        found = labels(scene, 2)
        named = {name: values[found[name]] for name, values in ATTRIBUTES.items()}
        subject = scene.subjects[2]
        assert Identity(*(named[name] for name in IDENTITY)) == subject.identity
        assert named["category"] == subject.category and named["background"] == scene.background
        assert named["posture"] == subject.posture and named["illumination"] == scene.illumination
        assert found["count"] == 2
    assert set(found) == {*IDENTITY, *PROMPTED, *UNPROMPTED, "count"}
