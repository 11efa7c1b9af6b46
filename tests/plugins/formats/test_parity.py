"""The same XLabs weights in diffusers' own FLUX IP-Adapter and in ours: the same pipeline, seeds and references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from dynaip import DynaIP, Reference
from dynaip.adapter.exchange import export_run, import_adapter, import_run

Make = Callable[..., Any]
WIDTHS = {4: 24, 16: 4096}
"""Tokens -> width of prompts and tokens; diffusers knows 16 tokens by a projection of 65,536 rows."""


def picture(seed: int, size: tuple[int, int] = (40, 56)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


def paint(pipe: Any, size: tuple[int, int], seed: int = 3, **options: Any) -> Tensor:
    chance = torch.Generator().manual_seed(5)
    wide = pipe.transformer.config.joint_attention_dim
    return pipe(
        prompt_embeds=torch.randn(1, 7, wide, generator=chance),
        pooled_prompt_embeds=torch.randn(1, 8, generator=chance),
        height=size[0], width=size[1], num_inference_steps=2, output_type="latent",
        generator=torch.Generator().manual_seed(seed), **options,
    ).images  # fmt: skip


def theirs(pipe: Any, files: list[Path], clip: Path, scales: Any, size: Any, pictures: list[Image.Image]) -> Tensor:
    pipe.load_ip_adapter(
        [str(file.parent) for file in files], weight_name=[file.name for file in files],
        image_encoder_pretrained_model_name_or_path=str(clip), image_encoder_dtype=torch.float32,
    )  # fmt: skip
    pipe.set_ip_adapter_scale(scales)
    return paint(pipe, size, ip_adapter_image=pictures if len(files) > 1 else pictures[0])


@pytest.mark.parametrize("size", [(32, 32), (16, 48)], ids=["square", "wide"])
@pytest.mark.parametrize("adapters", [1, 2])
@pytest.mark.parametrize("tokens", WIDTHS)
def test_equals_diffusers(
    bare_flux_folder: Callable[[int], Path], clip_projection_folder: Path, tmp_path: Path, load_flux: Make,
    xlabs_weights: Make, tokens: int, adapters: int, size: tuple[int, int],
) -> None:  # fmt: skip
    """To 1e-5 with a scale for every layer and adapter; the scale is not lost, and neither is the reference."""
    base, file = bare_flux_folder(WIDTHS[tokens]), tmp_path / "ip_adapter.safetensors"
    save_file(xlabs_weights(tokens, WIDTHS[tokens]), file)
    pictures = [picture(number) for number in range(adapters)]
    layers = [[0.9, 0.2, 0.6], [0.3, 0.8, 0.5]][:adapters]
    expected = theirs(
        load_flux(base),
        [file] * adapters,
        clip_projection_folder,
        layers if adapters > 1 else layers[0],
        size,
        pictures,
    )
    pipe = load_flux(base)
    bare = paint(pipe, size)
    dyna = import_adapter(file, "xlabs", base=str(base), encoder=str(clip_projection_folder)).attach(pipe)
    with dyna.references(*map(Reference, pictures)):
        plain = paint(pipe, size)
        with dyna.intervene(lambda branch, block, progress: [each[block] for each in layers]):
            given = paint(pipe, size)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)
    assert (given - bare).abs().max() > 0.05
    assert (given - plain).abs().max() > 0.01


@pytest.mark.parametrize(("width", "tokens"), [(24, (4, 4)), (4096, (16, 4))])
def test_two_different_adapters_equal_diffusers(
    bare_flux_folder: Callable[[int], Path], clip_projection_folder: Path, tmp_path: Path, load_flux: Make,
    xlabs_weights: Make, width: int, tokens: tuple[int, int],
) -> None:  # fmt: skip
    """Attached beside each other, each with weights, tokens, a reference and scales of its own."""
    base, size, layers = bare_flux_folder(width), (48, 16), [[0.7, 0.1, 0.9], [0.4, 1.1, 0.0]]
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for number, file in enumerate(files):
        save_file(xlabs_weights(tokens[number], width, seed=20 + number), file)
    pictures = [picture(31, (33, 47)), picture(32, (64, 20))]
    expected = theirs(load_flux(base), files, clip_projection_folder, layers, size, pictures)
    pipe = load_flux(base)
    bare = paint(pipe, size)
    one, other = (import_adapter(file, "xlabs", base=str(base), encoder=str(clip_projection_folder)) for file in files)
    one.attach(pipe)
    other.attach(pipe, beside=True)
    assert torch.equal(paint(pipe, size), bare)
    with one.references(Reference(pictures[0])), other.references(Reference(pictures[1])):
        with one.intervene(lambda branch, block, progress: layers[0][block]):
            without = paint(pipe, size)
            with other.intervene(lambda branch, block, progress: layers[1][block]):
                given = paint(pipe, size)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)
    assert (given - without).abs().max() > 0.01
    one.detach()
    other.detach()
    assert torch.equal(paint(pipe, size), bare)


def test_export_gives_diffusers_the_same_adapter(
    bare_flux_folder: Callable[[int], Path], clip_projection_folder: Path, tmp_path: Path, load_flux: Make,
    xlabs_weights: Make,
) -> None:  # fmt: skip
    base, file = bare_flux_folder(24), tmp_path / "xlabs.safetensors"
    save_file(xlabs_weights(4, 24, seed=7), file)
    import_run(file, "xlabs", tmp_path / "run", base=str(base), encoder=str(clip_projection_folder))
    pipe = load_flux(base)
    dyna = DynaIP.from_pretrained(tmp_path / "run").attach(pipe)
    with dyna.references(Reference(picture(1), scale=0.7)):
        ours = paint(pipe, (32, 48))
    written = export_run(tmp_path / "run", "diffusers", tmp_path / "out")
    expected = theirs(load_flux(base), [written], clip_projection_folder, 0.7, (32, 48), [picture(1)])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
