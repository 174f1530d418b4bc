"""
What records have in common: they are read from JSON, written back to the same JSON, and refuse what they do not know.

A record is a frozen dataclass whose fields are the keys, in the order in which they are written. A key that stands
only at times has the type `Sometimes[...]` and the default `ABSENT`; so has a key that a later version adds, for files
of earlier versions lack it. Numbers are kept as they were read: 1 stays 1, and 1.0 stays 1.0.

`from_json` refuses what does not fit. `salvage` reads what fits of a damaged file, or of one of another version.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, ClassVar, Self

from rlaif.core.records.keys import ABSENT, Absent, Further, Key, Sometimes, fields_of
from rlaif.core.records.reading import Policy, reader_of
from rlaif.core.system.files import finite

__all__ = ["ABSENT", "Absent", "Further", "Interval", "Key", "Record", "Sometimes"]

Interval = tuple[float, float]
"""The lower and the upper end."""


class Record:
    """Base of records."""

    __slots__ = ("_order", "_unknown")

    # For the JSON schema: what no field names is refused, and the text below a field describes it.
    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "use_attribute_docstrings": True}

    @classmethod
    def from_json(cls, told: object, where: str = "", *, keep_unknown: bool = False) -> Self:
        """
        Read a record from what `json.loads` returned.

        Args:
            told: a mapping.
            where: the file, and the line of one, as the first words of a message.
            keep_unknown: keep keys that are not known, as those of another version, instead of refusing them.

        Raises:
            InputError: a key is missing, unknown, or of another type.

        """
        return cls._read(told, where or cls.__name__, "keep" if keep_unknown else "refuse")

    @classmethod
    def salvage(cls, told: object) -> Self:
        """
        Read what fits, and never fail: for files that are damaged, or of another version.

        Keys that are not known are kept. A value that is missing or does not fit becomes absent or null where it may
        be, and else the empty value of its type: no items, no text, 0.
        """
        return cls._read(told if isinstance(told, Mapping) else {}, "", "salvage")

    @classmethod
    def _read(cls, told: object, at: str, policy: Policy) -> Self:
        kind: Any = cls
        found: Self = reader_of(kind).read(told, at, policy)
        return found

    @classmethod
    def empty(cls) -> Self:
        """Return the record with nothing in it: what `salvage` makes of an empty mapping."""
        return cls.salvage({})

    def replace_values(self, **values: Any) -> Self:
        """Return the record with other values; unlike by `dataclasses.replace`, keys that are not known are kept."""
        changed: Any = replace(self, **values)  # type: ignore[type-var]
        if self.unknown_keys:
            object.__setattr__(changed, "_unknown", self.unknown_keys)
        return changed  # type: ignore[no-any-return]

    def finite(self) -> Self:
        """
        Return the record as it reads back from a file: null for what is no finite number.

        Raises:
            InputError: such a number stands where null may not; another number would be wrong.

        """
        return type(self).from_json(finite(self.to_json()), keep_unknown=True)

    @property
    def unknown_keys(self) -> Mapping[str, object]:
        """Keys that no field names, with their values, where they were kept."""
        return getattr(self, "_unknown", {})

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` writes; the keys stand in the order in which they were read."""
        kind: Any = type(self)
        keys, values_of, further = _keys_and_values(kind)
        told: dict[str, Any] = dict(zip(keys, values_of(self), strict=True))
        if not _PLAIN_TYPES.issuperset(map(type, told.values())):
            for key, value in [*told.items()]:
                if value is ABSENT:
                    del told[key]
                elif type(value) not in _PLAIN_TYPES:
                    told[key] = _to_json_value(value)
        if further:
            told |= told.pop(further)
        told |= self.unknown_keys
        order: tuple[str, ...] | None = getattr(self, "_order", None)
        return told if order is None else {key: told[key] for key in order if key in told}


_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
"""Of values that JSON has as they are."""


@functools.cache
def _keys_and_values(record: Any) -> tuple[tuple[str, ...], Callable[[Record], tuple[object, ...]], str | None]:
    """Return the keys of a record, what reads their values, and the key of the field for further keys, if any."""
    listed = fields_of(record)
    names = [field.name for field in listed]
    one = attrgetter(*names)
    values_of = one if len(names) > 1 else lambda self: (one(self),)
    return tuple(field.key for field in listed), values_of, next((f.key for f in listed if f.further), None)


def _to_json_value(value: Any) -> Any:
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_to_json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json_value(item) for key, item in value.items()}
    return value
