"""What a backbone's config says without loading a model: which sizes there are. The truth is what the pipeline can do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaip.config import ComponentSpec
from dynaip.contracts import Backbone
from dynaip.errors import InputError
from dynaip.sizes import check_size
from tests import tiny_models

ONE_OF_EACH = ["flux", "sd3", "qwen_image", "flux2", "flux2-klein"]


def config_of(name: str, model: str) -> Any:
    return ComponentSpec.parse("backbone", {"use": tiny_models.FAMILIES[name][0], "model": model}).config


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_sizes_are_judged_as_the_pipeline_judges_them(
    name: str, tiny_folder: Callable[[str], Path], loaded: Callable[[str], tuple[Backbone, Any]]
) -> None:
    config = config_of(name, str(tiny_folder(name)))
    _, pipe = loaded(name)
    latents = pipe.vae_scale_factor
    assert config.size_multiple() == latents * getattr(pipe, "patch_size", 2)
    edge = config.size_multiple()
    check_size(config, (2 * edge, 3 * edge), "--size")
    with pytest.raises(InputError, match=f"multiples of {edge}, e.g. {2 * edge} x {3 * edge}") as caught:
        check_size(config, (2 * edge, 3 * edge + 1), "--size")
    assert str(caught.value).startswith("--size: ")


def test_microworld_and_models_that_are_not_here() -> None:
    assert config_of("flux", "microworld").size_multiple() == 16
    for name in ONE_OF_EACH:
        assert config_of(name, "nobody/has-this-one").size_multiple() == 16


def test_enormous_sizes_and_configs_without_a_rule() -> None:
    with pytest.raises(InputError, match="more than 64 megapixels"):
        check_size(config_of("flux", "microworld"), (8000, 8008), "--size")
    check_size(object(), (17, 3), "--size")
    with pytest.raises(InputError, match="from 1 up"):
        check_size(config_of("flux", "microworld"), (0, 64), "size")


def test_sd3_has_places_for_so_many_tokens(
    tiny_folder: Callable[[str], Path], loaded: Callable[[str], tuple[Backbone, Any]]
) -> None:
    config = config_of("sd3", str(tiny_folder("sd3")))
    backbone, pipe = loaded("sd3")
    longest = pipe.transformer.config.pos_embed_max_size * config.size_multiple()
    for width, fits in ((longest, True), (longest + config.size_multiple(), False)):
        size = (config.size_multiple(), width)
        if fits:
            check_size(config, size, "--size")
            assert backbone.generate(pipe, ["a star"], seeds=[0], size=size, num_inference_steps=1)[0].width == width
        else:
            with pytest.raises(InputError, match=f"no edge may be longer than {longest}"):
                check_size(config, size, "--size")
            with pytest.raises(ValueError, match="pos_embed_max_size"):
                backbone.generate(pipe, ["a star"], seeds=[0], size=size, num_inference_steps=1)
