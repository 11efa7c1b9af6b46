"""Microworld's pairs: one subject in two contexts, identities of the train split, the same for the same index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dynaip.config import ComponentSpec
from dynaip.registry import registry
from dynaip_plugins.microworld.world.vocabulary import IDENTITY


def build(**options: Any) -> Any:
    return registry().build(ComponentSpec.parse("source", {"use": "microworld", **options}))


def test_cross_pairs_share_the_subject_alone() -> None:
    source = build(size=200)
    contexts = []
    for index in range(200):
        reference, target = source.scenes(index)
        one, other = reference.subjects[0], target.subjects[0]
        assert (one.identity, one.category) == (other.identity, other.category)
        assert one.identity.split == "train"
        contexts.append(reference.background == target.background)
    assert 0.05 < np.mean(contexts) < 0.3


def test_self_pairs_are_one_image() -> None:
    pair = build(pairs="self")[3]
    assert pair.reference.tobytes() == pair.target.tobytes()


def test_prompts_never_say_the_identity() -> None:
    source = build()
    words = {word for values in IDENTITY.values() for value in values for word in value.split()}
    for index in range(50):
        assert not words & set(source[index].prompt.replace(",", "").split())


def test_same_index_same_pair() -> None:
    one, other = build(seed=4)[17], build(seed=4)[17]
    assert one.id == other.id
    assert one.prompt == other.prompt
    assert one.reference.tobytes() == other.reference.tobytes()
    assert build(seed=5)[17].target.tobytes() != one.target.tobytes()
    with pytest.raises(IndexError):
        build(size=3)[3]
