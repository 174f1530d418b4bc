"""The keys of a record: marks of its fields, and what they come to."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_type_hints

T = TypeVar("T")


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT
"""The value of a key that does not stand in the file; `None` is one that does, as null."""

Sometimes = Union[T, Absent]  # noqa: UP007, a generic alias has to be one of typing's
"""The type of a key that stands only at times."""


@dataclass(frozen=True)
class Key:
    """The key of a field that cannot have its name in Python: `low: Annotated[float, Key("from")]`."""

    name: str


@dataclass(frozen=True)
class Further:
    """Marks the field that holds keys which are not known here: those that callbacks of users have added."""


class KeyedField(NamedTuple):
    """
    A field of a record.

    Attributes:
        key: in the file.
        name: in Python.
        hint: its type.
        further: whether it holds the keys that no other field has.

    """

    key: str
    name: str
    hint: Any
    further: bool

    @property
    def is_needed(self) -> bool:
        """Whether the key may not be absent."""
        return not self.further and Absent not in get_args(self.hint)


@functools.cache
def fields_of(record: Any) -> tuple[KeyedField, ...]:
    """Return the fields of a record with their keys, in the order in which they are written."""
    hints: Mapping[str, object] = get_type_hints(record, include_extras=True)
    found = []
    for field in fields(record):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        key = next((mark.name for mark in marks if isinstance(mark, Key)), field.name)
        found.append(KeyedField(key, field.name, hint, any(isinstance(mark, Further) for mark in marks)))
    return tuple(found)
