"""What is told of the router and of the reference terms, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dynaip.contracts import FusedReference
from dynaip.runs import Run
from dynaip.training.encoding import encode_text
from dynaip.training.gauges import Gauges
from dynaip.training.trainer import Trainer

ALONE = SimpleNamespace(num_processes=1)


def test_the_router_by_hand() -> None:
    """Means over tokens and references, of all parts of a step; an image router has one weight a reference."""
    dyna: Any = SimpleNamespace(encoder=SimpleNamespace(levels={"low": 1, "high": 2}))
    gauges = Gauges(dyna, ALONE)
    for share in (0.25, 0.75):
        weights = torch.tensor([share, 1 - share]).expand(2, 5, 2)
        experts = torch.tensor([[0.5, 0.5, 0.0], [share, 0.0, 1 - share]]).expand(2, 5, 2, 3)
        gauges.routed(FusedReference(torch.zeros(2, 5, 4), weights, experts))
    gauges.routed(FusedReference(torch.zeros(2, 5, 4), torch.tensor([[1.0, 0.0], [0.0, 1.0]])))
    gauges.routed(None)
    found = gauges.gauged()
    assert found is not None
    told = found.read()
    assert told["router"] == {"low": pytest.approx(0.5), "high": pytest.approx(0.5)}
    assert told["experts"]["low"] == {"0": 0.5, "1": 0.5, "2": 0.0}
    assert told["experts"]["high"] == {"0": pytest.approx(0.5), "1": 0.0, "2": pytest.approx(0.5)}
    assert Gauges(dyna, ALONE).gauged() is None


def test_terms_by_hand(experiment: Any, tmp_path: Path) -> None:
    """The first block's attention with references and without: the difference is the term, of samples that see one."""
    training = {"steps": 1, "batch_size": 4, "drop_reference": 0.5, "seed": 1}
    trainer = Trainer.of(experiment(adapter={"blocks": [0], "token_width": 16}, training=training), Run(tmp_path))
    trainer.empty = encode_text([""], trainer.pipe, trainer.backbone)
    with torch.no_grad():
        for name, weight in trainer.dyna.attention.named_parameters():
            if "to_v" in name:
                weight.normal_(std=0.3)
    batch, given = next(trainer.loader.batches(0, 1)), list[tuple[Tensor, ...]]()
    attention = trainer.pipe.transformer.transformer_blocks[0].attn
    handle = attention.register_forward_hook(lambda module, args, output: given.append(output))
    trainer.gauges = gauges = Gauges(trainer.dyna, ALONE)
    with trainer._loss(batch, 0):
        pass
    trainer.gauges = None
    with trainer.dyna.intervene(lambda branch, block, progress: 0.0), trainer._loss(batch, 0):
        pass
    handle.remove()
    found = gauges.gauged()
    assert found is not None
    terms = found.read()["terms"]
    for place, branch in enumerate(("image", "text")):
        seen, bare = given[0][place].detach(), given[1][place].detach()
        ratios = (seen - bare).flatten(1).norm(dim=1) / bare.flatten(1).norm(dim=1)
        kept = ratios[ratios > 0]
        assert 0 < len(kept) < 4
        assert terms[branch] == pytest.approx(float(kept.mean()), rel=1e-3)
    trainer.dyna.detach()


def test_logged_steps_have_them_and_measuring_changes_nothing(
    train: Callable[..., Path], same_weights: Any, lines: Callable[[Path], list[dict[str, Any]]], tmp_path: Path
) -> None:
    fusion = {"use": "hmoe", "experts_per_level": 2}
    often, seldom = (train(tmp_path / str(every), training={"log_every": every}, fusion=fusion) for every in (1, 6))
    assert same_weights(often, seldom)
    one, other = (lines(folder / "metrics.jsonl")[-1] for folder in (often, seldom))
    assert one["router"] == other["router"]
    assert sum(one["router"].values()) == pytest.approx(1)
    assert {level: sum(gates.values()) for level, gates in one["experts"].items()} == pytest.approx(
        dict.fromkeys(("low", "mid", "high"), 1)
    )
    assert set(one["terms"]) == {"image", "text"}
    assert lines(often / "metrics.jsonl")[0]["terms"] == {"image": 0, "text": 0}, "V begins at zero"
