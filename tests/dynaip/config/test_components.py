"""Component specs: both spellings, plain words for every mistake, paths beside their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaip.config import ComponentConfig, ComponentSpec
from dynaip.config.yaml_text import Located
from dynaip.errors import ConfigError, UnknownComponent
from dynaip.registry import Component, Registry


def test_a_name_and_a_mapping_mean_the_same() -> None:
    specs = [ComponentSpec.parse("fusion", raw) for raw in ("hmoe", {"use": "test:hmoe", "router": "token"})]
    assert specs[0] == specs[1]
    assert specs[0].dump() == {"use": "test:hmoe", "router": "token", "hidden": 8}
    assert specs[0].name == "hmoe"
    assert ComponentSpec.parse("fusion", specs[0].dump()) == specs[0] == ComponentSpec.parse("fusion", specs[0])


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        (
            "hmeo",
            UnknownComponent,
            r"^fusion: there is no fusion named 'hmeo'. Did you mean hmoe\? Known: concat, hmoe.$",
        ),
        (
            {"use": "hmoe", "routr": 1},
            ConfigError,
            r"^fusion.routr: there is no option 'routr' here. Did you mean router\?",
        ),
        (
            {"use": "hmoe", "router": "imge"},
            ConfigError,
            r"^fusion.router: must be 'token' or 'image', not 'imge'. Did you mean image\?",
        ),
        (
            {"use": "hmoe", "hidden": "many"},
            ConfigError,
            r"^fusion.hidden: input should be a valid integer.*, not 'many'",
        ),
        ({"router": "image"}, ConfigError, r"^fusion: write the name of a fusion, or \{use: NAME"),
        (3, ConfigError, r"^fusion: write the name of a fusion"),
    ],
)
def test_mistakes_name_path_and_remedy(raw: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        ComponentSpec.parse("fusion", raw)
    assert "\n" not in str(caught.value)


def test_relative_paths_are_relative_to_their_file() -> None:
    raw = {"use": "pairs", "folder": Located("a/b", Path("/conf")), "extra": [Located("c", Path("/conf"))]}
    config = ComponentSpec.parse("source", raw | {"note": Located("n", Path("/conf"))}).config
    assert config.model_dump() == {"folder": Path("/conf/a/b"), "extra": [Path("/conf/c")], "note": "n"}
    assert ComponentSpec.parse("source", {"use": "pairs", "folder": "x"}).dump()["folder"] == str(Path.cwd() / "x")
    absolute = ComponentSpec.parse("source", {"use": "pairs", "folder": Located("/data", Path("/conf"))})
    assert absolute.dump()["folder"] == "/data"


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ComponentSpec.parse("fusion", "hmoe").config.router = "image"  # type: ignore[attr-defined]


def test_an_ambiguous_name_is_an_error_and_a_qualified_one_is_not(stand_ins: Registry) -> None:
    stand_ins.register(Component("fusion", "hmoe", object, ComponentConfig), "other")
    with pytest.raises(UnknownComponent, match="write other:hmoe or test:hmoe"):
        ComponentSpec.parse("fusion", "hmoe")
    assert ComponentSpec.parse("fusion", "other:hmoe").dump() == {"use": "other:hmoe"}


def test_a_policy_needs_a_policy_config(stand_ins: Registry) -> None:
    stand_ins.register(Component("decoupling", "mine", object, ComponentConfig), "other")
    with pytest.raises(Exception, match=r"must derive from dynaip.config.PolicyConfig"):
        ComponentSpec.parse("decoupling", "mine")
