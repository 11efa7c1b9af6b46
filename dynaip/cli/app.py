"""Wires the commands: files beside this one that define a function of their own name or a Typer ``app``, and plugins' own.

A command module is imported for ``--help``, so it imports heavy things (torch, pandas, …) inside its function.
Each command also takes ``--plugin FILE``, ``--debug`` and ``--quiet``, and its errors become one line on stderr.
"""

from __future__ import annotations

import errno
import functools
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dynaip
from dynaip.cli.options import Debug, PluginFiles, Quiet
from dynaip.errors import DynaIPError
from dynaip.paths import at_home as home
from dynaip.plain import one_plain_line, plain
from dynaip.quiet import hush, quiet_libraries
from dynaip.registry import registry
from dynaip.signals import interruptible
from dynaip.suggest import did_you_mean, one_line

_HELP = "DynaIP: personalise diffusion transformers with reference images; train, compare and understand the adapters."

_INTERRUPTED = 130
_LESS_MEMORY = (
    "Less is needed with a smaller batch (training.batch_size, evaluation.batch_size), with training.gradient_checkpointing: "
    "true, with a quantised base (backbone.quantization), or with --offload model"
)
_PLACES = frozenset(
    {
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.EDQUOT,
    }
)
"""What the system answers where a file cannot be written or read: nothing of ours is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 (the user's input) or 1 (a failure of ours or of an arm)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with hush() if {"--quiet", "-q"} & set(given) else nullcontext():
        return _run(given)


def _run(given: list[str]) -> int:
    if "--debug" not in given:  # it shows what other libraries have to say
        quiet_libraries()
    try:
        with interruptible("stopped; what is finished is kept (train and ablate go on with --resume)"):
            result = build(_plugin_files(given))(given, prog_name="dynaip", standalone_mode=False)
        if result == _INTERRUPTED:  # typer's way of passing Ctrl-C on
            print(explain(KeyboardInterrupt())[1], file=sys.stderr)
        return result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in given:
            print(plain(traceback.format_exc()), file=sys.stderr)
        code, line = explain(error)
        for each in line.split("\n"):
            print(one_plain_line(each), file=sys.stderr)
        return code


def _plugin_files(arguments: Sequence[str]) -> list[str]:
    """Files named by ``--plugin``: the command itself may be one of theirs."""
    following = [value for option, value in pairwise(arguments) if option == "--plugin"]
    return following + [each.partition("=")[2] for each in arguments if each.startswith("--plugin=")]


def explain(error: BaseException) -> tuple[int, str]:
    """Give the exit code of an error and the line that says what to change; several mistakes in a config have one each."""
    if isinstance(error, typer.TyperException):
        return 2, _usage(error)
    if isinstance(error, DynaIPError):
        lines = str(error).split("\n") if getattr(error, "complaints", ()) else [one_plain_line(str(error))]
        return error.exit_code, "\n".join(f"dynaip: {line}" for line in lines)
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _INTERRUPTED, "dynaip: interrupted; what is finished is kept"
    if isinstance(error, OSError) and error.errno in _PLACES and error.filename:
        return 2, f"dynaip: {error.filename}: {error.strerror}: name another place, or make this one writable"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which nothing here imports
        needed = one_line(error).removeprefix("OutOfMemoryError: ").partition(" If reserved")[0]
        estimates = "".join(f" Here {note}." for note in getattr(error, "__notes__", ()))
        return 1, f"dynaip: {needed}{estimates} {_LESS_MEMORY}"
    return 1, f"dynaip: unexpected {one_line(error)} (run again with --debug for the traceback)"


def _usage(error: typer.TyperException) -> str:
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context else "dynaip"
    wrong, text = getattr(error, "option_name", None), error.format_message().rstrip(".")
    if wrong and "no such option" in text.lower():
        names = [name for each in context.command.params for name in each.opts] if context else []
        text = f"there is no option {wrong}.{did_you_mean(wrong, names)}"
    return f"{command}: {text.rstrip('.')}{'' if text.endswith('?') else '.'} See {command} --help."


class _Sorted(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx))


def build(plugin_files: Sequence[str] = ()) -> typer.Typer:
    """Make the application: command modules beside this file, then the commands that plugins bring."""
    app = typer.Typer(
        cls=_Sorted, help=_HELP, pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    app.callback(invoke_without_command=True)(_root)
    ours = {name.rstrip("_"): command for name, command in _own_commands()}
    for file in plugin_files:
        with suppress(DynaIPError):  # the command that is given the file loads it again, and says what is wrong
            registry().load_file(file)
    for name, command in {**registry().commands(taken=ours), **ours}.items():
        _add(app, name, command)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    # `debug` and `quiet` are read from the arguments as they were given, so that they also work where those cannot be parsed.
    if version:
        typer.echo(f"dynaip {dynaip.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _own_commands() -> Iterator[tuple[str, Any]]:
    """Give each module's Typer ``app``, or its function of the module's name; other modules here hold no command."""
    import dynaip.cli

    for found in pkgutil.iter_modules(dynaip.cli.__path__):
        if not found.name.startswith("_") and found.name != "app":
            module = import_module(f"dynaip.cli.{found.name}")
            command = getattr(module, "app", None) or getattr(module, found.name, None)
            if callable(command):
                yield found.name, command


def _add(app: typer.Typer, name: str, command: Any) -> None:
    if not isinstance(command, typer.Typer):
        app.command(name, short_help=_summary(command.__doc__))(with_common_options(command))
        return
    listing = [command.registered_callback] if command.registered_callback else []
    for registered in [*command.registered_commands, *listing]:
        if registered.callback:
            registered.callback = with_common_options(registered.callback)
    app.add_typer(command, name=name)


def _summary(text: str | None) -> str:
    """The first sentence of a command's help, whole: the list of commands would cut it."""
    first = " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) ", first)[0]


def with_common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--plugin``, ``--debug`` and ``--quiet`` to a command that does not declare them itself."""
    signature = inspect.signature(command, eval_str=True)
    common = {"plugin": PluginFiles, "debug": Debug, "quiet": Quiet}
    added = {name: kind for name, kind in common.items() if name not in signature.parameters}

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        kwargs = {name: at_home(value) for name, value in kwargs.items()}
        given = {name: kwargs.pop(name, None) for name in added}
        for file in given.get("plugin") or ():
            registry().load_file(file)
        return command(*args, **kwargs)

    keyword = inspect.Parameter.KEYWORD_ONLY
    extra = [inspect.Parameter(name, keyword, default=_DEFAULTS[name], annotation=kind) for name, kind in added.items()]
    parameters = list(signature.parameters.values())
    run.__signature__ = signature.replace(parameters=[*parameters, *extra])  # pyright: ignore[reportAttributeAccessIssue]
    return run


def at_home(value: Any) -> Any:
    """Give paths with ``~`` as the shell would have written them: it leaves the one in ``--out=~/x`` as it is."""
    if isinstance(value, Path):
        return home(value)
    return [at_home(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


_DEFAULTS: dict[str, Any] = {"plugin": None, "debug": False, "quiet": False}
