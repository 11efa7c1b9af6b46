"""FLUX in its true layout without memory (meta tensors), and an adapter whose encoder gives 577 tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dynaip.adapter.model import DynaIP
from dynaip.adapter.parts import Specs
from dynaip.config import AdapterConfig, ComponentConfig, ComponentSpec
from dynaip.contracts import ForwardPass, VisualEncoder
from dynaip.registry import Component, registry
from dynaip_plugins.backbones.flux.config import FluxConfig
from dynaip_plugins.backbones.flux.model import FluxBackbone

TOKENS, WIDTH, TEXT = 577, 1024, 512


class BenchConfig(ComponentConfig):
    """How many tokens a reference has."""

    tokens: int = TOKENS


def patches_of(tokens: int) -> tuple[int, int]:
    """Rows and columns of so many tokens: a square with a class token, or else the rectangle that is nearest to a square."""
    edge = isqrt(tokens - 1)
    if edge * edge == tokens - 1:
        return edge, edge
    rows = max(number for number in range(1, isqrt(tokens) + 1) if tokens % number == 0)
    return rows, tokens // rows


class Encoder577(VisualEncoder):
    """As many tokens as CLIP ViT-L/14-336 gives with its class token, of random values."""

    levels: Mapping[str, int] = {"high": 24}
    widths: Mapping[str, int] = {"high": WIDTH}

    def __init__(self, config: BenchConfig) -> None:
        super().__init__()
        self.tokens, self.grid = config.tokens, patches_of(config.tokens)
        self.anchor = nn.Parameter(torch.zeros(()))

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.zeros(len(images), 3, 1, 1)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"high": torch.randn(len(pixels), self.tokens, WIDTH, device=pixels.device)}

    def signature(self) -> dict[str, Any]:
        return {"model": "bench577"}


class BenchBackbone(FluxBackbone):
    """FLUX whose passes are told from shapes alone: meta tensors have no values to read."""

    def __init__(self, config: BenchConfig) -> None:
        super().__init__(FluxConfig())

    def read_pass(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: str | None
    ) -> ForwardPass:
        batch, tokens, _ = (kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]).shape
        edge = int(tokens**0.5)
        return ForwardPass(batch, (edge, edge), 0.5, False, None, kwargs["encoder_hidden_states"].shape[1])


@pytest.fixture(scope="session")
def make_flux() -> Callable[..., Any]:
    """Make a FLUX.1-dev transformer of so many blocks on a device."""
    from diffusers import FluxTransformer2DModel

    def make(double: int = 19, single: int = 38, device: str = "meta", dtype: torch.dtype = torch.bfloat16) -> Any:
        with torch.device(device):
            model = FluxTransformer2DModel(
                num_layers=double, num_single_layers=single, attention_head_dim=128, num_attention_heads=24,
                joint_attention_dim=4096, pooled_projection_dim=768, guidance_embeds=True,
            )  # fmt: skip
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., dict[str, Any]]:
    """Inputs of one pass over edge x edge image tokens and 512 text tokens."""

    def make(model: Any, edge: int = 64) -> dict[str, Any]:
        parameter = next(model.parameters())
        with torch.device(parameter.device):
            half: dict[str, Any] = {"dtype": parameter.dtype}
            return {
                "hidden_states": torch.randn(1, edge * edge, 64, **half),
                "encoder_hidden_states": torch.randn(1, TEXT, 4096, **half),
                "pooled_projections": torch.randn(1, 768, **half),
                "timestep": torch.full((1,), 0.5, **half),
                "guidance": torch.ones(1, **half),
                "img_ids": torch.zeros(edge * edge, 3, **half),
                "txt_ids": torch.zeros(TEXT, 3, **half),
                "return_dict": False,
            }

    return make


@pytest.fixture(scope="session")
def make_adapter() -> Callable[..., DynaIP]:
    """Make an adapter with tokens of width 2048 for a transformer, not attached."""
    registry().register(Component("encoder", "bench577", Encoder577, BenchConfig), "bench")
    registry().register(Component("backbone", "bench_flux", BenchBackbone, BenchConfig), "bench")
    names: dict[str, Any] = {"backbone": "bench_flux", "fusion": "single_layer"}

    def make(model: Any, decoupling: str = "dynamic", tokens: int = TOKENS) -> DynaIP:
        chosen = {**names, "encoder": {"use": "bench577", "tokens": tokens}, "decoupling": decoupling}
        specs = {kind: ComponentSpec.parse(kind, name) for kind, name in chosen.items()}
        parts = Specs(**specs, adapter=AdapterConfig(token_width=2048))
        with torch.device(next(model.parameters()).device):
            return DynaIP(parts, BenchBackbone(BenchConfig()).signature(model)).eval()

    return make


class Clock:
    """Seconds from ``first`` to the end of ``last`` in one pass of ``model``, hooks of an adapter included.

    On a GPU by CUDA events, elsewhere in seconds of the processor, which other programs do not touch.
    """

    def __init__(self, model: nn.Module, first: nn.Module, last: nn.Module) -> None:
        self.model, self.last = model, last
        self.cuda = next(model.parameters()).device.type == "cuda"
        # The first module's first hook, before those of an adapter.
        first.register_forward_pre_hook(lambda *_: self._mark("start"))
        self.marks: dict[str, Any] = {}

    def _mark(self, name: str) -> None:
        if self.cuda:
            self.marks[name] = torch.cuda.Event(enable_timing=True)
            self.marks[name].record()
        else:
            self.marks[name] = time.process_time()

    def timed(self, inputs: dict[str, Any]) -> float:
        """One pass; the seconds from the first module to the end of the last."""
        # The last module's last hook, after those of an adapter.
        stop = self.last.register_forward_hook(lambda *_: self._mark("end"))
        with torch.no_grad():
            self.model(**inputs)
        stop.remove()
        if self.cuda:
            torch.cuda.synchronize()
            return self.marks["start"].elapsed_time(self.marks["end"]) / 1000
        return self.marks["end"] - self.marks["start"]


@pytest.fixture(scope="session")
def make_clock() -> Callable[..., Clock]:
    """Make a clock around the blocks of a model, before any adapter is attached."""
    return Clock


@pytest.fixture(scope="session")
def machine() -> str:
    """What times are taken on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, bf16, torch {torch.__version__}"
    return f"a CPU with {torch.get_num_threads()} thread(s), fp32, torch {torch.__version__}"


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """Any picture."""
    return Image.new("RGB", (8, 8))
