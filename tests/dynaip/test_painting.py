"""What is not finite never becomes a picture, and the line says why; sizes and options are judged before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from dynaip import Reference
from dynaip.errors import InputError, NotFinite, PluginError
from dynaip.painting import paint

Make = Callable[..., Any]
REFERENCE = Reference(Image.linear_gradient("L").convert("RGB"))


def painted(pipe: Any, dyna: Any, **options: Any) -> Any:
    given = {"seeds": [3], "options": {"num_inference_steps": 1}, "dyna": dyna, "references": [REFERENCE]}
    return paint(pipe, dyna.backbone, ["a star"], **given | options)


@torch.no_grad()
def break_one(module: torch.nn.Module, value: float) -> None:
    next(module.parameters()).flatten()[0] = value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["vae", "transformer", "text_encoder_2"])
def test_damaged_weights_are_named(adapter: Make, tiny_flux: Any, part: str, value: float) -> None:
    dyna = adapter()
    module = getattr(tiny_flux, part)
    break_one(module.decoder if part == "vae" else module, value)
    with pytest.raises(InputError, match=f"not finite .*with the seed 3: the weights {part}\\.") as caught:
        painted(tiny_flux, dyna)
    assert caught.value.exit_code == 2


def test_a_number_out_of_proportion_is_named(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    options = {"num_inference_steps": 1, "true_cfg_scale": 1e38, "negative_prompt": ""}
    with pytest.raises(InputError, match=r"lower true_cfg_scale = 1e\+38"):
        painted(tiny_flux, dyna, options=options)
    tiny_flux.vae.decoder.register_forward_hook(lambda module, args, output: output * float("inf"))
    strong = Reference(REFERENCE.image, scale=1000)
    with pytest.raises(InputError, match=r"lower the scale of reference of type Image = 1000"):
        painted(tiny_flux, dyna, references=[strong])


def test_without_a_cause_that_the_user_gave_it_is_no_mistake_of_theirs(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    handle = tiny_flux.vae.decoder.register_forward_hook(lambda module, args, output: output * float("inf"))
    with pytest.raises(NotFinite, match="another dtype") as caught:
        painted(tiny_flux, dyna)
    assert caught.value.exit_code == 1
    handle.remove()
    (image,) = painted(tiny_flux, dyna)
    assert image.size == (64, 64)
    assert not tiny_flux.vae.decoder._forward_hooks


def test_sizes_and_options_that_there_are_not(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter()
    with pytest.raises(InputError, match=r"size: 60 x 64 cannot be painted; .*multiples of 8, e.g. 64 x 64"):
        painted(tiny_flux, dyna, size=(60, 64))
    with pytest.raises(InputError, match=r"no option num_inference_stps\. Did you mean num_inference_steps"):
        painted(tiny_flux, dyna, options={"num_inference_stps": 1})


def test_a_backbone_that_gives_something_else(adapter: Make, tiny_flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dyna = adapter()
    for given, line in (([], "0 images for 1"), (["a"], "must be a PIL image, not str"), (None, "NoneType for 1")):
        monkeypatch.setattr(dyna.backbone, "generate", lambda *args, given=given, **options: given)
        with pytest.raises(PluginError, match=f"backbone FluxBackbone: .*{line}"):
            painted(tiny_flux, dyna)
