"""Tables on the terminal: as wide as it is, and never cut off where no terminal is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dynaip.plain import plain

WIDTH = 200
"""Signs of a line where no terminal is."""


def width() -> int:
    """Signs that fit into a line."""
    from rich.console import Console

    console = Console()
    return console.width if console.is_terminal else WIDTH


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under column names; the last column wraps."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=width())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index < len(columns) - 2)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)
