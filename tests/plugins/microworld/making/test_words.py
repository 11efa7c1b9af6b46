"""Ids of prompts and captions against sentences that the tokenizer reads."""

from __future__ import annotations

import pytest
import torch

from dynaip_plugins.microworld.making import words
from dynaip_plugins.microworld.models import tokens
from dynaip_plugins.microworld.world.scenes import prompt
from dynaip_plugins.microworld.world.table import draw_table
from dynaip_plugins.microworld.world.vocabulary import FORMS, IDENTITY


@pytest.mark.parametrize("dense", [False, True])
def test_prompts_are_what_the_tokenizer_reads(dense: bool) -> None:
    table = draw_table(0, 120, mixture={1: 0.5, 2: 0.5})
    sentences = [prompt(scene, dense) for scene in table.scenes()]
    assert torch.equal(words.prompt_ids(table, dense), tokens.encode(tokens.create(), sentences))


def test_the_empty_prompt_is_what_the_tokenizer_reads() -> None:
    assert torch.equal(words.empty_ids(), tokens.encode(tokens.create(), [""])[0])


def test_captions_say_of_single_scenes_what_people_say() -> None:
    """Category and ground always, everything else as often as planned, and nothing that the scene does not show."""
    torch.manual_seed(0)
    table = draw_table(1, 3000, None, {1: 1.0})
    read = tokens.create().convert_ids_to_tokens
    captions = [set(read(row[row > tokens.END].tolist())) for row in words.caption_ids(table)]
    scenes = table.scenes()
    assert all(
        {scene.subjects[0].category, scene.background} <= said for scene, said in zip(scenes, captions, strict=True)
    )
    for name in ("main", "texture", "emblem"):
        own = [getattr(scene.subjects[0].identity, name) in said for scene, said in zip(scenes, captions, strict=True)]
        assert sum(own) / 3000 == pytest.approx(words.CAPTIONED[name], abs=0.03), name
    forms = [bool(set(FORMS[scene.subjects[0].category]) & said) for scene, said in zip(scenes, captions, strict=True)]
    assert sum(forms) / 3000 == pytest.approx(words.CAPTIONED["variant"], abs=0.02)
    foreign = {word for values in FORMS.values() for word in values}
    for scene, said in zip(scenes, captions, strict=True):
        who = scene.subjects[0].identity
        assert said & set(IDENTITY["main"]) <= {who.main, who.second}
        assert said & foreign <= {FORMS[scene.subjects[0].category][IDENTITY["variant"].index(who.variant)]}
