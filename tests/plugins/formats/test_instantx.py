"""InstantX's adapter against its own attention written out: every block, before the output projection, normed keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dynaip import DynaIP, Reference
from dynaip.adapter.exchange import import_run
from dynaip.errors import InputError, MismatchError

Make = Callable[..., Any]


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8))


def paint(pipe: Any) -> Tensor:
    chance = torch.Generator().manual_seed(5)
    return pipe(
        prompt_embeds=torch.randn(1, 7, 24, generator=chance), pooled_prompt_embeds=torch.randn(1, 8, generator=chance),
        height=32, width=48, num_inference_steps=2, output_type="latent", generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip


class Written:
    """One block's attention with the adapter's term in it."""

    def __init__(self, tokens: Tensor, key: Tensor, value: Tensor, scale: float) -> None:
        self.tokens, self.key, self.value, self.scale = tokens, key, value, scale

    def heads(self, flat: Tensor, attn: Any) -> Tensor:
        return flat.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, attention_mask: Any = None,
        image_rotary_emb: Any = None,
    ) -> Any:  # fmt: skip
        query, key, value = (self.heads(to(hidden_states), attn) for to in (attn.to_q, attn.to_k, attn.to_v))
        query, key = attn.norm_q(query), attn.norm_k(key)
        reference = self.heads(self.tokens @ self.key.T, attn)
        reference = reference * torch.rsqrt(reference.pow(2).mean(-1, keepdim=True) + 1e-5)
        weights = (query @ reference.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        term = (weights @ self.heads(self.tokens @ self.value.T, attn)).transpose(1, 2).flatten(2)
        text = 0
        if encoder_hidden_states is not None:
            text = encoder_hidden_states.shape[1]
            added = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            more = [self.heads(to(encoder_hidden_states), attn) for to in added]
            more[0], more[1] = attn.norm_added_q(more[0]), attn.norm_added_k(more[1])
            query, key, value = (torch.cat([a, b], dim=2) for a, b in zip(more, (query, key, value), strict=True))
        query, key = apply_rotary_emb(query, image_rotary_emb), apply_rotary_emb(key, image_rotary_emb)
        out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return out + self.scale * term
        image = attn.to_out[0](out[:, text:] + self.scale * term)
        return image, attn.to_add_out(out[:, :text])


def test_equals_its_own_attention(
    bare_flux_folder: Callable[[int], Path],
    siglip_folder: Path,
    tmp_path: Path,
    load_flux: Make,
    instantx_weights: Make,
) -> None:
    from transformers import SiglipImageProcessor, SiglipVisionModel

    weights, base = instantx_weights(), bare_flux_folder(24)
    torch.save(weights, tmp_path / "ip-adapter.bin")
    import_run(tmp_path / "ip-adapter.bin", "instantx", tmp_path / "run", base=str(base), encoder=str(siglip_folder))
    pipe = load_flux(base)
    bare = paint(pipe)
    dyna = DynaIP.from_pretrained(tmp_path / "run").attach(pipe)
    with dyna.references(Reference(picture(1), scale=0.6)):
        ours = paint(pipe)
    dyna.detach()
    tower = SiglipVisionModel.from_pretrained(siglip_folder).eval()
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})(picture(1), return_tensors="pt").pixel_values
    made = weights["image_proj"]
    with torch.no_grad():
        hidden = F.gelu(F.linear(tower(pixels).pooler_output, made["proj.0.weight"], made["proj.0.bias"]))
        tokens = F.linear(hidden, made["proj.2.weight"], made["proj.2.bias"]).reshape(1, 8, 24)
        tokens = F.layer_norm(tokens, (24,), made["norm.weight"], made["norm.bias"])
    blocks = [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks]
    for number, block in enumerate(blocks):
        pair = [weights["ip_adapter"][f"{number}.to_{part}_ip.weight"] for part in ("k", "v")]
        block.attn.processor = Written(tokens, *pair, 0.6)
    expected = paint(pipe)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (ours - bare).abs().max() > 0.05


class Bomb:
    """What a hostile pickle would run."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/dynaip-exploded"),))


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "a missing tensor": (lambda w: w["ip_adapter"].pop("2.to_v_ip.weight"), InputError, "has no ip_adapter.2.to_v_ip"),
    "a tensor too many": (
        lambda w: w["image_proj"].update(extra=torch.ones(1)),
        InputError,
        "nothing is known of image_proj",
    ),
    "other blocks": (
        lambda w: [w["ip_adapter"].pop(f"4.to_{k}_ip.weight") for k in "kv"],
        MismatchError,
        "blocks = 4, but",
    ),
    "something else": (
        lambda w: w.update(ip_adapter={"hello": torch.ones(1)}),
        InputError,
        "no InstantX IP-Adapter file",
    ),
    "code": (lambda w: w.update(bomb=Bomb()), InputError, "holds more than tensors"),
    "no tensors": (lambda w: w.update(note="hello"), InputError, "note is a str"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_files_are_one_line(
    bare_flux_folder: Callable[[int], Path], siglip_folder: Path, tmp_path: Path, instantx_weights: Make, name: str
) -> None:
    change, error, line = FAULTS[name]
    weights = instantx_weights()
    change(weights)
    torch.save(weights, tmp_path / "ip-adapter.bin")
    with pytest.raises(error, match=line) as caught:
        import_run(
            tmp_path / "ip-adapter.bin", "instantx", tmp_path / "run", base=str(bare_flux_folder(24)),
            encoder=str(siglip_folder),
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert not Path("/tmp/dynaip-exploded").exists()


def test_it_cannot_be_exported_to_diffusers(
    bare_flux_folder: Callable[[int], Path], siglip_folder: Path, tmp_path: Path, instantx_weights: Make
) -> None:
    from dynaip.adapter.exchange import export_run

    torch.save(instantx_weights(), tmp_path / "ip-adapter.bin")
    folder = tmp_path / "run"
    import_run(
        tmp_path / "ip-adapter.bin", "instantx", folder, base=str(bare_flux_folder(24)), encoder=str(siglip_folder)
    )
    with pytest.raises(InputError) as caught:
        export_run(folder, "diffusers", tmp_path / "out")
    for property_ in ("adapter.site projection", "adapter.single_stream all_tokens", "adapter.key_norm",
                      "encoder siglip_embedding", "fusion.hidden 24", "fusion.tokens 8"):  # fmt: skip
        assert property_ in str(caught.value)
    assert not (tmp_path / "out").exists()
