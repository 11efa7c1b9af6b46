"""Adapters on disk: a round trip, and refusals that name the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dynaip
from dynaip import DynaIP, Reference
from dynaip.errors import InputError, MismatchError

Make = Callable[..., Any]
PICTURE = Image.new("RGB", (8, 8), "red")


def test_round_trip(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    dyna = adapter(decoupling="coupled")
    dyna.save_pretrained(tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == ["adapter.safetensors", "config.json"]
    dyna.detach()
    for where in (tmp_path, tmp_path / "adapter"):
        again = DynaIP.from_pretrained(where)
        for (name, one), (_, other) in zip(dyna.state_dict().items(), again.state_dict().items(), strict=True):
            assert torch.equal(one, other), name
        assert again.specs.decoupling.use == "builtin:coupled"
        again.attach(tiny_flux).detach()


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "format": (lambda c: c.update(format=9), MismatchError, "format 9 is not 1"),
    "levels": (lambda c: c["encoder"]["signature"].update(levels={"low": 2}), MismatchError, "encoder.levels"),
    "hidden": (lambda c: c["encoder"]["signature"].update(hidden_size=768), MismatchError, "encoder.hidden_size = 768"),
    "missing": (lambda c: c.pop("fusion"), InputError, "fusion is missing"),
    "width": (lambda c: c["adapter"].update(token_width=32), MismatchError, "has the shape"),
    "fusion": (lambda c: c.update(fusion={"use": "concat"}), MismatchError, "only in"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_configs_are_refused(adapter: Make, tmp_path: Path, change: str) -> None:
    adapter(attach=False).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    edit, error, line = CHANGES[change]
    edit(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=line):
        DynaIP.from_pretrained(tmp_path)


def test_damaged_and_missing_files(adapter: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter there"):
        DynaIP.from_pretrained(tmp_path)
    adapter(attach=False).save_pretrained(tmp_path)
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        DynaIP.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        DynaIP.from_pretrained(tmp_path)


def test_another_backbone_is_refused_by_field(adapter: Make, tiny_flux: Any) -> None:
    dyna = adapter(attach=False)
    dyna.model_signature["width"] = 3072
    with pytest.raises(MismatchError, match=r"backbone.width = 3072, but this one has 128"):
        dyna.attach(tiny_flux)
    assert not dyna.attached


def test_pipeline_saved_with_adapter_loses_nothing(adapter: Make, tiny_flux: Any, tmp_path: Path) -> None:
    dyna = adapter()
    options: dict[str, Any] = {"num_inference_steps": 1, "max_sequence_length": 24, "output_type": "latent"}

    def paint(pipe: Any, owner: Any) -> torch.Tensor:
        with owner.references(Reference(PICTURE)):
            return pipe("a star", generator=torch.Generator().manual_seed(0), **options).images

    before = paint(tiny_flux, dyna)
    tiny_flux.save_pretrained(tmp_path / "both")
    pipe, again = dynaip.load(tmp_path / "both")
    assert torch.equal(paint(pipe, again), before)
    dyna.detach()
    tiny_flux.save_pretrained(tmp_path / "alone")
    assert not (tmp_path / "alone" / "dynaip").exists()


DAMAGES: dict[str, tuple[Any, str]] = {
    "a list": ([1, 2], "is not 1"),
    "a part that is no mapping": ({"encoder": "clip"}, "encoder is missing"),
    "an unknown option": ({"adapter": {"token_widt": 16}}, "token_widt"),
    "an unknown component": ({"fusion": {"use": "hmo"}}, "hmo"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_configs_are_one_line(adapter: Make, tmp_path: Path, name: str) -> None:
    adapter(attach=False).save_pretrained(tmp_path)
    change, line = DAMAGES[name]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change if isinstance(change, dict) else change))
    with pytest.raises(InputError, match=line) as caught:
        DynaIP.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_pickled_and_the_encoder_is_not_saved(adapter: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    dyna = adapter(attach=False)
    dyna.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter.safetensors")
    assert {name.split(".")[0] for name in weights} == {"fusion", "attention"}
    assert sum(value.numel() for value in weights.values()) == sum(one.numel() for one in dyna.parameters())
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["fusion"]["use"] == "builtin:hmoe"
    assert config["dynaip_version"] == dynaip.__version__
    assert config["backbone"]["signature"]["width"] == 128


def test_a_failed_save_leaves_the_adapter_as_it_was(
    adapter: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    dyna = adapter(attach=False)
    dyna.save_pretrained(tmp_path)
    before = (tmp_path / "adapter.safetensors").read_bytes()

    def full(weights: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with torch.no_grad():
        next(dyna.parameters()).add_(1)
    with pytest.raises(OSError, match="No space"):
        dyna.save_pretrained(tmp_path)
    assert (tmp_path / "adapter.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    DynaIP.from_pretrained(tmp_path)


def test_push_to_hub_uploads_what_from_pretrained_reads(
    adapter: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import huggingface_hub

    class Api:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            assert (repo_id, private, exist_ok) == ("acme/adapter", True, True)

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
            shutil.copytree(folder_path, tmp_path / "hub")
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    dyna = adapter(attach=False)
    assert dyna.push_to_hub("acme/adapter") == "https://hub/acme/adapter"
    assert "library_name: dynaip" in (tmp_path / "hub" / "README.md").read_text()
    again = DynaIP.from_pretrained(tmp_path / "hub")
    assert all(torch.equal(one, other) for one, other in zip(dyna.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda value: value * float("nan"), "holds numbers that are not finite"),
        (lambda value: value / 0, "holds numbers that are not finite"),
        (lambda value: value.to(torch.int8), "holds int8, no weights"),
    ],
    ids=["nan", "infinity", "integers"],
)
def test_weights_that_would_paint_black_are_refused(adapter: Make, tmp_path: Path, change: Any, line: str) -> None:
    adapter(attach=False).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "adapter.safetensors")
    name = next(name for name in stored if "to_k" in name)
    save_file(stored | {name: change(stored[name])}, tmp_path / "adapter.safetensors")
    with pytest.raises(InputError, match=rf"adapter\.safetensors.*{name.replace('.', r'[.]')} {line}"):
        DynaIP.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_weights_in_other_floats_are_read(adapter: Make, tmp_path: Path, dtype: torch.dtype) -> None:
    dyna = adapter(attach=False)
    dyna.save_pretrained(tmp_path)
    stored = {name: value.to(dtype) for name, value in load_file(tmp_path / "adapter.safetensors").items()}
    save_file(stored, tmp_path / "adapter.safetensors")
    for name, value in DynaIP.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(value, stored[name].float())
