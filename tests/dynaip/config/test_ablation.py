"""Axes multiply, exclusions leave out, single arms join; every arm is valid before any runs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from dynaip.config import AblationConfig, load_ablation
from dynaip.errors import ConfigError, InputError


@pytest.fixture
def load(write, experiment: dict[str, Any]):
    def from_keys(overrides: list[str] | None = None, **keys: Any):
        write("base.yaml", experiment)
        return load_ablation(write("many.yaml", {"base": "base.yaml", **keys}), overrides or [])

    return from_keys


def test_axes_multiply_in_order(load) -> None:
    config = load(axes={"fusion": ["hmoe", "concat"], "decoupling": ["dynamic", "coupled"]})
    assert [arm.name for arm in config.expand()] == ["hmoe-dynamic", "hmoe-coupled", "concat-dynamic", "concat-coupled"]
    arm = config.expand()[2]
    built = config.experiment(arm.settings, seed=7)
    assert (built.fusion.name, built.decoupling.name, built.training.seed) == ("concat", "dynamic", 7)
    assert built.training.steps == 10


def test_exclusions_leave_out_combinations(load) -> None:
    axes = {"fusion": ["hmoe", {"use": "hmoe", "router": "image"}, "concat"], "decoupling": ["dynamic", "coupled"]}
    config = load(
        axes=axes,
        exclude=[{"fusion": "concat", "decoupling": ["coupled"]}, {"fusion": {"use": "hmoe", "router": "image"}}],
    )
    assert [arm.name for arm in config.expand()] == ["hmoe-dynamic", "hmoe-coupled", "concat-dynamic"]
    with pytest.raises(ConfigError, match="exclude leaves no arm"):
        load(axes={"fusion": ["hmoe"]}, exclude=[{"fusion": "test:hmoe"}])
    for rule in ({"fusion": "hmeo"}, {"training.seed": 1}, {"fusion": "hmoe", "decoupling": "coupled"}):
        with pytest.raises(ConfigError, match="no arm of the axes is"):
            load(axes={"fusion": ["hmoe", "concat"]}, exclude=[rule])


def test_single_arms_join_the_product(load) -> None:
    config = load(
        axes={"fusion": ["hmoe"]}, arms=[{"fusion": "concat"}, {"name": "slow", "training.learning_rate": 1e-5}]
    )
    assert [arm.name for arm in config.expand()] == ["hmoe", "concat", "slow"]
    assert config.experiment(config.expand()[2].settings).training.learning_rate == 1e-5


def test_axes_may_be_dotted_paths(load) -> None:
    config = load(axes={"encoder.levels": [{"low": 1}, {"low": 2, "high": 6}], "training.learning_rate": [1e-3, 1e-4]})
    names = [arm.name for arm in config.expand()]
    assert len(set(names)) == 4
    assert all(name.replace("-", "_").replace("_", "").replace(".", "").isalnum() for name in names)
    assert config.experiment(config.expand()[2].settings).encoder.config.model_dump()["levels"] == {"low": 2, "high": 6}


def test_equal_words_still_make_different_names(load) -> None:
    config = load(axes={"encoder.model": ["a/b", "a b"]})
    assert [arm.name for arm in config.expand()] == ["model_a_b", "model_a_b_2"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"axes": {"fusion": ["hmoe", "cancat"]}},
            r"arm cancat: fusion: there is no fusion named 'cancat'. Did you mean concat",
        ),
        ({"axes": {"fusion": [{"use": "hmoe", "routr": 1}]}}, r"fusion.routr: there is no option 'routr' here"),
        ({"axes": {"fusin": ["hmoe"]}}, r"fusin: there is no option 'fusin' here. Did you mean fusion\?"),
        ({"axes": {"fusion": []}}, r"many.yaml: axes: axis fusion has no values"),
        ({"axes": {}}, r"an ablation needs axes"),
        ({"axes": {"fusion": ["hmoe"]}, "exlude": []}, r"there is no option 'exlude' here. Did you mean exclude\?"),
        ({"axes": {"fusion": ["hmoe"]}, "seeds": []}, r"seeds: "),
        ({"axes": {"fusion": ["hmoe"]}, "base": "nowhere"}, r"nowhere: neither a config file nor a recipe"),
        ({"axes": {"fusion": ["hmoe"]}, "base": 3}, r"base: write the name of a recipe or a file, not 3"),
    ],
)
def test_mistakes_are_found_before_anything_runs(load, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load(**keys)
    assert "\n" not in str(caught.value)


def test_overrides_reach_the_base_and_the_ablation(load) -> None:
    overrides = ["training.steps=3", "seeds=[1, 2]", "axes.fusion=[concat]", "axes.training.batch_size=[1, 2]"]
    config = load(overrides, axes={"fusion": ["hmoe"]})
    assert config.seeds == [1, 2]
    assert len(config.expand()) == 2
    assert config.experiment(config.expand()[0].settings).training.steps == 3


def test_what_is_written_loads_back_equal(load, write) -> None:
    config = load(axes={"fusion": ["hmoe", {"use": "concat", "width": 2}]}, question="Which?", seeds=[0, 1])
    again = load_ablation(write("saved.yaml", config.to_yaml()))
    assert again.resolved() == config.resolved()
    assert again.hash() == config.hash()
    assert config.name == "many"


def test_spelling_does_not_change_the_hash(load) -> None:
    one = load(axes={"fusion": ["hmoe", "concat"]})
    other = load(axes={"fusion": ["test:concat", {"use": "hmoe", "hidden": 8}]}, question="in other words")
    assert one.hash() == other.hash() != load(axes={"fusion": ["hmoe"]}).hash()


def test_an_ablation_can_stand_on_an_ablation(load, write) -> None:
    load(axes={"fusion": ["hmoe", "concat"]})
    config = load_ablation(write("more.yaml", {"base": "many.yaml", "seeds": [0, 1, 2]}))
    assert len(config.expand()) == 2
    assert config.seeds == [0, 1, 2]


def test_paths_among_the_settings_stay_with_their_file(load, write, tmp_path) -> None:
    axes = {"source.folder": ["a", "b"], "source": ["pairs", {"use": "pairs", "note": "a"}]}
    config = load(axes=axes, arms=[{"name": "own", "source": {"use": "pairs", "folder": "c"}}])
    (tmp_path / "elsewhere").mkdir()
    again = load_ablation(write("elsewhere/saved.yaml", config.to_yaml()))
    assert again.axes["source.folder"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert again.axes["source"][1]["note"] == "a"
    built = [again.experiment(arm.settings).source.dump()["folder"] for arm in again.expand()]
    assert built[-1] == str(tmp_path / "c")
    assert again.hash() == config.hash()


def test_a_misspelt_key_is_still_an_ablation(load) -> None:
    with pytest.raises(ConfigError, match=r"there is no option 'axs' here. Did you mean axes\?"):
        load(axs={"fusion": ["hmoe"]})


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "=cmd", "a b", "x\x1b[31m", "@x", "x" * 200])
def test_names_of_arms_are_words(load, name: str) -> None:
    with pytest.raises(ConfigError, match=r"arms: name .* is no name: write letters, digits") as caught:
        load(arms=[{"name": name, "fusion": "concat"}])
    assert "\x1b" not in str(caught.value)


def test_names_that_are_made_are_names_and_differ(load) -> None:
    values = ["../../etc", "=1+1", "a" * 300, "a" * 300 + "b", "=1-1", "\x1b"]
    config = load(arms=[{"name": "x"}, {"name": "x_2"}, {"name": "x"}], axes={"source.note": values})
    names = [arm.name for arm in config.expand()]
    assert len(set(names)) == len(names) == 9
    assert not [name for name in names if not re.fullmatch(r"[A-Za-z0-9_.-]{1,130}", name) or ".." in name]


def test_suites_are_named_by_words(load, experiment: dict[str, Any]) -> None:
    experiment["evaluation"] = {"benchmark": "bench", "metrics": ["oracle"], "suites": ["../up"]}
    with pytest.raises(ConfigError, match=r"evaluation.suites: '../up' is no name"):
        load(axes={"fusion": ["hmoe"]})


def test_numbers_of_numpy_mean_the_same_as_plain_ones(experiment: dict[str, Any]) -> None:
    experiment |= {"evaluation": {"benchmark": "bench", "metrics": ["oracle"], "options": {"steps": np.int64(4)}}}
    rates, seeds = np.array([1e-3, 1e-4]), [np.int64(0), np.uint8(1)]
    wrapped = AblationConfig(base=experiment, axes={"training.learning_rate": list(rates)}, seeds=seeds)
    array = AblationConfig(base=experiment, axes={"training.learning_rate": rates}, seeds=seeds)
    experiment["evaluation"]["options"] = {"steps": 4}
    plain = AblationConfig(base=experiment, axes={"training.learning_rate": [1e-3, 1e-4]}, seeds=[0, 1])
    assert wrapped.hash() == array.hash() == plain.hash()
    assert wrapped.to_yaml() == array.to_yaml() == plain.to_yaml()
    single = AblationConfig(base=experiment, axes={"training.learning_rate": [np.float32(0.5)]})
    assert single.resolved()["axes"] == {"training.learning_rate": [0.5]}


@pytest.mark.parametrize("value", ["[1]", "3", "null", "{use: 3}", "{use: [hmoe]}"])
@pytest.mark.parametrize("where", ["axes.fusion=[{}]", "arms=[{{fusion: {}}}]", "exclude=[{{fusion: {}}}]"])
def test_what_names_no_component_is_one_line(load, where: str, value: str) -> None:
    with pytest.raises(InputError, match=r"write the name of a fusion|no arm of the axes is") as caught:
        load([where.format(value)], axes={"fusion": ["hmoe"]})
    assert "\n" not in str(caught.value)
