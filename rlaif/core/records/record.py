"""
What records have in common: they are read from JSON, written back to the same JSON, and refuse what they do not know.

A record is a frozen dataclass whose fields are the keys, in the order in which they are written. A key that stands
only at times has the type `Sometimes[...]` and the default `ABSENT`; so has a key that a later version adds, for files
of earlier versions lack it. Numbers are kept as they were read: 1 stays 1, and 1.0 stays 1.0.

`from_json` refuses what does not fit. `salvage` reads what fits of a damaged file, or of one of another version.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.system.files import finite

T = TypeVar("T")
R = TypeVar("R", bound="Record")


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


Interval = tuple[float, float]
"""The lower and the upper end."""

Policy = Literal["refuse", "keep", "salvage"]
"""What to do with what does not fit: refuse it, keep keys that are not known, or take what fits of all."""

Read = Callable[[Any, str, Policy], Any]


class Record:
    """Base of records."""

    __slots__ = ("_order", "_unknown")

    # For the JSON schema: what no field names is refused, and the text below a field describes it.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}

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
        return _read_record(cls, told, where or cls.__name__, "keep" if keep_unknown else "refuse")

    @classmethod
    def salvage(cls, told: object) -> Self:
        """
        Read what fits, and never fail: for files that are damaged, or of another version.

        Keys that are not known are kept. A value that is missing or does not fit becomes absent or null where it may
        be, and else the empty value of its type: no items, no text, 0.
        """
        return _read_record(cls, told if isinstance(told, Mapping) else {}, "", "salvage")

    @classmethod
    def empty(cls) -> Self:
        """Return the record with nothing in it: what `salvage` makes of an empty mapping."""
        return cls.salvage({})

    def with_values(self, **values: Any) -> Self:
        """Return the record with other values; unlike by `dataclasses.replace`, keys that are not known are kept."""
        changed: Any = replace(self, **values)  # type: ignore[type-var]
        if self.unknown_keys:
            object.__setattr__(changed, "_unknown", self.unknown_keys)
        return changed  # type: ignore[no-any-return]

    def finite(self) -> Self:
        """Return the record as it reads back from a file: null for what is no finite number."""
        return type(self).salvage(finite(self.to_json()))

    @property
    def unknown_keys(self) -> Mapping[str, Any]:
        """Keys that no field names, with their values, where they were kept."""
        return getattr(self, "_unknown", {})

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` writes; the keys stand in the order in which they were read."""
        told: dict[str, Any] = {}
        kind: Any = type(self)
        for key, name, further in _keys(kind):
            value = getattr(self, name)
            if further:
                told |= _to_json_value(value)
            elif value is not ABSENT:
                told[key] = _to_json_value(value)
        told |= self.unknown_keys
        order: tuple[str, ...] | None = getattr(self, "_order", None)
        return told if order is None else {key: told[key] for key in order if key in told}


def _to_json_value(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_to_json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json_value(item) for key, item in value.items()}
    return value


@functools.cache
def _keys(cls: Any) -> list[tuple[str, str, bool]]:
    """Return, for each field, its key, its name, and whether it holds further keys."""
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for field in fields(cls):
        marks = getattr(hints[field.name], "__metadata__", ())
        key = next((mark.name for mark in marks if isinstance(mark, Key)), field.name)
        found.append((key, field.name, any(isinstance(mark, Further) for mark in marks)))
    return found


# --- reading ------------------------------------------------------------------------------------------------------


def _read_record(cls: type[R], told: object, at: str, policy: Policy) -> R:
    kind: Any = cls
    found: R = _reader(kind)(told, at, policy)
    return found


@functools.cache
def _reader(hint: Any) -> Read:
    """Make the function that reads a value of a type."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Record):
        return _make_record_reader(hint)
    if origin is Annotated:
        return _reader(parts[0])
    if origin in (Union, types.UnionType):
        return _make_union_reader(parts)
    if origin is Literal:
        return _make_literal_reader(parts)
    if origin is tuple:
        return _make_list_reader(parts)
    if origin is not None and issubclass(origin, Mapping):
        return _make_mapping_reader(*map(_reader, parts))
    return _PLAIN[hint]


def _make_record_reader(cls: Any) -> Read:
    def read(told: Any, at: str, policy: Policy) -> Record:
        salvages = policy == "salvage"
        if not isinstance(told, Mapping):
            raise _wrong(at, "a mapping", told)
        keys = _keys_to_read(cls)
        found: dict[str, Any] = {}
        for key in keys.needed:
            if key not in told:
                if not salvages:
                    raise InputError(f"{at}: the key {key!r} is missing")
                name, _, hint = keys.readers[key]
                found[name] = _empty_value(hint)
        further: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        for key, value in told.items():
            if key in keys.readers:
                name, reader, hint = keys.readers[key]
                try:
                    found[name] = reader(value, f"{at}: {key}" if at else "", policy)
                except InputError:
                    if not salvages:
                        raise
                    found[name] = _empty_value(hint)
            elif keys.further is not None:
                further[key] = value
            elif policy == "refuse":
                raise InputError(f"{at}: unknown key {key!r}; it may be of another version of rlaif")
            else:
                unknown[key] = value
        record: Record = cls(**found, **({keys.further: further} if keys.further else {}))
        if unknown:
            object.__setattr__(record, "_unknown", unknown)
        if list(told) != keys.order(told):
            object.__setattr__(record, "_order", tuple(told))
        return record

    return read


@dataclass(frozen=True)
class _KeysToRead:
    """
    How the keys of a record are read.

    Args:
        readers: name of the field, its reader and its type, by key.
        needed: keys that may not be absent.
        further: name of the field that holds keys which are not among these; None: there is none.

    """

    readers: Mapping[str, tuple[str, Read, Any]]
    needed: tuple[str, ...]
    further: str | None

    def order(self, told: Mapping[Any, object]) -> list[str]:
        """Return the keys of a mapping in the order in which a record writes them."""
        return [*(key for key in self.readers if key in told), *(key for key in told if key not in self.readers)]


@functools.cache
def _keys_to_read(cls: Any) -> _KeysToRead:
    hints = get_type_hints(cls, include_extras=True)
    readers = {key: (name, _reader(hints[name]), hints[name]) for key, name, further in _keys(cls) if not further}
    needed = tuple(key for key, (_, _, hint) in readers.items() if Absent not in get_args(hint))
    return _KeysToRead(readers, needed, next((name for _, name, further in _keys(cls) if further), None))


@functools.cache
def _empty_value(hint: Any) -> Any:
    """Return what stands for a value that is missing or damaged."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.empty()
    if origin is Annotated:
        return _empty_value(parts[0])
    if origin in (Union, types.UnionType):
        return ABSENT if Absent in parts else None if type(None) in parts else _empty_value(parts[0])
    if origin is Literal:
        return ""
    if origin is tuple:
        return () if parts[-1] is Ellipsis else tuple(map(_empty_value, parts))
    if origin is not None and issubclass(origin, Mapping):
        return {}
    return None if hint is Any else hint()


def _make_union_reader(parts: tuple[Any, ...]) -> Read:
    readers = [_reader(part) for part in parts if part not in (type(None), Absent)]
    nullable = type(None) in parts

    def read(value: Any, at: str, policy: Policy) -> Any:
        if value is None and nullable:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value, at, policy)
            except InputError:
                continue
        return readers[-1](value, at, policy)

    return read


def _make_literal_reader(values: tuple[Any, ...]) -> Read:
    def read(value: Any, at: str, policy: Policy) -> Any:
        if value not in values:
            raise _wrong(at, " or ".join(map(repr, values)), value)
        return value

    return read


def _make_list_reader(parts: tuple[Any, ...]) -> Read:
    open_end = parts[-1] is Ellipsis
    readers = [_reader(part) for part in parts if part is not Ellipsis]

    def read(value: Any, at: str, policy: Policy) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(at, "a list", value)
        if not open_end and len(value) != len(readers):
            raise _wrong(at, f"a list of {len(readers)}", value)
        found = []
        for i, (reader, item) in enumerate(zip(readers * len(value) if open_end else readers, value, strict=True)):
            try:
                found.append(reader(item, f"{at}[{i}]", policy))
            except InputError:
                if policy != "salvage" or not open_end:
                    raise
        return tuple(found)

    return read


def _make_mapping_reader(read_key: Read, read_value: Read) -> Read:
    def read(value: Any, at: str, policy: Policy) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(at, "a mapping", value)
        found: dict[str, Any] = {}
        for key, item in value.items():
            try:
                found[read_key(key, at, policy)] = read_value(item, f"{at}.{key}", policy)
            except InputError:
                if policy != "salvage":
                    raise
        return found

    return read


def _make_plain_reader(what: str, *kinds: type) -> Read:
    def read(value: Any, at: str, policy: Policy) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _wrong(at, what, value)
        return value

    return read


def _read_finite(value: Any, at: str, policy: Policy) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(at, "a finite number", value)
    return value


_PLAIN: dict[Any, Read] = {
    str: _make_plain_reader("text", str),
    bool: _make_plain_reader("true or false", bool),
    int: _make_plain_reader("a whole number", int),
    float: _read_finite,
    Any: lambda value, at, policy: value,
}


def _wrong(at: str, wanted: str, value: Any) -> InputError:
    return InputError(f"{at}: should be {wanted}, not {short_repr(value)}")
