"""An imported XLabs adapter as a run like any other: from the command line, trained on, exported, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynaip import DynaIP
from dynaip.cli.app import main
from dynaip.config import load_experiment

Make = Callable[..., Any]
WIDTH, TEXT = 128, 128
"""Width of the tiny FLUX of these tests and of its prompts."""


@pytest.fixture
def file(tmp_path: Path, xlabs_weights: Make) -> Path:
    save_file(xlabs_weights(4, TEXT, blocks=2, width=WIDTH), tmp_path / "ip_adapter.safetensors")
    return tmp_path / "ip_adapter.safetensors"


@pytest.fixture
def run(file: Path, tiny_flux_folder: Path, clip_projection_folder: Path, tmp_path: Path) -> Path:
    arguments = ["--base", str(tiny_flux_folder), "--encoder", str(clip_projection_folder), "-o", str(tmp_path / "run")]
    assert main(["import", str(file), "--from", "xlabs", *arguments]) == 0
    return tmp_path / "run"


def test_a_run_trains_on_from_it(run: Path, tmp_path: Path) -> None:
    """At a learning rate of nearly nothing it stays what was imported; a new branch begins at zero."""
    from dynaip.training.trainer import train

    changes = ["source={use: microworld, size: 8, pixels: 64}", "training.steps=1", "training.batch_size=2", "training.warmup=0",
               "training.learning_rate=1e-12", "training.weight_decay=0", "decoupling=coupled"]  # fmt: skip
    config = load_experiment(run / "train.yaml", changes)
    train(config, tmp_path / "tuned")
    before, after = (load_file(folder / "adapter" / "adapter.safetensors") for folder in (run, tmp_path / "tuned"))
    assert before.keys() < after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-9, rtol=0)
    fresh = after.keys() - before.keys()
    assert all(name.startswith("attention.branches.text.") for name in fresh)
    assert all(after[name].abs().max() < 1e-9 for name in fresh if "to_v" in name)


METRIC = """
from dynaip.config import ComponentConfig
from dynaip.contracts import Metric
from dynaip.registry import Component, hookimpl

class Nothing(ComponentConfig):
    pass

class Red(Metric):
    columns = ("red",)

    def __init__(self, config):
        pass

    def score(self, cases, images):
        return [{"red": image.getpixel((0, 0))[0] / 255} for image in images]

@hookimpl
def dynaip_components():
    return [Component("metric", "red", Red, Nothing)]
"""


def test_it_generates_and_is_evaluated(run: Path, tmp_path: Path) -> None:
    import pandas as pd
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    (tmp_path / "red.py").write_text(METRIC)
    asked = [str(run), "a star", "--ref", str(tmp_path / "a.png"), "--steps", "2"]
    assert main(["generate", *asked, "-o", str(tmp_path / "with.png")]) == 0
    assert main(["generate", *asked[:2], "--steps", "2", "-o", str(tmp_path / "bare.png")]) == 0
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "bare.png").read_bytes()
    measure = ["-s", "evaluation.metrics=[{use: red}]", "-s", "evaluation.options={num_inference_steps: 1}"]
    named = ["--benchmark", "microworld", "--suite", "single", "--limit", "2", "--plugin", str(tmp_path / "red.py")]
    assert main(["evaluate", str(run), *named, *measure]) == 0
    assert len(pd.read_parquet(run / "scores.parquet")) == 2


def test_another_fusion_does_not_start_from_it(run: Path, tmp_path: Path) -> None:
    from dynaip.errors import MismatchError
    from dynaip.training.trainer import train

    config = load_experiment(
        run / "train.yaml", ["source={use: microworld, size: 8, pixels: 64}", "fusion=single_layer"]
    )
    with pytest.raises(MismatchError, match=r"trained for fusion\.\w+ = "):
        train(config, tmp_path / "tuned")


def test_export_of_what_it_was_gives_the_same_tensors(run: Path, file: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", "xlabs", "-o", str(tmp_path / "out")]) == 0
    before, after = load_file(file), load_file(tmp_path / "out" / "ip_adapter.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_missing_blocks_and_biases_become_zeros(run: Path, tmp_path: Path, tiny_flux: Any) -> None:
    """An adapter of fewer blocks without biases is exported exactly: what it lacks adds nothing."""
    from dynaip.adapter.exchange import export_run

    file = run / "adapter" / "config.json"
    config = json.loads(file.read_text())
    config["adapter"] |= {"blocks": [1], "bias": False}
    file.write_text(json.dumps(config))
    weights = load_file(run / "adapter" / "adapter.safetensors")
    stays = (".0.to_k.weight", ".0.to_v.weight")
    kept = {name: value for name, value in weights.items() if "fusion" in name or name.endswith(stays)}
    save_file(kept, run / "adapter" / "adapter.safetensors")
    DynaIP.from_pretrained(run).attach(tiny_flux).detach()
    written = load_file(export_run(run, "diffusers", tmp_path / "out"))
    assert not written["ip_adapter.0.to_v_ip.weight"].any()
    assert not written["ip_adapter.1.to_v_ip.bias"].any()
    assert torch.equal(written["ip_adapter.1.to_k_ip.weight"], kept["attention.branches.image.0.to_k.weight"])


def test_what_diffusers_cannot_hold_is_named(adapter: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter(attach=False, decoupling="coupled").save_pretrained(tmp_path / "run" / "adapter")
    assert main(["export", str(tmp_path / "run"), "--to", "diffusers", "-o", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    for property_ in (
        "adapter.site attention",
        "adapter.token_width 16",
        "encoder clip",
        "fusion hmoe",
        "decoupling coupled",
    ):
        assert property_ in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nothing.safetensors", "--from", "xlabs"], "there is no such file"),
        (["FILE", "--from", "xlab"], "Did you mean xlabs"),
        (["FILE", "--from", "instantx"], "this is no InstantX IP-Adapter file"),
        (["FILE", "--from", "diffusers"], "this is no diffusers IP-Adapter file"),
        (["FILE", "--from", "xlabs", "--base", "no/where"], "does not give its transformer/config.json"),
        (["FILE", "--from", "xlabs"], "made for width = 128, but black-forest-labs/FLUX.1-dev has 3072"),
        (["BROKEN", "--from", "xlabs"], "is damaged"),
        (["BLACK", "--from", "xlabs"], "ip_adapter_proj_model.norm.bias holds numbers that are not finite"),
    ],
)
def test_mistakes_are_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    line: str,
) -> None:  # fmt: skip
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    (tmp_path / "broken.safetensors").write_bytes(file.read_bytes()[:500])
    black = load_file(file)
    black["ip_adapter_proj_model.norm.bias"][0] = float("nan")
    save_file(black, tmp_path / "black.safetensors")
    places = {"FILE": file, "BROKEN": tmp_path / "broken.safetensors", "BLACK": tmp_path / "black.safetensors"}
    given = {name: str(place) for name, place in places.items()}
    assert main(["import", *(given.get(each, each) for each in arguments), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def nested(stored: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in stored.items():
        first, _, rest = name.partition(".")
        found.setdefault(first, {})[rest] = value
    return found


E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
STEPS_AWAY: dict[str, tuple[str, Any, Any]] = {
    "upper case": ("A.SAFETENSORS", save_file, lambda stored: stored),
    "no suffix": ("adapter", save_file, lambda stored: stored),
    "fp8 e4m3": ("a.safetensors", save_file, lambda stored: {name: value.to(E4M3) for name, value in stored.items()}),
    "fp8 e5m2": ("a.safetensors", save_file, lambda stored: {name: value.to(E5M2) for name, value in stored.items()}),
    "module.": ("a.safetensors", save_file, lambda stored: {f"module.{name}": value for name, value in stored.items()}),
    "model.": ("a.safetensors", save_file, lambda stored: {f"model.{name}": value for name, value in stored.items()}),
    "state_dict.module.": (
        "a.safetensors", save_file,
        lambda stored: {f"state_dict.module.{name}": value for name, value in stored.items()},
    ),
    "compiled": ("a.safetensors", save_file, lambda stored: {f"_orig_mod.{name}": value for name, value in stored.items()}),
    "pickled": ("a.bin", torch.save, lambda stored: stored),
    "nested": ("a.PT", torch.save, nested),
    "nested module": (
        "a.pt", torch.save,
        lambda stored: {part: {"module": inner} for part, inner in nested(stored).items()},
    ),
    "checkpoint": (
        "a.ckpt", torch.save, lambda stored: {"state_dict": stored, "epoch": 3, "optimizer": {"lr": 0.1}, "global_step": 7}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(STEPS_AWAY))
def test_files_one_step_away_are_read(file: Path, tmp_path: Path, name: str) -> None:
    from dynaip.adapter.exchange import read_tensors

    called, save, change = STEPS_AWAY[name]
    stored = load_file(file)
    save(change(stored), tmp_path / called)
    found = read_tensors(tmp_path / called)
    assert found.keys() == stored.keys()
    for key, value in found.items():
        rounded = stored[key].to({"fp8 e4m3": E4M3, "fp8 e5m2": E5M2}.get(name, torch.float32)).float()
        assert torch.equal(value, rounded)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda key, value: {key: value.to(torch.int8)}, "holds int8, no weights"),
        (lambda key, value: {key: value.to(E4M3), f"{key}_scale": torch.ones(1)}, "is scaled fp8"),
        (lambda key, value: {key: value, f"module.{key}": value.clone()}, "two of its tensors have one name"),
    ],
    ids=["integers", "scaled", "twice"],
)
def test_files_that_cannot_be_read_are_one_line(file: Path, tmp_path: Path, change: Any, line: str) -> None:
    from dynaip.adapter.exchange import read_tensors
    from dynaip.errors import InputError

    stored = load_file(file)
    key = min(stored)
    save_file({**stored, **change(key, stored[key].clone())}, tmp_path / "changed.safetensors")
    with pytest.raises(InputError, match=line):
        read_tensors(tmp_path / "changed.safetensors")
