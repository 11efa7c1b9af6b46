"""``dynaip recipes``: the configs that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynaip.cli.options import AsJson
from dynaip.cli.output import echo_json, say

app = typer.Typer(help="List the configs that ship, or copy one to change it.", invoke_without_command=True)


@app.callback()
def recipes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the configs that ship, or copy one to change it."""
    if context.invoked_subcommand is not None:
        return
    from dynaip.cli.tables import show_table
    from dynaip.config import recipes as shipped

    rows = [(name, _purpose(file)) for name, file in shipped().items()]
    if as_json:
        echo_json([{"recipe": name, "summary": purpose} for name, purpose in rows])
    else:
        show_table(("recipe", "what it is"), rows)


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a recipe, e.g. microworld/demo.")],
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default its own name, here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of your own."""
    from dynaip.atomic import write_text
    from dynaip.config import recipes as shipped
    from dynaip.errors import InputError
    from dynaip.suggest import did_you_mean

    if name not in shipped():
        raise InputError(
            f"there is no recipe {name!r}.{did_you_mean(name, shipped())} Recipes: {', '.join(shipped())}."
        )
    source = shipped()[name]
    target = file or Path(source.name)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        raise InputError(f"{target} exists: give another file name, or --force to overwrite it")
    try:
        write_text(target, source.read_text(encoding="utf-8"))
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{target} cannot be written: {reason}") from error
    say(f"wrote {target}")


def _purpose(file: Path) -> str:
    """A recipe's first line says what it is."""
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
