"""YAML 1.2 scalars, duplicate keys, and text that reads back as itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dynaip.config.yaml_text import Located, dump, parse, read
from dynaip.errors import ConfigError


def value(text: str) -> Any:
    return parse(text, origin="test", folder=Path("/here"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("12", 12),
        ("0x1f", 31),
        ("0o17", 15),
        ("017", 17),
        ("true", True),
        ("null", None),
        ("", None),
        ("~", None),
        ("off", "off"),
        ("yes", "yes"),
        ("2:10", "2:10"),
        ("2024-01-02", "2024-01-02"),
        ("1.2.3", "1.2.3"),
        ("'1e-3'", "1e-3"),
        ("[1, {a: 2.0}]", [1, {"a": 2.0}]),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) in (type(expected), Located)


def test_strings_know_the_folder_of_their_file() -> None:
    assert value("{a: [b]}")["a"][0].folder == Path("/here")


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {b: 1, c: 2, b: 3}"])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"test: line \d: key '[ab]' stands there twice"):
        value(text)


@pytest.mark.parametrize("text", ["a: [1", "a: !!python/object/apply:os.system [ls]", "a: 1\n b: 2", "*x"])
def test_what_is_not_plain_yaml_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="test: line") as caught:
        value(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("? [a, b]\n: 3", "line 1: a key is a word"),
        ("? {a: b}\n: 3", "line 1: a key is a word"),
        ("a: \0", "this is not YAML"),
        (f"a: {'9' * 5000}", "digits"),
        (f"a: {'[' * 5000}{']' * 5000}", "nested too deeply"),
    ],
)
def test_what_stumbles_the_reader_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"test: {words}|test: .*{words}") as caught:
        value(text)
    assert "\n" not in str(caught.value)


def test_aliases_of_aliases_are_counted_before_they_are_unfolded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 100000 values"):
        value("\n".join(lines))
    assert len(value("a: &a [1, 2]\nb: [*a, *a, *a]")["b"]) == 3


@pytest.mark.parametrize("depth", [100, 3000, 100_000])
def test_however_deep_a_file_goes_it_is_one_line(depth: int) -> None:
    chain = "\n".join(f"- &a{n} [*a{n - 1}]" for n in range(1, min(depth, 3000)))
    for text in ("[" * depth + "]" * depth, "{a: " * depth + "1" + "}" * depth, f"x:\n- &a0 [1]\n{chain}"):
        with pytest.raises(ConfigError, match=r"nested too deeply|levels of lists and mappings") as caught:
            value(text)
        assert "\n" not in str(caught.value)
    assert value("[" * 50 + "]" * 50)


@pytest.mark.parametrize("text", ["a: &x [*x]", "&x {a: *x}", "a: &x {b: {c: [*x]}}"])
def test_an_alias_of_itself_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="line 1: this holds an alias of itself"):
        value(text)


def test_keys_are_words_as_they_are_written() -> None:
    assert value("{1: a, null: b, true: c, 1e-3: d, on: e}") == {
        "1": "a",
        "null": "b",
        "true": "c",
        "1e-3": "d",
        "on": "e",
    }


def test_merge_keys_still_work() -> None:
    assert value("a: &x {b: 1}\nc: {<<: *x, d: 2}")["c"] == {"b": 1, "d": 2}


@pytest.mark.parametrize("data", [{"a": "off", "b": "1e-3", "c": 1e-5, "d": "2:10", "e": None, "f": ["ä", "", "0x1"]}])
def test_what_is_written_reads_back_equal(data: Any) -> None:
    assert value(dump(data)) == data


@pytest.mark.parametrize(
    ("content", "words"), [("- 1", "this is a list"), ("", "this is empty"), ("text", "this is a")]
)
def test_a_config_file_holds_a_mapping(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=words):
        read(file)


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (binary, tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(ConfigError, match=f"{path} cannot be read"):
            read(path)
