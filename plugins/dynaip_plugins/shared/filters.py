"""Filters as people write them (``3.5 <= score <= 4 and kind in ("a", "b")``), read without running anything."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Value = Callable[[Row], Any]

MISSING = object()
"""What a column is where the row has none."""
LONGEST = 4000
"""Letters of a filter at most."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_EXAMPLE = 'e.g. score >= 3.5 and kind in ("a", "b")'


def value_at(row: Row, column: str) -> Any:
    """The value of a column, of its part where the name has dots; ``MISSING`` where there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


class Filter:
    """A condition on rows: comparisons (also chained), ``in``, ``is None``, ``and``, ``or``, ``not``.

    Columns are plain or dotted names, or ``column("any name")``. A value that is missing, null or of another type fulfils no
    comparison but ``!=``; text that reads as a number counts as one beside a number. Raises ``ValueError`` that says what is
    not understood.
    """

    def __init__(self, text: str) -> None:
        self.columns: dict[str, None] = {}
        """The columns that it asks, in the order in which they stand."""
        if len(text) > LONGEST:
            raise ValueError(f"a filter has {LONGEST} letters at most")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"no filter can be read in {text!r}: write {_EXAMPLE}") from error
        self._test = self._condition(tree)
        if not self.columns:
            raise ValueError(f"{text!r} asks no column: write {_EXAMPLE}")

    def __call__(self, row: Row) -> bool:
        """Whether a row fulfils it."""
        return self._test(row)

    def _condition(self, node: ast.expr) -> Callable[[Row], bool]:
        if isinstance(node, ast.BoolOp):
            parts = [self._condition(each) for each in node.values]
            if isinstance(node.op, ast.And):
                return lambda row: all(part(row) for part in parts)
            return lambda row: any(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._condition(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            return self._compared(node)
        value = self._value(node)
        return lambda row: value(row) is True

    def _compared(self, node: ast.Compare) -> Callable[[Row], bool]:
        sides = [self._value(each) for each in (node.left, *node.comparators)]
        steps = [
            self._step(operation, left, right)
            for operation, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True)
        ]
        return steps[0] if len(steps) == 1 else lambda row: all(step(row) for step in steps)

    def _step(self, operation: ast.cmpop, left: Value, right: Value) -> Callable[[Row], bool]:
        if isinstance(operation, ast.Is | ast.Eq):
            return lambda row: _equal(left(row), right(row))
        if isinstance(operation, ast.IsNot | ast.NotEq):
            return lambda row: not _equal(left(row), right(row))
        if isinstance(operation, ast.In):
            return lambda row: _contains(right(row), left(row))
        if isinstance(operation, ast.NotIn):
            return lambda row: not _contains(right(row), left(row))
        compare = _COMPARE[type(operation)]
        return lambda row: _ordered(compare, left(row), right(row))

    def _value(self, node: ast.expr) -> Value:
        if (name := _column(node)) is not None:
            self.columns[name] = None
            return lambda row: value_at(row, name)
        try:
            constant = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(f"{ast.unparse(node)!r} is neither a column nor a value: write {_EXAMPLE}") from None
        return lambda row: constant


def _column(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _column(node.value)
        return None if before is None else f"{before}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column":
        given = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            return given.value
    return None


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Text beside a number as a number, where it reads as one: all values of a csv file are text."""
    if isinstance(left, str) and isinstance(right, int | float) and not isinstance(right, bool):
        return _number(left), right
    if isinstance(right, str) and isinstance(left, int | float) and not isinstance(left, bool):
        return left, _number(right)
    return left, right


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _equal(left: Any, right: Any) -> bool:
    left, right = (None if each is MISSING else each for each in (left, right))
    left, right = _alike(left, right)
    return bool(left == right)


def _contains(values: Any, value: Any) -> bool:
    if isinstance(values, str):
        return isinstance(value, str) and value in values
    return isinstance(values, list | tuple | set) and any(_equal(value, each) for each in values)


def _ordered(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    left, right = _alike(left, right)
    try:
        return left is not MISSING and right is not MISSING and bool(compare(left, right))
    except TypeError:
        return False
