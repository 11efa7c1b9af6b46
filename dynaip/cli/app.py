"""Wires the commands: every file beside this one that defines a function (or a Typer ``app``) of its own name.

A command module is imported for ``--help``, so it imports heavy things (torch, pandas, …) inside its function.
Each command also takes ``--plugin FILE`` and ``--debug``, and its errors become one line on stderr.
"""

from __future__ import annotations

import errno
import functools
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dynaip
from dynaip.cli.options import Debug, PluginFiles
from dynaip.errors import DynaIPError
from dynaip.quiet import quiet_libraries
from dynaip.suggest import did_you_mean, one_line

_HELP = "DynaIP: personalise diffusion transformers with reference images; train, compare and understand the adapters."

_INTERRUPTED = 130
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
    if "--debug" not in given:  # it shows what other libraries have to say
        quiet_libraries()
    try:
        result = build()(given, prog_name="dynaip", standalone_mode=False)
        if result == _INTERRUPTED:  # typer's way of passing Ctrl-C on
            print(explain(KeyboardInterrupt())[1], file=sys.stderr)
        return result if isinstance(result, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in given:
            traceback.print_exc()
        code, line = explain(error)
        print(" ".join(line.split()), file=sys.stderr)
        return code


def explain(error: BaseException) -> tuple[int, str]:
    """Give the exit code of an error and the one line that says what to change."""
    if isinstance(error, typer.TyperException):
        return 2, _usage(error)
    if isinstance(error, DynaIPError):
        return error.exit_code, f"dynaip: {error}"
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _INTERRUPTED, "dynaip: interrupted; what is finished is kept"
    if isinstance(error, OSError) and error.errno in _PLACES and error.filename:
        return 2, f"dynaip: {error.filename}: {error.strerror}: name another place, or make this one writable"
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


def build() -> typer.Typer:
    """Make the application of all command modules beside this file."""
    app = typer.Typer(
        cls=_Sorted, help=_HELP, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.callback(invoke_without_command=True)(_root)
    for module in _command_modules():
        _wire(app, module)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Debug = False,
) -> None:
    # `debug` is read from the arguments as they were given, so that it also works where they cannot be parsed.
    if version:
        typer.echo(f"dynaip {dynaip.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _command_modules() -> list[ModuleType]:
    import dynaip.cli

    names = [found.name for found in pkgutil.iter_modules(dynaip.cli.__path__) if not found.name.startswith("_")]
    return [import_module(f"dynaip.cli.{name}") for name in names if name != "app"]


def _wire(app: typer.Typer, module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    command = getattr(module, name, None)
    group = getattr(module, "app", None)
    if isinstance(group, typer.Typer):
        listing = [group.registered_callback] if group.registered_callback else []
        for registered in [*group.registered_commands, *listing]:
            if registered.callback:
                registered.callback = with_common_options(registered.callback)
        app.add_typer(group, name=name)
    elif callable(command):
        app.command(name.rstrip("_"))(with_common_options(command))


def with_common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--plugin`` and ``--debug`` to a command that does not declare them itself."""
    signature = inspect.signature(command, eval_str=True)
    added = {
        name: kind for name, kind in (("plugin", PluginFiles), ("debug", Debug)) if name not in signature.parameters
    }

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in added}
        _load(given.get("plugin") or [])
        return command(*args, **kwargs)

    keyword = inspect.Parameter.KEYWORD_ONLY
    extra = [inspect.Parameter(name, keyword, default=_DEFAULTS[name], annotation=kind) for name, kind in added.items()]
    parameters = list(signature.parameters.values())
    run.__signature__ = signature.replace(parameters=[*parameters, *extra])  # pyright: ignore[reportAttributeAccessIssue]
    return run


_DEFAULTS: dict[str, Any] = {"plugin": None, "debug": False}


def _load(files: Sequence[Any]) -> None:
    if files:
        from dynaip.registry import registry

        for file in files:
            registry().load_file(file)
