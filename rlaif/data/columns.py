"""Columns of a row by name, also of those inside others: `prompt.text`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

MISSING: Any = object()
"""What `at` returns for a column that is not there, which is not the same as null."""


def at(row: Mapping[str, Any], name: str) -> Any:
    """Return a column's value, or `MISSING`. A column of the whole name goes before one inside another."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        if value is None:
            return None  # a null mapping has null columns
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Copy a row without a column; of one inside another only this one is left out."""
    if name in row:
        return {key: value for key, value in row.items() if key != name}
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return {**row, head: without(inner, rest)} if rest and isinstance(inner, Mapping) else dict(row)


def names(columns: Iterable[Any]) -> str:
    """List columns for a message."""
    return ", ".join(map(str, itertools.islice(columns, 20))) or "none"
