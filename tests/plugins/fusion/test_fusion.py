"""Every strategy's shapes; hmoe against the equation written out; planted routers; coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dynaip.config import ComponentSpec
from dynaip.config.describe import describe
from dynaip.errors import ConfigError, InputError
from dynaip.registry import registry

WIDTHS = {"low": 6, "mid": 5, "high": 4}
B, N, D = 3, 7, 8


def build(spec: Any, **context: Any) -> Any:
    torch.manual_seed(1)
    options = {"widths": WIDTHS, "dim": D, "condition_dim": 3} | context
    return registry().build(ComponentSpec.parse("fusion", spec), **options).double()


def features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {level: torch.randn(B, N, width, generator=generator).double() for level, width in WIDTHS.items()}


def test_shapes_of_every_strategy() -> None:
    expected = {"token_concat": (B, 3 * N, D), "resampler": (B, 16, D), "projection": (B, 4, D)}
    for entry in registry().components("fusion"):
        fused = build(entry.qualified)(features())
        assert fused.tokens.shape == expected.get(entry.component.name, (B, N, D)), entry.qualified
        assert torch.isfinite(fused.tokens).all()


def norm(x: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * weight.detach().numpy() + bias.detach().numpy()


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def linear(x: np.ndarray, layer: Any) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def by_hand(
    fusion: Any, levels: dict[str, Tensor], gamma: list[float], router: str, condition: Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """z = P(sum_l w_l E_l(LN F_l)), w = softmax(Router(...) / tau), in numpy."""
    normed = {k: norm(v.numpy(), fusion.norms[k].weight, fusion.norms[k].bias) for k, v in levels.items()}
    inputs = np.concatenate([normed[k] for k in WIDTHS], -1)
    if router == "image":
        inputs = inputs.mean(1)
    if router == "prompt":
        spread = np.broadcast_to(condition.numpy()[:, None], (B, N, 3))
        inputs = np.concatenate([inputs, spread], -1)
    weights = softmax(linear(inputs, fusion.router) / 0.5)
    weights = weights * np.array(gamma)
    weights = weights / weights.sum(-1, keepdims=True)
    per_token = weights if weights.ndim == 3 else weights[:, None]
    mixed = 0
    for place, level in enumerate(WIDTHS):
        first, _, second = fusion.experts[level].experts[0]
        mixed = mixed + per_token[..., place : place + 1] * linear(gelu(linear(normed[level], first)), second)
    z = linear(mixed, fusion.projection)
    return norm(z, fusion.output_norm.weight, fusion.output_norm.bias), weights


@pytest.mark.parametrize("router", ["token", "image", "prompt"])
@pytest.mark.parametrize("gamma", [[1.0, 1.0, 1.0], [2.0, 0.5, 0.0], [0.0, 1.0, 0.0]])
def test_hmoe_equals_the_equation(router: str, gamma: list[float]) -> None:
    fusion = build({"use": "hmoe", "router": router, "temperature": 0.5})
    condition = torch.randn(B, 3, generator=torch.Generator().manual_seed(3)).double()
    given = dict(zip(WIDTHS, gamma, strict=True))
    fused = fusion(features(), coefficients=given, condition=condition)
    tokens, weights = by_hand(fusion, features(), gamma, router, condition)
    np.testing.assert_allclose(fused.tokens.detach().numpy(), tokens, atol=1e-9)
    np.testing.assert_allclose(fused.weights.detach().numpy(), weights, atol=1e-9)


def test_coefficients_of_one_are_the_routers_own_choice_bit_for_bit() -> None:
    fusion = build("hmoe")
    plain = fusion(features())
    assert torch.equal(fusion(features(), coefficients={"low": 1.0, "high": 1}).tokens, plain.tokens)
    assert not torch.equal(fusion(features(), coefficients={"low": 3.0}).tokens, plain.tokens)


def test_planted_router_is_recovered() -> None:
    """A router whose bias says mid, and nothing else, gives all weight to mid; one-hot coefficients overrule it."""
    fusion = build("hmoe")
    with torch.no_grad():
        fusion.router.weight.zero_()
        fusion.router.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))
    assert torch.allclose(fusion(features()).weights[..., 1], torch.ones(B, N).double())
    high = fusion(features(), coefficients={"low": 0, "mid": 0, "high": 1})
    assert torch.allclose(high.weights[..., 2], torch.ones(B, N).double())


def test_experts_within_a_level_are_gated() -> None:
    fusion = build({"use": "hmoe", "experts_per_level": 3})
    fused = fusion(features())
    assert fused.expert_weights.shape == (B, N, 3, 3)
    torch.testing.assert_close(fused.expert_weights.sum(-1), torch.ones(B, N, 3).double())
    level, normed = fusion.experts["mid"], fusion.norms["mid"](features()["mid"])
    gates = (normed @ level.gate.weight.T + level.gate.bias).softmax(-1)
    expected = sum(gates[..., e : e + 1] * level.experts[e](normed) for e in range(3))
    torch.testing.assert_close(level(normed)[0], expected)


def test_balance_loss_by_hand() -> None:
    fusion = build({"use": "hmoe", "balance_loss": 0.1})
    fused = fusion(features())
    weights = fused.weights.detach().reshape(-1, 3)
    share = np.bincount(weights.argmax(-1).numpy(), minlength=3) / len(weights)
    expected = 0.1 * 3 * sum(share[k] * float(weights[:, k].mean()) for k in range(3))
    assert float(fused.auxiliary_loss.detach()) == pytest.approx(expected)
    assert build("hmoe")(features()).auxiliary_loss is None


def decided(options: dict[str, Any], bias: list[float]) -> Any:
    """An hmoe whose router says the same of every token."""
    fusion = build({"use": "hmoe", **options})
    with torch.no_grad():
        fusion.router.weight.zero_()
        fusion.router.bias.copy_(torch.tensor(bias))
    return fusion


@pytest.mark.parametrize("router", ["token", "image"])
def test_entropy_loss_of_planted_routers(router: str) -> None:
    """Nothing for a router that knows no difference, log 3 for one that is sure, log 3 - log 2 for one between two levels."""
    for bias, missing in (([0.0, 0.0, 0.0], 0.0), ([0.0, 60.0, 0.0], np.log(3)), ([60.0, 60.0, 0.0], np.log(1.5))):
        fused = decided({"entropy_loss": 0.5, "router": router}, bias)(features())
        assert float(fused.auxiliary_loss.detach()) == pytest.approx(0.5 * missing, abs=1e-6)
    both = decided({"entropy_loss": 0.5, "balance_loss": 0.1}, [0.0, 60.0, 0.0])(features())
    assert float(both.auxiliary_loss.detach()) == pytest.approx(0.5 * np.log(3) + 0.1 * 3, abs=1e-6)


def test_entropy_loss_softens_a_router() -> None:
    fusion = decided({"entropy_loss": 1.0}, [0.0, 4.0, 0.0])
    before = fusion(features()).weights[0, 0, 1].item()
    for _ in range(60):
        fusion.zero_grad()
        fusion(features()).auxiliary_loss.backward()
        with torch.no_grad():
            fusion.router.bias -= fusion.router.bias.grad
    assert before > 0.95 and fusion(features()).weights[0, 0, 1].item() < 0.4


@pytest.mark.parametrize("router", ["token", "image"])
def test_drawn_coefficients_reach_a_router_that_is_sure(router: str) -> None:
    """In training, and only there, some references lose the level that the router gives everything to; the others do not."""
    options = {"coefficient_dropout": 0.5, "router": router}
    fusion = decided(options, [0.0, 60.0, 0.0])
    many = {level: torch.zeros(2000, 1, width).double() for level, width in WIDTHS.items()}
    assert torch.allclose(fusion.eval()(many).weights[..., 1].flatten(), torch.ones(2000).double())
    torch.manual_seed(5)
    mid = fusion.train()(many).weights[..., 1].flatten()
    assert set(mid.round(decimals=6).tolist()) == {0.0, 1.0}
    # Drawn in half of the cases; then mid is closed with chance 1/3, unless it is the level that is kept (1 of 3).
    assert (mid < 0.5).double().mean().item() == pytest.approx(0.5 * (1 / 3) * (2 / 3), abs=0.02)


def test_coefficients_are_not_drawn_in_the_papers_form() -> None:
    fusion = build("hmoe").train()
    assert torch.equal(fusion(features()).tokens, fusion.eval()(features()).tokens)


@pytest.mark.parametrize("coefficients", [{"low": 0}, {"mid": 3.0}, {"low": 0, "high": 0}])
def test_coefficients_steer_tokens_and_leave_the_balance_loss(coefficients: dict[str, float]) -> None:
    """The router is judged by what it chose, not by what a user made of that."""
    fusion = build({"use": "hmoe", "balance_loss": 0.1})
    plain, steered = fusion(features()), fusion(features(), coefficients=coefficients)
    assert not torch.equal(steered.tokens, plain.tokens)
    assert torch.equal(steered.auxiliary_loss, plain.auxiliary_loss)


def test_average_is_the_mean_of_projected_levels() -> None:
    fusion = build({"use": "average", "output_norm": False})
    levels = features()
    projected = [fusion.experts[k](fusion.norms[k](levels[k])) for k in WIDTHS]
    torch.testing.assert_close(fusion(levels).tokens, sum(projected) / 3)
    alone = fusion(levels, coefficients={"low": 0, "mid": 0, "high": 1}).tokens
    torch.testing.assert_close(alone, projected[2])
    assert fusion(levels).weights is None  # nothing is routed, so there is nothing for an analysis to read


def test_single_layer_reads_one_level() -> None:
    fusion = build({"use": "single_layer", "level": "mid"})
    levels = features()
    changed = levels | {"low": levels["low"] + 1, "high": levels["high"] * 2}
    assert torch.equal(fusion(levels).tokens, fusion(changed).tokens)
    with pytest.raises(ConfigError, match=r"no level midd; there are low, mid, high. Did you mean mid"):
        build({"use": "single_layer", "level": "midd"})


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"lwo": 1.0}, "no level lwo; there are low, mid, high. Did you mean low"),
        ({"low": -1.0}, "low=-1.0 must be a number from 0 to 1000"),
        ({"low": float("nan")}, "low=nan must be"),
        ({"low": 0, "mid": 0, "high": 0}, "all of low, mid, high are 0"),
    ],
)
def test_bad_coefficients_are_one_line(given: dict[str, float], line: str) -> None:
    with pytest.raises(InputError, match=line):
        build("hmoe")(features(), coefficients=given)


@pytest.mark.parametrize("name", ["concat", "single_layer", "token_concat", "resampler"])
def test_strategies_without_weights_refuse_coefficients(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no weights over levels"):
        build(name)(features(), coefficients={"low": 2.0})
    build(name)(features(), coefficients={"low": 1.0})


def test_prompt_router_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="needs a backbone with a pooled prompt"):
        build({"use": "hmoe", "router": "prompt"}, condition_dim=None)
    with pytest.raises(InputError, match="needs the prompt"):
        build({"use": "hmoe", "router": "prompt"})(features())


@pytest.mark.parametrize(
    ("name", "documented"), [("hmoe", D), ("concat", D), ("average", D), ("token_concat", D), ("resampler", 4 * D)]
)
def test_the_hidden_width_left_open_is_the_documented_one(name: str, documented: int) -> None:
    left_open = {key: tuple(value.shape) for key, value in build(name).state_dict().items()}
    given = build({"use": name, "hidden": documented}).state_dict()
    assert left_open == {key: tuple(value.shape) for key, value in given.items()}
    said = {option.name: option.text for option in describe(registry().config_class("fusion", name))}["hidden"]
    assert ("four times the width" in said) == (documented == 4 * D) and "width of the reference tokens" in said
