"""The command line as a user meets it: help in a moment, every mistake one line, exit codes that mean something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import dynaip.registry
from dynaip.cli import app
from dynaip.cli.app import explain, main, with_common_options
from dynaip.errors import ConfigError, DynaIPError
from dynaip.registry import Registry

Run = Callable[..., tuple[int, str, str]]
PLUGIN = """
import dynaip
from dynaip.config import ComponentConfig

@dynaip.register("executor", "own", config=ComponentConfig)
class Own: pass
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(dynaip.registry, "_current", [Registry()])
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


HEAVY = "{'torch', 'diffusers', 'transformers', 'pandas', 'matplotlib'}"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plugins"], ["recipes"], ["show", "bundle", "microworld"], ["train", "--help"], ["--version"]],
)
def test_looking_around_imports_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom dynaip.cli.app import main\ncode = main({arguments!r})\n"
        f"heavy = {HEAVY} & set(sys.modules)\nassert not heavy, heavy\nsys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chekc", "x"], r"No such command 'chekc'. Did you mean 'check'.*\? See dynaip --help"),
        (["--versoin"], r"there is no option --versoin. Did you mean --version\?"),
        (["plugins", "--jsn"], r"dynaip plugins: there is no option --jsn. Did you mean --json\?"),
        (["plugins", "fusoin"], r"no kind of component named 'fusoin'. Did you mean fusion\?"),
        (["show", "fusion"], r"dynaip show: Missing argument 'name'"),
        (["show", "bundle", "microwrld"], r"no bundle named 'microwrld'. Did you mean microworld\?"),
        (["check", "nothing.yaml"], r"nothing.yaml: neither a config file nor a recipe"),
        (["check"], r"Missing argument 'FILE'"),
        (["check", "microworld/dynaip", "-s"], r"(?i)option '?-s'? requires"),
        (["recipes", "cpoy"], r"No such command 'cpoy'. Did you mean 'copy'"),
        (["recipes", "copy", "microworld/dmeo"], r"no recipe 'microworld/dmeo'. Did you mean microworld/demo\?"),
        (["plugins", "extra", "words"], r"unexpected extra argument"),
        (["check", "x", "--plugin", "absent.py"], r"plugin file absent.py does not exist"),
        (["microworld", "measure", "absent"], r"absent is no folder of models"),
        (["microworld", "build", "out", "--seed", "x"], r"Invalid value for '--seed'"),
        (["microworld"], r"Missing command"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(run: Run, arguments: list[str], words: str) -> None:
    code, _, error = run(*arguments)
    assert code == 2
    assert error.count("\n") == 1
    assert "Traceback" not in error
    import re

    assert re.search(words, error), error


def test_a_plugin_that_raises_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise RuntimeError('two\\nlines')")
    code, _, error = run("recipes", "--plugin", "bad.py")
    assert code == 2
    assert error == "dynaip: plugin file bad.py failed at import: RuntimeError: two lines\n"


def test_no_arguments_show_the_help(run: Run) -> None:
    assert run()[0] == 0
    assert run()[1] == run("--help")[1]
    assert "check" in run()[1]


def test_the_version(run: Run) -> None:
    assert run("--version")[1] == f"dynaip {dynaip.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("say what"), 2, "dynaip: say what\n"),
        (DynaIPError("an arm failed"), 1, "dynaip: an arm failed\n"),
        (
            ZeroDivisionError("by\nzero"),
            1,
            "dynaip: unexpected ZeroDivisionError: by zero (run again with --debug for the traceback)\n",
        ),
        (KeyboardInterrupt(), 130, "dynaip: interrupted; what is finished is kept\n"),
    ],
)
def test_errors_of_commands(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("dynaip.cli.recipes._purpose", lambda file: fail())
    found, _, text = run("recipes")
    assert (found, text) == (code, line)
    assert "Traceback" not in text
    if code == 2:
        assert "Traceback" in run("recipes", "--debug")[2]
        assert "Traceback" in run("--debug", "recipes")[2]


def test_every_command_takes_plugin_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    assert run("show", "executor", "own", "--plugin", "mine.py")[0] == 0
    for command in app.build().registered_commands:
        code, out, _ = run(str(command.name), "--help")
        assert (code, "--plugin" in out, "--debug" in out) == (0, True, True), command.name


def test_options_of_a_command_are_kept(tmp_path: Path) -> None:
    seen: list[object] = []

    def command(number: int, plugin: int = 3) -> int:
        seen.append((number, plugin))
        return number

    assert with_common_options(command)(5, debug=True) == 5
    assert seen == [(5, 3)]


def test_a_place_that_cannot_be_written_is_the_users_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "inside").mkdir()
    code, line = explain(caught.value)
    assert code == 2
    assert line.startswith(f"dynaip: {tmp_path / 'file' / 'inside'}: Not a directory")
    assert explain(OSError("no errno"))[0] == 1


COMMANDS = """
import typer
from dynaip.errors import InputError
from dynaip.registry import Command, hookimpl

app = typer.Typer()

@app.command()
def loud(text: str) -> None:
    typer.echo(text.upper())

@app.command()
def wrong() -> None:
    raise InputError("nothing to be loud about")

def train() -> None:
    typer.echo("not the house's own")

def two(number: int = 1) -> None:
    typer.echo(str(2 * number))

@hookimpl
def dynaip_commands():
    return [Command("voice", "own:app"), Command("two", two), Command("train", train), Command("gone", "own:nothing")]
"""


@pytest.mark.parametrize("spelt", [["--plugin", "own.py"], ["--plugin=own.py"]])
def test_plugins_bring_commands(run: Run, tmp_path: Path, spelt: list[str]) -> None:
    (tmp_path / "own.py").write_text(COMMANDS)
    assert run("voice", "loud", "hush", *spelt) == (0, "HUSH\n", "")
    assert run("two", "--number", "4", *spelt) == (0, "8\n", "")
    assert run("voice", "wrong", *spelt) == (2, "", "dynaip: nothing to be loud about\n")
    assert "See dynaip two --help" in run("two", "--number", "x", *spelt)[2]


def test_a_plugin_takes_no_command_of_the_house(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(COMMANDS)
    assert run("train", "--plugin", "own.py")[0] == 2  # the file that train wants is missing
    _, out, _ = run("plugins", "--errors", "--plugin", "own.py")
    assert "own:train" in out
    assert "there is a command of that name already" in out
    assert "own:gone" in out
    assert run("gone", "--plugin", "own.py")[0] == 2


COMPUTE = {
    "train": "train microworld/demo", "generate": "generate microworld star", "evaluate": "evaluate microworld",
    "analyze": "analyze microworld routing", "ablate": "ablate microworld/demo", "encode": "encode microworld/demo",
    "plan": "plan microworld/demo", "score": "score . --benchmark microworld", "reproduce": "reproduce out.png",
    "doctor": "doctor", "ui": "ui", "microworld build": "microworld build out", "microworld measure": "microworld measure",
}  # fmt: skip
NOT_HERE = r"dynaip: device 'cuda:63' is not on this machine; there are cpu.*\n"


def with_device(command: Any, name: str = "") -> Iterator[str]:
    """Names of the commands that take ``--device``."""
    for part, each in getattr(command, "commands", {}).items():
        yield from with_device(each, f"{name} {part}".strip())
    if any("--device" in parameter.opts for parameter in command.params):
        yield name


def test_every_command_that_computes_takes_a_device() -> None:
    assert set(with_device(typer.main.get_command(app.build()))) == set(COMPUTE)


@pytest.mark.parametrize("command", COMPUTE.values(), ids=COMPUTE)
def test_a_device_that_is_not_here_is_one_line(run: Run, tmp_path: Path, command: str) -> None:
    """Before anything is read or written."""
    code, out, line = run(*command.split(), "--device", "cuda:63")
    assert (code, out) == (2, "")
    assert re.fullmatch(NOT_HERE, line)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_the_environment_names_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAIP_DEVICE", "cuda:63")
    code, _, line = run("generate", "microworld", "star")
    assert code == 2
    assert re.fullmatch(NOT_HERE, line)


RED, TURN = "\x1b[31m", "\u202e"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"{RED}train"],
        ["check", f"{RED}x.yaml"],
        ["check", f"{TURN}x.yaml"],
        ["check", "microworld/dynaip", "-s", f"{RED}=1"],
        ["check", "microworld/dynaip", "-s", f"training.steps={RED}"],
        ["check", "microworld/dynaip", "-s", f"fusion={RED}"],
        ["generate", f"{RED}run", "a star"],
        ["generate", "microworld", "a star", "--ref", f"{RED}.png"],
        ["generate", "microworld", "a star", f"--{RED}"],
        ["analyze", f"[/red]{RED}", "routing"],
        ["report", f"{RED}"],
        ["show", "fusion", f"{RED}"],
        ["plugins", "--plugin", f"{RED}.py"],
        ["check", "microworld/dynaip", "--debug", "-s", f"fusion={RED}"],
    ],
)
def test_no_control_character_reaches_the_terminal(run: Run, arguments: list[str]) -> None:
    code, out, error = run(*arguments)
    assert code == 2
    assert not {"\x1b", TURN, "\r"} & set(out + error)
    assert "x1b[31m" in error or "u202e" in error


def test_a_config_is_shown_without_control_characters(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        f'base: microworld/dynaip\nquestion: "{TURN}?"\naxes: {{training.seed: [1]}}\n', encoding="utf-8"
    )
    code, out, _ = run("check", "own.yaml")
    assert code == 0
    assert TURN not in out
    assert "u202e" in out.lower()


def test_too_little_memory_is_one_line_that_says_what_needs_less() -> None:
    import torch

    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. If reserved but unallocated …")
    said = "dynaip: CUDA out of memory. Tried to allocate 2.00 GiB."
    code, line = explain(error)
    assert code == 1
    assert line.startswith(f"{said} Less is needed with a smaller batch")
    error.add_note("a step takes about 9 GB")
    assert explain(error)[1].startswith(f"{said} Here a step takes about 9 GB. Less is needed with a smaller batch")
    assert all(each in line for each in ("gradient_checkpointing", "quantization", "--offload model"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "~nobody-here/a.yaml"], "neither a config file nor a recipe"),
        (["check", "Own.yaml"], r"Did you mean own\.yaml\?"),
        (["check", "onw.yaml"], r"Did you mean own\.yaml\?"),
        (["check", "own.yaml "], r"Did you mean own\.yaml\?"),
        (["check", "microworld/dynaip", "--plugin", "~nobody-here/a.py"], "does not exist"),
        (["check", "microworld/dynaip", "--plugin", "nime.py"], r"Did you mean mine\.py\?"),
        (["check", "nul.yaml"], "write a list of Python files"),
        (["check", "flux/dynaip", "-s", 'source.folder="\\0"'], "source.folder: a path holds no null character"),
        (["generate", "~nobody-here/run", "a star"], "no such folder"),
        (["report", "~nobody-here/run"], "there is no such folder"),
    ],
)
def test_paths_that_are_not_there_are_one_line(run: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "own.yaml").write_text("base: microworld/dynaip\n")
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "nul.yaml").write_text('base: microworld/dynaip\nplugins: ["a\\0b.py"]\n')
    code, _, error = run(*arguments)
    assert code == 2
    assert error.count("\n") == 1
    import re

    assert re.search(words, error), error


def test_sigterm_ends_any_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it comes, models being loaded by code that swallows every exception included."""

    def loading(*arguments: object, **options: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            pytest.fail("swallowed")

    monkeypatch.setattr(app, "build", lambda files: loading)
    assert app.main(["train", "x"]) == 75
    assert capsys.readouterr().err.count("\n") == 1


def test_a_tilde_is_one_s_home_wherever_a_path_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``--out=~/x`` reaches a command as it is written: the shell leaves it alone."""
    from dynaip.cli.app import at_home

    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home(Path("~/x")) == tmp_path / "x"
    assert at_home([Path("~/a"), Path("b")]) == [tmp_path / "a", Path("b")]
    assert at_home("~ a prompt") == "~ a prompt"
    assert main(["recipes", "copy", "microworld/dynaip", "~/mine.yaml"]) == 0
    assert (tmp_path / "mine.yaml").is_file()


def test_h_is_help_everywhere(run: Run) -> None:
    for command in ([], ["recipes"], ["recipes", "copy"], ["generate"]):
        assert run(*command, "-h") == run(*command, "--help")
        assert run(*command, "-h")[0] == 0


def test_the_list_of_commands_tells_whole_sentences(run: Run) -> None:
    listed = run("--help")[1].partition("Commands:")[2]
    assert "..." not in listed
    assert "paint the prompt with the subjects of the references." in " ".join(listed.split())


def test_shells_complete_commands_options_recipes_and_configs(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    for name in ("mine.yaml", "mine.txt"):
        (tmp_path / name).touch()
    completed = {"gen": "generate", "generate --gran": "--granularity", "ablate microworld/fus": "microworld/fusion",
                 "train micro": "microworld/", "check min": "mine.yaml"}  # fmt: skip
    for typed, last in completed.items():
        words = f"dynaip {typed}"
        asked = {"_DYNAIP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        done = subprocess.run(
            [sys.executable, "-m", "dynaip.cli"], capture_output=True, text=True, env=environment | asked, cwd=tmp_path
        )
        assert all(each.startswith(last) for each in done.stdout.split()) and last in done.stdout, done.stderr


def test_quiet_keeps_tables_and_errors_alone(run: Run) -> None:
    assert run("recipes", "copy", "microworld/demo", "a.yaml", "-q") == (0, "", "")
    assert Path("a.yaml").is_file()
    assert run("--quiet", "recipes")[1] == run("recipes")[1] != ""
    assert "exists" in run("recipes", "copy", "microworld/demo", "a.yaml", "-q")[2]
    assert run("recipes", "copy", "microworld/demo", "b.yaml")[1] == "wrote b.yaml\n"


def test_tables_are_there_as_json(run: Run) -> None:
    import json

    assert {"recipe", "summary"} == json.loads(run("recipes", "--json")[1])[0].keys()
    shown = json.loads(run("show", "fusion", "hmoe", "--json")[1])
    assert (
        shown["name"] == "builtin:hmoe" and {"option", "type", "default", "description"} == shown["options"][0].keys()
    )
