"""Saved, pushed and fetched: no pipeline loses the adapter, the card tells what it is, hub ids work as folders do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import dynaip
from dynaip import DynaIP, Reference
from dynaip.adapter.card import model_card
from dynaip.errors import InputError
from dynaip.runs import Run

Make = Callable[..., Any]
PICTURE = Image.new("RGB", (8, 8), "red")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def paint(pipe: Any, dyna: DynaIP) -> torch.Tensor:
    options: dict[str, Any] = {"num_inference_steps": 1, "max_sequence_length": 24, "output_type": "latent"}
    pipe.set_progress_bar_config(disable=True)
    with dyna.references(Reference(PICTURE)):
        return pipe("a star", generator=torch.Generator().manual_seed(0), **options).images


def test_every_pipeline_that_holds_the_transformer_saves_the_adapter(
    adapter: Make, tiny_flux: Any, tmp_path: Path
) -> None:
    from diffusers import FluxImg2ImgPipeline

    dyna = adapter()
    expected = paint(tiny_flux, dyna)
    FluxImg2ImgPipeline(**tiny_flux.components).save_pretrained(tmp_path / "other")
    tiny_flux.transformer.save_pretrained(tmp_path / "alone")
    dyna.detach()
    for folder in (tmp_path / "other", tmp_path / "alone"):
        again = DynaIP.from_pretrained(folder).attach(tiny_flux)
        assert torch.equal(paint(tiny_flux, again), expected)
        again.detach()
    tiny_flux.transformer.save_pretrained(tmp_path / "bare")
    assert not (tmp_path / "bare" / "dynaip").exists()
    assert "save_pretrained" not in vars(tiny_flux.transformer)


@pytest.fixture
def run(adapter: Make, experiment: Make, tmp_path: Path) -> Path:
    """A run folder with an adapter, its config, scores and a figure."""
    folder = Run(tmp_path / "run")
    adapter(attach=False).save_pretrained(folder.adapter)
    folder.config.write_text(experiment().to_yaml())
    rows = [{"case": str(n), "suite": "single", "seed": 0, "cp": 0.25 + n / 2, "pf": 0.5} for n in range(2)]
    pd.DataFrame(rows).to_parquet(folder.path / "scores.parquet")
    (folder.path / "analysis" / "routing").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder.path / "analysis" / "routing" / "levels.png")
    return folder.path


def test_the_card_tells_training_scores_and_licences(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dyna = DynaIP.from_pretrained(run)
    backbone = dyna.specs.backbone.config.model_copy(update={"model": "black-forest-labs/FLUX.1-schnell"})
    object.__setattr__(dyna.specs.backbone, "config", backbone)
    card = model_card(dyna, dyna.source)
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "black-forest-labs/FLUX.1-schnell"
    assert front["library_name"] == "dynaip"
    assert "base model `black-forest-labs/FLUX.1-schnell`: Apache-2.0" in card
    assert "encoder" in card and "not known here" in card
    blocks = [yaml.safe_load(text.removeprefix("yaml")) for text in card.split("```") if text.startswith("yaml")]
    assert blocks[0]["fusion"]["use"] == "builtin:hmoe"
    assert blocks[1]["training"]["steps"] == 6
    assert blocks[1]["source"]["use"] == "builtin:microworld"
    assert "| single | 2 | 0.500 | 0.500 | 0.250 |" in card
    assert "![levels](figures/routing-levels.png)" in card
    assert f"{sum(one.numel() for one in dyna.parameters()):,} parameters" in card


def push(dyna: DynaIP, hub: Path, monkeypatch: pytest.MonkeyPatch, name: str = "acme/adapter", **options: Any) -> Path:
    """Push into the hub's own cache layout: ``models--acme--adapter/{refs,snapshots}``."""
    import huggingface_hub

    home = hub / f"models--{name.replace('/', '--')}"

    class Api:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            (home / "refs").mkdir(parents=True)
            (home / "refs" / "main").write_text(COMMIT)

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
            shutil.copytree(folder_path, home / "snapshots" / COMMIT)
            return f"https://huggingface.co/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert dyna.push_to_hub(name, **options) == f"https://huggingface.co/{name}"
    return home / "snapshots" / COMMIT


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_hub_ids_work_as_folders_do(
    run: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, tiny_flux: Any, experiment: Make
) -> None:
    from dynaip.adapter.exchange import export_run
    from dynaip.adapter.files import start_from
    from dynaip.models import local_folder

    dyna = DynaIP.from_pretrained(run)
    there = push(dyna, hub, monkeypatch)
    assert sorted(path.name for path in there.iterdir()) == [
        "README.md",
        "adapter.safetensors",
        "config.json",
        "figures",
    ]
    expected = paint(tiny_flux, dyna.attach(tiny_flux))
    dyna.detach()
    for revision in (None, "main", COMMIT):
        again = DynaIP.from_pretrained("acme/adapter", revision=revision).attach(tiny_flux)
        assert torch.equal(paint(tiny_flux, again), expected)
        again.detach()
    pipe, loaded = dynaip.load("acme/adapter")
    assert torch.equal(paint(pipe, loaded), expected)
    assert local_folder("acme/adapter", "adapter") == there
    fresh = DynaIP.build(experiment(), tiny_flux.transformer)
    start_from(fresh, "acme/adapter")
    assert all(torch.equal(one, other) for one, other in zip(fresh.parameters(), dyna.parameters(), strict=True))
    with pytest.raises(InputError, match="cannot be exported to diffusers exactly"):
        export_run("acme/adapter", "diffusers", hub / "out")
    with pytest.raises(InputError, match="the hub does not give it"):
        DynaIP.from_pretrained("acme/nothing")


def test_a_pipeline_on_the_hub_brings_its_adapter(adapter: Make, tiny_flux: Any, hub: Path) -> None:
    dyna = adapter()
    expected = paint(tiny_flux, dyna)
    home = hub / "models--acme--both"
    tiny_flux.save_pretrained(home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    pipe, again = dynaip.load("acme/both")
    assert torch.equal(paint(pipe, again), expected)
    assert again.specs.backbone.config.model == dyna.specs.backbone.config.model
