"""What people do beside the adapter: LoRA, compiled blocks, other dtypes, offload, quantised loading; and wrong uses."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dynaip import Reference
from dynaip.config import ComponentSpec
from dynaip.contracts import Backbone
from dynaip.errors import DynaIPError, InputError, MismatchError, MissingDependency
from dynaip.registry import registry
from tests.plugins.backbones.test_matrix import PROMPTS, SIZE, first_call, picture
from tests.tiny_models import spread

Load = Callable[..., tuple[Backbone, Any]]
Make = Callable[..., Any]
MODELS = ["flux", "sd3", "sd3.5-medium", "qwen_image", "flux2-klein"]
LAYERS = ["to_q", "to_k", "to_out.0", "add_q_proj", "to_add_out"]
SITES = [("sd3", "attention"), ("sd3", "projection"), *((name, "attention") for name in MODELS if name != "sd3")]


def output(backbone: Backbone, pipe: Any, *references: Any, dyna: Any = None) -> Tensor:
    """The transformer's answer in a run of one step."""
    if dyna is None:
        return first_call(backbone, pipe)[1]
    with dyna.references(*references):
        return first_call(backbone, pipe)[1]


def add_lora(pipe: Any) -> None:
    from peft import LoraConfig

    torch.manual_seed(5)
    pipe.transformer.add_adapter(LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False), "style")


@pytest.mark.parametrize(("name", "site"), SITES)
def test_lora_before_and_after_attaching(fresh: Load, attached: Make, name: str, site: str) -> None:
    """Loaded after attaching equals loaded before; taken away, everything is as it was."""
    pytest.importorskip("peft", reason="LoRA in diffusers needs peft")
    backbone, pipe = fresh(name)
    base = output(backbone, pipe)
    dyna = attached(backbone, pipe, site=site)
    plain = output(backbone, pipe, Reference(picture()), dyna=dyna)
    add_lora(pipe)
    after = output(backbone, pipe, Reference(picture()), dyna=dyna)
    with_lora = output(backbone, pipe)
    dyna.detach()
    assert torch.equal(output(backbone, pipe), with_lora)
    before = attached(backbone, pipe, site=site)
    assert torch.equal(output(backbone, pipe, Reference(picture()), dyna=before), after)
    assert not torch.allclose(after, plain, atol=1e-3)
    assert not torch.allclose(after, with_lora, atol=1e-3)
    pipe.transformer.fuse_lora()
    torch.testing.assert_close(output(backbone, pipe, Reference(picture()), dyna=before), after, atol=1e-4, rtol=1e-3)
    pipe.transformer.unfuse_lora()
    pipe.transformer.delete_adapters("style")
    pipe.transformer.unload_lora()
    torch.testing.assert_close(output(backbone, pipe, Reference(picture()), dyna=before), plain, atol=1e-4, rtol=1e-3)
    before.detach()
    torch.testing.assert_close(output(backbone, pipe), base, atol=1e-5, rtol=1e-4)


def test_compiled_blocks(fresh: Load, attached: Make) -> None:
    """A block compiled as one graph, before the adapter comes, whose query comes from a projection: the same numbers."""
    backbone, pipe = fresh("sd3")
    dyna = attached(backbone, pipe)
    plain = output(backbone, pipe, Reference(picture()), dyna=dyna)
    dyna.detach()
    pipe.transformer.transformer_blocks[1].compile(backend="eager", fullgraph=True)
    output(backbone, pipe)
    again = attached(backbone, pipe)
    torch.testing.assert_close(output(backbone, pipe, Reference(picture()), dyna=again), plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODELS)
def test_types_of_the_base(fresh: Load, attached: Make, name: str, dtype: torch.dtype) -> None:
    backbone, pipe = fresh(name, dtype)
    dyna = attached(backbone, pipe)
    base = output(backbone, pipe)
    personal = output(backbone, pipe, Reference(picture()), dyna=dyna)
    assert personal.dtype == base.dtype == dtype
    assert torch.isfinite(personal).all()
    assert not torch.equal(personal, base)
    assert torch.equal(output(backbone, pipe), base)


@pytest.mark.parametrize("name", MODELS)
def test_quantised_linears(fresh: Load, attached: Make, name: str) -> None:
    """Weights of eight bits, packed by torchao: the adapter stays as it is and still acts."""
    pytest.importorskip("torchao", reason="quantised linears need torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    backbone, pipe = fresh(name)
    plain = output(backbone, pipe)
    quantize_(pipe.transformer, Int8WeightOnlyConfig())
    base = output(backbone, pipe)
    assert not torch.equal(base, plain)
    dyna = attached(backbone, pipe)
    assert not torch.allclose(output(backbone, pipe, Reference(picture()), dyna=dyna), base, atol=1e-3)
    dyna.detach()
    assert torch.equal(output(backbone, pipe), base)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offload(fresh: Load, attached: Make, name: str, offload: str) -> None:
    if not torch.accelerator.is_available():
        pytest.skip("offloading moves parts to an accelerator, and this machine has none")
    backbone, pipe = fresh(name)
    dyna = attached(backbone, pipe)
    plain = output(backbone, pipe, Reference(picture()), dyna=dyna)
    getattr(pipe, offload)()
    moved = output(backbone, pipe, Reference(picture()), dyna=dyna)
    torch.testing.assert_close(moved.cpu(), plain, atol=1e-3, rtol=1e-2)


# -- loading -----------------------------------------------------------------------------------------------------------


def backbone_of(use: str, **options: Any) -> Backbone:
    return registry().build(ComponentSpec.parse("backbone", {"use": use} | options))


@pytest.mark.parametrize(
    ("use", "loader"),
    [("flux", "FluxPipeline"), ("sd3", "StableDiffusion3Pipeline"), ("qwen_image", "DiffusionPipeline"),
     ("flux2", "DiffusionPipeline")],
)  # fmt: skip
def test_options_of_loading_reach_diffusers(monkeypatch: pytest.MonkeyPatch, use: str, loader: str) -> None:
    import diffusers

    seen: dict[str, Any] = {}

    class Asked(Exception):
        pass

    def from_pretrained(where: Any, **options: Any) -> Any:
        seen.update(options, where=where)
        raise Asked

    monkeypatch.setattr(getattr(diffusers, loader), "from_pretrained", from_pretrained)
    monkeypatch.setattr(diffusers, "PipelineQuantizationConfig", dict)
    backbone = backbone_of(
        use, model="some/model", revision="v2", variant="fp16", device_map="balanced",
        quantization={"backend": "quanto", "options": {"weights_dtype": "int8"}},
    )  # fmt: skip
    with pytest.raises(Asked):
        backbone.load(device="cpu", dtype=torch.bfloat16)
    assert seen == {
        "where": "some/model",
        "dtype": torch.bfloat16,
        "revision": "v2",
        "variant": "fp16",
        "device_map": "balanced",
        "use_safetensors": True,
        "quantization_config": {
            "quant_backend": "quanto",
            "quant_kwargs": {"weights_dtype": "int8"},
            "components_to_quantize": ["transformer"],
        },
    }


@pytest.mark.parametrize("quantizer", ["bitsandbytes_4bit", "nonsense"])
def test_quantisation_that_cannot_be_had_is_one_line(
    tiny_folder: Callable[[str], Path], quantizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffusers.quantizers.bitsandbytes.bnb_quantizer.is_bitsandbytes_available", lambda: False)
    backbone = backbone_of("flux", model=str(tiny_folder("flux")), quantization={"backend": quantizer})
    with pytest.raises((InputError, MissingDependency)) as caught:
        backbone.load(device="cpu", dtype=torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_weights_that_are_pickled_alone_are_one_line(
    tiny_folder: Callable[[str], Path], tmp_path: Path, part: str
) -> None:
    """A pickle may run code when it is opened, and this one would leave a mark."""
    folder, mark = shutil.copytree(tiny_folder("flux"), tmp_path / "flux"), tmp_path / "mark"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    (folder / part / f"{name}.safetensors").unlink()
    pickled = "pytorch_model.bin" if part == "text_encoder" else f"{name}.bin"
    (folder / part / pickled).write_bytes(pickle.dumps({"weight": Trap()}))
    with pytest.raises(InputError, match=rf"no file named {name}\.safetensors") as caught:
        backbone_of("flux", model=str(folder)).load(device="cpu", dtype=torch.float32)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("use", "folder"), [("sd3", "flux"), ("flux", "sd3"), ("qwen_image", "flux2-klein"), ("flux2", "qwen_image")]
)
def test_the_folder_of_another_family_is_one_line(tiny_folder: Callable[[str], Path], use: str, folder: str) -> None:
    with pytest.raises(InputError) as caught:
        backbone_of(use, model=str(tiny_folder(folder))).load(device="cpu", dtype=torch.float32)
    assert "\n" not in str(caught.value)


# -- SD3's single batch --------------------------------------------------------------------------------------------------


def test_two_prompts_from_one_seed_are_not_taken_for_guidance(loaded: Load, attached: Make) -> None:
    """Without guidance both halves of the batch hold the same noise, and both see the reference."""
    backbone, pipe = loaded("sd3")
    dyna = attached(backbone, pipe)
    rows: list[list[int]] = []
    with dyna.observe(lambda event: rows.append(event.samples.tolist())), dyna.references(Reference(picture())):
        backbone.generate(
            pipe, PROMPTS, seeds=[1, 1], size=SIZE, guidance_scale=1.0, num_inference_steps=1, output_type="latent"
        )
    assert rows
    assert all(seen == [0, 1] for seen in rows)


def test_skipped_layers_guide_with_the_reference(loaded: Load, attached: Make) -> None:
    """SD3.5's extra pass without some layers is a positive pass: it sees the reference."""
    backbone, pipe = loaded("sd3.5-medium")
    dyna = attached(backbone, pipe)
    blocks: list[int] = []
    with dyna.observe(lambda event: blocks.append(event.block)), dyna.references(Reference(picture())):
        backbone.generate(
            pipe, PROMPTS[:1], seeds=[1], size=SIZE, guidance_scale=3.0, num_inference_steps=2, output_type="latent",
            skip_guidance_layers=[1], skip_layer_guidance_start=0.0, skip_layer_guidance_stop=1.0,
        )  # fmt: skip
    assert set(blocks) == {0, 1, 2}
    assert blocks.count(1) < blocks.count(0)


def perturbing(pipe: Any) -> Any:
    import diffusers

    parts = {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
    made = diffusers.StableDiffusion3PAGPipeline(**parts, pag_applied_layers="transformer_blocks.1")
    made.set_progress_bar_config(disable=True)
    return made


def rows_of(dyna: Any, pipe: Any, **options: Any) -> list[tuple[int, int]]:
    """Positive and negative rows of every pass of a run with two prompts, each with a reference of its own."""
    events: list[Any] = []
    with dyna.observe_passes(events.append), dyna.references([Reference(picture())], [Reference(picture())]):
        pipe(PROMPTS, height=SIZE[0], width=SIZE[1], num_inference_steps=1, output_type="latent", max_sequence_length=16,
             **options)  # fmt: skip
    return [(event.call.batch, event.call.negative_rows) for event in events]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_perturbed_rows_are_refused_in_one_line(fresh: Load, untrained: Make, guidance: float) -> None:
    backbone, pipe = fresh("sd3")
    dyna = untrained(backbone, pipe.transformer).attach(
        pipe
    )  # whichever pipeline it is attached to, the one that calls counts
    with pytest.raises(
        InputError, match=r"^StableDiffusion3PAGPipeline runs perturbed rows .* set pag_scale=0"
    ) as caught:
        rows_of(dyna, perturbing(pipe), guidance_scale=guidance, pag_scale=2.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, (2, 0)), (3.0, (2, 2))])
def test_rows_are_read_from_the_pipeline_that_calls(
    loaded: Load, attached: Make, guidance: float, rows: tuple[int, int]
) -> None:
    """Two pipelines share a transformer, and the adapter is attached to the one that guides otherwise."""
    backbone, pipe = loaded("sd3")
    other = perturbing(pipe)
    dyna = attached(backbone, pipe)
    assert rows_of(dyna, pipe, guidance_scale=4.0 - guidance) != [rows]
    assert rows_of(dyna, other, guidance_scale=guidance, pag_scale=0.0) == [rows]


def test_a_pipeline_that_does_not_tell_is_one_line(loaded: Load, attached: Make) -> None:
    from diffusers import DiffusionPipeline

    class Community(DiffusionPipeline):
        def __init__(self, transformer: Any) -> None:
            super().__init__()
            self.register_modules(transformer=transformer)

        def __call__(self, given: dict[str, Any]) -> Any:
            return self.transformer(**given)[0]

    backbone, pipe = loaded("sd3")
    calls: list[dict[str, Any]] = []
    handle = pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )
    backbone.generate(
        pipe, PROMPTS, seeds=[1, 1], size=SIZE, guidance_scale=1.0, num_inference_steps=1, output_type="latent"
    )
    handle.remove()
    dyna = attached(backbone, pipe)
    with torch.no_grad(), dyna.references(Reference(picture())):
        with pytest.raises(InputError, match=r"^Community does not tell whether it guides"):
            Community(pipe.transformer)(calls[0])
        by_hand = pipe.transformer(**calls[0])[0]
    base = pipe.transformer(**calls[0])[0]
    assert not any(torch.allclose(one, other, atol=1e-4) for one, other in zip(by_hand, base, strict=True))


def test_fused_projections_that_leave_the_norm_out_are_one_line(fresh: Load, untrained: Make) -> None:
    """SD3.5 has a norm of its query, and diffusers' fused processor does not run it."""
    backbone, pipe = fresh("sd3.5-large")
    dyna = untrained(backbone, pipe.transformer).attach(pipe)
    pipe.transformer.fuse_qkv_projections()
    with pytest.raises(InputError, match=r"^transformer_blocks\.0: .*unfuse_qkv_projections\(\) first$"):
        output(backbone, pipe, Reference(picture()), dyna=dyna)
    pipe.transformer.unfuse_qkv_projections()
    base = output(backbone, pipe)
    assert not torch.allclose(output(backbone, pipe, Reference(picture()), dyna=dyna), base, atol=1e-3)


def test_fused_projections_without_a_norm_are_one_line(fresh: Load, untrained: Make) -> None:
    backbone, pipe = fresh("sd3")
    dyna = untrained(backbone, pipe.transformer)
    pipe.transformer.fuse_qkv_projections()
    with pytest.raises(InputError, match=r"unfuse_qkv_projections\(\) first"):
        dyna.attach(pipe)
    pipe.transformer.unfuse_qkv_projections()
    base = output(backbone, pipe)
    dyna.attach(pipe)
    assert not torch.allclose(output(backbone, pipe, Reference(picture()), dyna=dyna), base, atol=1e-3)


# -- wrong uses ----------------------------------------------------------------------------------------------------------


def test_an_adapter_of_another_family(loaded: Load, untrained: Make) -> None:
    backbone, pipe = loaded("sd3")
    dyna = untrained(backbone, pipe.transformer)
    for other in ("flux", "qwen_image", "flux2"):
        with pytest.raises(InputError, match=r"^backbone sd3: \w+ is no SD3 transformer$"):
            dyna.attach(loaded(other)[1])


def test_an_adapter_of_another_width(loaded: Load, untrained: Make) -> None:
    import diffusers

    backbone, pipe = loaded("sd3")
    dyna = untrained(backbone, pipe.transformer)
    config = dict(pipe.transformer.config) | {"num_attention_heads": 4, "caption_projection_dim": 64}
    wider = diffusers.SD3Transformer2DModel.from_config(config)
    spread(wider)
    with pytest.raises(MismatchError, match=r"^the adapter was trained for backbone.heads = 2, but this one has 4$"):
        dyna.attach(wider)


def wrong(dyna: Any, backbone: Backbone, pipe: Any, *references: Any) -> DynaIPError:
    with pytest.raises(DynaIPError) as caught, dyna.references(*references):
        first_call(backbone, pipe)
    assert "\n" not in str(caught.value)
    return caught.value


def test_wrong_uses_are_one_line_each(loaded: Load, attached: Make, untrained: Make) -> None:
    backbone, pipe = loaded("qwen_image")
    dyna = attached(backbone, pipe)
    with pytest.raises(InputError, match="attached already"):
        dyna.attach(pipe)
    with pytest.raises(InputError, match="another DynaIP adapter is attached"):
        untrained(backbone, pipe.transformer).attach(pipe)
    one = Reference(picture(), region=(0.0, 0.0, 0.5, 0.5))
    assert "3 prompts, but the batch holds 2 images" in str(wrong(dyna, backbone, pipe, [one], [one], [one]))
    with pytest.raises(InputError, match="lies outside the image"):
        Reference(picture(), region=(0.0, 0.0, 1.5, 0.5))
    with pytest.raises(InputError, match=r"has 11 references; the adapter allows 10"):
        dyna.references(*[Reference(picture())] * 11).__enter__()
