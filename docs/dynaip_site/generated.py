"""Pages that are made from the code when the site is built: commands, components, configs, recipes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; nothing in a cell ends it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines) + "\n"


def cell(value: object) -> str:
    """Text in a cell."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` has them."""
    import typer

    from dynaip.cli.app import build

    parts = [
        "# Commands",
        "What `--help` of each command says. [The command line](command-line.md) tells what belongs together.",
    ]
    group: Any = typer.main.get_command(build())
    for path, command in walk(group, "dynaip"):
        parts += [f"## {path}", str(command.help or ""), "```text\n" + usage(path, command) + "\n```"]
        given = [parameter for parameter in command.params if parameter.name not in ("help", "plugin", "debug")]
        if given:
            parts.append(table(("argument or option", "default", "what it is"), [row(each) for each in given]))
    return "\n\n".join(parts) + "\n"


def walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below a group, by the words that call it."""
    for name, command in sorted(group.commands.items()):
        words = f"{path} {name}"
        if not hasattr(command, "commands") or command.callback:
            yield words, command
        if hasattr(command, "commands"):
            yield from walk(command, words)


def usage(path: str, command: Any) -> str:
    """The line that calls a command."""
    return " ".join([path, *(argument_name(each) for each in command.params if is_argument(each)), "[OPTIONS]"])


def is_argument(parameter: Any) -> bool:
    """Whether it is given by place and not by name."""
    return parameter.param_type_name == "argument"


def argument_name(parameter: Any) -> str:
    """What stands for an argument in the help."""
    name = parameter.metavar or str(parameter.name).upper()
    return name if parameter.required else f"[{name}]"


def row(parameter: Any) -> tuple[str, str, str]:
    """An argument or option: how it is written, its default, its help."""
    if is_argument(parameter):
        written = f"`{argument_name(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or value_words(parameter)}"
        written = f"`{', '.join(parameter.opts)}{value}`"
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) or parameter.required else f"`{default}`"
    return written, shown, str(getattr(parameter, "help", "") or "")


def value_words(parameter: Any) -> str:
    """What stands for the value of an option that names none: its type."""
    kind = parameter.type_descriptor.annotation
    return {int: "N", float: "X", str: "TEXT"}.get(kind, getattr(kind, "__name__", "VALUE").upper())


def components() -> str:
    """Every component of the registry with its options."""
    from dynaip.config.describe import describe
    from dynaip.registry import KINDS, registry

    parts = [
        "# Components",
        "What there is to choose from by name, and the options of each: `dynaip plugins`, `dynaip show KIND NAME`.",
    ]
    for kind in KINDS:
        parts += [f"## {kind}", f"Contract: `{KINDS[kind].contract.replace(':', '.')}`."]
        for entry in registry().components(kind):
            component = entry.component
            needs = f' Needs `pip install "dynaip[{component.extra}]"`.' if component.extra else ""
            parts += [f"### {kind}: {component.name}", f"{component.summary} (`{entry.qualified}`).{needs}"]
            found = describe(registry().config_class(kind, entry.qualified))
            if found:
                parts.append(described(found))
    return "\n\n".join(parts) + "\n"


def described(found: Iterable[Any]) -> str:
    """Options with types, defaults and what they do."""
    rows = [(f"`{each.name}`", f"`{each.type}`", f"`{each.default}`", each.text) for each in found]
    return table(("option", "type", "default", "what it does"), rows)


def options() -> str:
    """The keys of experiments and ablations."""
    from dynaip import config
    from dynaip.config.describe import describe

    parts = ["# Keys of a config", "[Configs](configs.md) says how a file is written; these are all its keys."]
    shown = {
        "An experiment": config.ExperimentConfig,
        "adapter": config.AdapterConfig,
        "training": config.TrainingConfig,
        "evaluation": config.EvaluationConfig,
        "An ablation": config.AblationConfig,
    }
    for title, keys in shown.items():
        own = [each for each in describe(keys) if "." not in each.name]
        parts += [f"## {title}", str(keys.__doc__), described(own)]
    return "\n\n".join(parts) + "\n"


def recipes() -> str:
    """The configs that ship, as they are."""
    from dynaip.config import recipes as shipped

    parts = [
        "# Recipes",
        "`dynaip recipes copy NAME FILE` writes one to change; `base: NAME` in a file starts from one.",
    ]
    for name, file in shipped().items():
        parts += [f"## {name}", f"```yaml\n{file.read_text(encoding='utf-8')}```"]
    return "\n\n".join(parts) + "\n"


PAGES = {
    "reference/commands.md": commands,
    "reference/components.md": components,
    "reference/options.md": options,
    "reference/recipes.md": recipes,
}
"""Address of each page and what makes its Markdown."""
