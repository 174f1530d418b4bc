"""Looks up columns of a row by name, also nested ones such as `prompt.text` or `choices.0.message.content`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import did_you_mean, short_repr

MISSING: Any = object()
"""Returned by `get_column` if there is no such column; a null column is None."""


def get_column(row: Mapping[str, object], name: str) -> Any:
    """
    Return the value of a column, or `MISSING`.

    Args:
        row: a row of the data.
        name: name of the column, or a path to a nested one: keys and list indices (from 0), joined by dots. A column
            with exactly this name takes precedence.

    """
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        if value is None:
            return None  # a null mapping has null columns
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif _is_list(value) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def refuse_missing(row: Mapping[str, object], name: str, where: str) -> None:
    """Raise `InputError` if the row has no such column."""
    if get_column(row, name) is MISSING:
        hint = did_you_mean(name, [str(column) for column in row])
        raise InputError(f"{where}: has no column {short_repr(name)}{hint}; there are: {names(row)}")


def drop_column(row: Mapping[str, object], name: str) -> dict[str, object]:
    """Return a copy of a row without a column. For a nested column, the rest of its parent stays."""
    if name in row:
        return {key: value for key, value in row.items() if key != name}
    head, _, rest = name.partition(".")
    inner = row.get(head)
    return {**row, head: drop_column(inner, rest)} if rest and isinstance(inner, Mapping) else dict(row)


def names(columns: Iterable[Any]) -> str:
    """List columns for a message."""
    return ", ".join(map(str, itertools.islice(columns, 20))) or "none"


TOXICITY_COLUMNS = ("prompt_toxicity", "prompt.toxicity", "toxicity")
"""Columns with the toxicity of a prompt; the second is the one of RealToxicityPrompts."""


def toxicity_of_prompt(columns: Mapping[str, object], *, is_flat: bool = True) -> float | None:
    """
    Return the toxicity of a prompt according to its data, in [0, 1], or None if the data has none.

    Args:
        columns: columns of its row, without the prompt.
        is_flat: whether a column `toxicity` is about the prompt; beside a saved completion it may be about that.

    """
    for name in TOXICITY_COLUMNS[: None if is_flat else 2]:
        value = get_column(columns, name)
        if value is not MISSING and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
    return None
