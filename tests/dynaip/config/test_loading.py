"""Files, recipes, base chains, overrides: the same meaning gives the same hash, mistakes name file and path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dynaip.cli.app import main
from dynaip.config import (
    AblationConfig,
    ExperimentConfig,
    TrainingConfig,
    load_ablation,
    load_any,
    load_experiment,
    parse_experiment,
    recipes,
)
from dynaip.config.yaml_text import read
from dynaip.errors import ConfigError, InputError, PluginError, UnknownComponent
from dynaip.registry import Registry, registry


def test_spelling_does_not_change_the_hash(write, experiment: dict[str, Any]) -> None:
    short = load_experiment(write("a.yaml", experiment))
    experiment["fusion"] = {"use": "test:hmoe", "router": "token", "hidden": 8}
    experiment["adapter"] = {"site": "attention"}
    experiment["training"] |= {"learning_rate": 1e-4, "weight_decay": 0.010}
    full = load_experiment(write("b.yaml", dict(reversed(experiment.items()))))
    assert short.hash() == full.hash()
    assert len(short.hash()) == 12
    assert short.name == "a"
    assert full.name == "b"
    assert load_experiment(write("c.yaml", experiment | {"fusion": "concat"})).hash() != short.hash()


def test_what_is_written_loads_back_equal(write, experiment: dict[str, Any]) -> None:
    experiment["evaluation"] = {"benchmark": "bench", "metrics": ["oracle"], "options": {"steps": 4}}
    config = load_experiment(write("a.yaml", experiment))
    again = load_experiment(write("b.yaml", config.to_yaml()))
    assert again == config
    assert again.to_yaml() == config.to_yaml()
    assert parse_experiment(config.resolved()) == config
    assert config.resolved()["fusion"]["use"] == "test:hmoe"


def test_training_hash_leaves_out_what_training_does_not_see(write, experiment: dict[str, Any]) -> None:
    base = load_experiment(write("a.yaml", experiment))
    same = ["decoupling=coupled", "decoupling.at_inference=0.5", "training.log_every=3", "training.threads=1"]
    for change in [*same, "evaluation={benchmark: bench, metrics: [oracle]}"]:
        assert load_experiment(write("a.yaml", experiment), [change]).training_hash() == base.training_hash(), change
    for change in ("fusion.hidden=9", "training.seed=1", "adapter.site=residual", "encoder.model=other"):
        assert load_experiment(write("a.yaml", experiment), [change]).training_hash() != base.training_hash(), change


def test_base_chains_lay_option_over_option(write, experiment: dict[str, Any]) -> None:
    write("root.yaml", experiment | {"fusion": {"use": "hmoe", "hidden": 3}})
    write("deep/middle.yaml", {"base": "../root.yaml", "fusion": {"router": "image"}, "training": {"steps": 5}})
    config = load_experiment(write("leaf.yaml", {"base": "deep/middle.yaml", "training": {"seed": 4}}))
    assert config.fusion.dump() == {"use": "test:hmoe", "router": "image", "hidden": 3}
    assert (config.training.steps, config.training.batch_size, config.training.seed) == (5, 2, 4)


def test_another_component_does_not_inherit_options(write, experiment: dict[str, Any]) -> None:
    write("root.yaml", experiment | {"fusion": {"use": "hmoe", "hidden": 3}})
    assert load_experiment(write("leaf.yaml", {"base": "root.yaml", "fusion": "concat"})).fusion.dump()["width"] == 1.0
    for change in ("fusion=concat", "fusion.use=concat", "fusion={use: concat, width: 1}"):
        assert load_experiment(write("leaf.yaml", {"base": "root.yaml"}), [change]).fusion.use == "test:concat"
    kept = load_experiment(write("leaf.yaml", {"base": "root.yaml", "fusion": "hmoe"}))
    assert kept.fusion.config.model_dump()["hidden"] == 3


def test_mapping_options_are_replaced_whole(write, experiment: dict[str, Any]) -> None:
    write("root.yaml", experiment)
    config = load_experiment(write("leaf.yaml", {"base": "root.yaml", "encoder": {"levels": {"only": 7}}}))
    assert config.encoder.config.model_dump()["levels"] == {"only": 7}
    one = load_experiment(write("leaf.yaml", experiment | {"encoder": {"use": "clip"}}), ["encoder.levels.top=9"])
    assert one.encoder.config.model_dump()["levels"] == {"top": 9}


def test_a_circle_of_bases_is_refused(write) -> None:
    write("a.yaml", {"base": "b.yaml"})
    with pytest.raises(ConfigError, match="base leads back to the file itself"):
        load_experiment(write("b.yaml", {"base": "a.yaml"}))


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        ("adapter.blocks=2:10", "adapter.blocks", "2:10"),
        ("adapter.blocks=[0, 3]", "adapter.blocks", [0, 3]),
        ("adapter.single_stream=off", "adapter.single_stream", "off"),
        ("training.threads=null", "training.threads", None),
        ("training.cache=false", "training.cache", False),
        ("fusion.router=image", "fusion.router", "image"),
    ],
)
def test_overrides_have_yaml_types(write, experiment: dict[str, Any], override: str, path: str, expected: Any) -> None:
    section, _, key = path.partition(".")
    assert load_experiment(write("a.yaml", experiment), [override]).resolved()[section][key] == expected


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("fusion.routr=image", r"a.yaml: fusion.routr: there is no option 'routr' here. Did you mean router\?"),
        ("trainin.steps=3", r"a.yaml: trainin: there is no option 'trainin' here. Did you mean training\?"),
        ("training.steps=many", r"a.yaml: training.steps: .*integer.*not 'many'"),
        ("training.steps=-1", r"a.yaml: training.steps: input should be greater than 0, not -1"),
        ("training.steps.deep=1", r"-s training.steps.deep=1: training.steps holds 10 and no options"),
        ("training.steps", r"-s training.steps: write path=value"),
        ("a..b=1", r"'a..b' is no path"),
        ("fusion={", r"-s fusion=\{: line 1"),
        ("fusion=hmeo", r"a.yaml: fusion: there is no fusion named 'hmeo'. Did you mean hmoe\?"),
        (
            "adapter.blocks=2-10",
            r"a.yaml: adapter.blocks: must be all, a list of block numbers, or a slice such as 2:10",
        ),
        ("training.keep_checkpoints=1", r"greater than or equal to 2"),
    ],
)
def test_wrong_overrides_name_what_to_change(write, experiment: dict[str, Any], override: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_experiment(write("a.yaml", experiment), [override])
    assert "\n" not in str(caught.value)


def test_items_of_a_list_can_be_overridden(write, experiment: dict[str, Any]) -> None:
    experiment["evaluation"] = {"benchmark": "bench", "metrics": ["oracle"]}
    file = write("a.yaml", experiment)
    assert load_experiment(file, ["evaluation.metrics.0.use=test:oracle"]).evaluation is not None
    with pytest.raises(ConfigError, match="the list has items 0 to 0, and '1' is none of them"):
        load_experiment(file, ["evaluation.metrics.1.use=oracle"])
    with pytest.raises(InputError, match=r"evaluation.metrics\[0\]: there is no metric named 'oracl'"):
        load_experiment(file, ["evaluation.metrics.0=oracl"])


def test_a_file_that_does_not_exist_lists_the_recipes() -> None:
    with pytest.raises(
        ConfigError, match=r"microworld/dmo: neither a config file nor a recipe. Did you mean microworld/demo"
    ):
        load_any("microworld/dmo")


def test_missing_parts_are_named(write, experiment: dict[str, Any]) -> None:
    del experiment["fusion"]
    with pytest.raises(ConfigError, match="fusion: this option is missing"):
        load_experiment(write("a.yaml", experiment))


def test_experiments_and_ablations_are_told_apart(write, experiment: dict[str, Any]) -> None:
    one = write("one.yaml", experiment)
    many = write("many.yaml", {"base": "one.yaml", "axes": {"fusion": ["hmoe", "concat"]}})
    assert isinstance(load_any(one), ExperimentConfig)
    assert isinstance(load_any(many), AblationConfig)
    with pytest.raises(ConfigError, match="run it with dynaip ablate"):
        load_experiment(many)
    with pytest.raises(ConfigError, match="neither axes nor arms"):
        load_ablation(one)


PLUGIN = """
from dynaip.config import ComponentConfig
from dynaip.registry import Component, hookimpl

class Config(ComponentConfig):
    strength: float = 0.5

@hookimpl
def dynaip_components():
    return [Component("fusion", "mine", ":Config", ":Config")]
"""


def test_plugin_files_are_relative_to_the_config_file(write, experiment: dict[str, Any]) -> None:
    file = write("plug/own.py", PLUGIN)
    path = write("plug/a.yaml", experiment | {"fusion": {"use": "mine", "strength": 1}, "plugins": ["own.py"]})
    config = load_experiment(path)
    assert config.fusion.use == "own:mine"
    assert config.plugins == [file]
    assert load_experiment(write("saved.yaml", config.to_yaml())) == config


def test_a_plugin_given_on_the_command_line_is_saved_if_it_is_used(write, experiment, stand_ins: Registry) -> None:
    file = write("own.py", PLUGIN)
    stand_ins.load_file(file)
    assert load_experiment(write("a.yaml", experiment)).plugins == []
    assert load_experiment(write("a.yaml", experiment), ["fusion=mine"]).plugins == [file]
    ablation = load_ablation(write("b.yaml", {"base": "a.yaml", "axes": {"fusion": ["hmoe", "mine"]}}))
    assert ablation.plugins == [file]
    assert load_experiment(write("c.yaml", experiment), plugins=[file]).plugins == [file]


def test_plugins_that_are_no_files_are_refused(write, experiment: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"plugin file .*absent.py does not exist"):
        load_experiment(write("a.yaml", experiment | {"plugins": ["absent.py"]}))
    with pytest.raises(ConfigError, match="plugins: write a list of Python files"):
        load_experiment(write("a.yaml", experiment | {"plugins": "own.py"}))
    write("bad.py", "1 / 0")
    with pytest.raises(PluginError, match="failed at import: ZeroDivisionError"):
        load_experiment(write("a.yaml", experiment | {"plugins": ["bad.py"]}))


def test_paths_of_a_base_stay_with_the_base(write, experiment: dict[str, Any], tmp_path: Path) -> None:
    write("below/root.yaml", experiment | {"source": {"use": "pairs", "folder": "data"}})
    config = load_experiment(write("leaf.yaml", {"base": "below/root.yaml"}))
    assert config.source.dump()["folder"] == str(tmp_path / "below/data")


def test_every_recipe_is_yaml_with_a_line_that_says_what_it_is() -> None:
    assert {"microworld/dynaip", "microworld/demo", "flux/dynaip"} <= set(recipes())
    for file in recipes().values():
        assert file.read_text(encoding="utf-8").startswith("# ")
        assert read(file)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(write, experiment: dict[str, Any], value: str) -> None:
    with pytest.raises(ConfigError, match=r"training.learning_rate: input should be"):
        load_experiment(write("a.yaml", experiment), [f"training.learning_rate={value}"])


def test_a_qualified_name_settles_an_ambiguous_one(write, experiment: dict[str, Any]) -> None:
    registry().register(registry().find("fusion", "hmoe").component, plugin="other")
    with pytest.raises(UnknownComponent, match="given by 2 plugins"):
        load_experiment(write("a.yaml", experiment))
    for change in ("fusion=other:hmoe", "fusion.use=other:hmoe", "fusion={use: other:hmoe, hidden: 5}"):
        assert load_experiment(write("a.yaml", experiment), [change]).fusion.use == "other:hmoe"


def test_all_mistakes_are_told_misspelt_names_first(write: Any, experiment: dict[str, Any]) -> None:
    wrong = {key: value for key, value in experiment.items() if key != "backbone"} | {
        "fusion": {"use": "hmoe", "routr": "token", "hidden": "many"},
        "encoder": "clpi",
        "training": {"stesp": 4, "batch_size": -3},
        "learning_rte": 1,
        "adapter": {"site": "atention", "blocks": {"a": 1}},
    }
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("own.yaml", wrong))
    lines = str(caught.value).split("\n")
    expected = [
        ("adapter.site", "Did you mean attention?"),
        ("encoder", "Did you mean clip?"),
        ("fusion.routr", "Did you mean router?"),
        ("learning_rte", "Did you mean training.learning_rate?"),
        ("training.stesp", "Did you mean steps?"),
        ("adapter.blocks", "must be 'all', not"),
        ("fusion.hidden", "valid integer"),
        ("training.batch_size", "greater than 0"),
        ("backbone", "missing"),
        ("training.steps", "missing"),
    ]
    assert len(lines) == len(expected)
    for path, words in expected:
        (line,) = [each for each in lines if f"own.yaml: {path}: " in each]
        assert words in line
    ranks = ["Did you mean" in line for line in lines]
    assert ranks == sorted(ranks, reverse=True)
    assert all("is missing" in line for line in lines[-2:])


def test_mistakes_of_an_ablation_its_base_and_its_arms_are_told_together(
    write: Any, experiment: dict[str, Any]
) -> None:
    write("base.yaml", experiment | {"fusion": {"use": "hmoe", "routr": 1}})
    with pytest.raises(ConfigError, match=r"routr.*router\?[^$]*sedes.*seeds\?"):
        load_ablation(write("many.yaml", {"base": "base.yaml", "axes": {"fusion": ["hmoe"]}, "sedes": [1]}))
    write("base.yaml", experiment)
    axes = {"fusion": ["hmeo", "concat", {"use": "concat", "wdth": 1}]}
    with pytest.raises(InputError) as caught:
        load_ablation(write("many.yaml", {"base": "base.yaml", "axes": axes}))
    assert [line.partition(":")[0] for line in str(caught.value).split("\n")] == ["arm hmeo", "arm concat_1"]


def test_the_command_line_prints_a_line_for_each(write: Any, experiment: dict[str, Any], capsys: Any) -> None:
    file = write("own.yaml", experiment | {"fusoin": 1, "adpater": 2})
    assert main(["check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("dynaip: ") and "Did you mean" in line for line in lines)


def test_relative_paths_of_a_recipe_belong_to_the_working_directory(
    write: Any, experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write("installed/recipes/own/dynaip.yaml", experiment | {"source": {"use": "pairs", "folder": "pairs"}})
    monkeypatch.setattr("dynaip.config.loading.RECIPES", tmp_path / "installed" / "recipes")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert load_experiment("own/dynaip").resolved()["source"]["folder"] == str(tmp_path / "here" / "pairs")
    assert load_experiment(recipe).resolved()["source"]["folder"] == str(tmp_path / "here" / "pairs")
    based = write("elsewhere/mine.yaml", {"base": "own/dynaip"})
    assert load_experiment(based).resolved()["source"]["folder"] == str(tmp_path / "here" / "pairs")
    given = write("elsewhere/other.yaml", {"base": "own/dynaip", "source": {"folder": "more"}})
    assert load_experiment(given).resolved()["source"]["folder"] == str(tmp_path / "elsewhere" / "more")


def test_a_mark_on_an_option_says_whether_training_depends_on_it(write: Any, experiment: dict[str, Any]) -> None:
    config = load_experiment(write("own.yaml", experiment))
    before = config.training.model_dump()
    other: dict[type, Any] = {
        bool: lambda value: not value,
        int: lambda value: value + 3,
        float: lambda value: value / 2 + 0.1,
    }
    for name, value in before.items():
        if type(value) not in other:
            continue
        changed = config.training.model_copy(update={name: other[type(value)](value)})
        same = config.model_copy(update={"training": changed}).training_hash() == config.training_hash()
        assert not same or name in TrainingConfig.may_change(), name
        habit = "habit" in TrainingConfig.model_fields[name].metadata
        assert same == habit, name
    assert TrainingConfig.may_change() >= {"cache", "cache_size", "steps", "threads", "max_bad_share", "max_bad_steps"}
    assert TrainingConfig.may_change() >= {
        "checkpoint_every",
        "keep_checkpoints",
        "sample_every",
        "log_every",
        "workers",
    }
    assert not TrainingConfig.may_change() & {"seed", "batch_size", "learning_rate", "initial"}


@pytest.mark.parametrize("value", ["true", ".inf", "3", "[3]", "[[a]]", "{a: b}", '["a\\0b.py"]'])
@pytest.mark.parametrize("key", ["plugins", "base.plugins"])
def test_plugins_that_are_no_list_of_files_are_one_line(
    write: Any, experiment: dict[str, Any], key: str, value: str
) -> None:
    write("base.yaml", experiment)
    many = write("many.yaml", {"base": "base.yaml", "axes": {"fusion": ["hmoe"]}})
    with pytest.raises(ConfigError, match="plugins: write a list of Python files") as caught:
        load_ablation(many, [f"{key}={value}"])
    assert "\n" not in str(caught.value)


def test_the_base_of_an_ablation_may_be_another_one(write: Any, experiment: dict[str, Any]) -> None:
    write("base.yaml", experiment)
    write("other.yaml", experiment | {"training": {"steps": 77, "batch_size": 1}})
    many = write("many.yaml", {"base": "base.yaml", "axes": {"fusion": ["hmoe"]}})
    assert load_ablation(many, ["base=other.yaml"]).base["training"]["steps"] == 77
    for value in ("true", "[1]", "3", "nothing"):
        with pytest.raises(ConfigError, match=r"base: write the name|neither a config file nor a recipe"):
            load_ablation(many, [f"base={value}"])
