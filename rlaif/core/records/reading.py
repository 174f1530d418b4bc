"""
How records are read from what `json.loads` returned.

Files have thousands of lines of the same keys, so a function of straight code is made for each kind of mapping that is
met, as dataclasses and attrs make `__init__`: a loop over the fields takes three times as long.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from rlaif.core.errors import InputError
from rlaif.core.records.keys import ABSENT, Absent, fields_of
from rlaif.core.schema import short_repr

Policy = Literal["refuse", "keep", "salvage"]
"""What to do with what does not fit: refuse it, keep keys that are not known, or take what fits of all."""

Read = Callable[[Any, str, Policy], Any]
"""Reads a value: the value, where it stands as the first words of a message, and what to do if it does not fit."""


class ValueReader(NamedTuple):
    """
    How values of a type are read.

    Attributes:
        plain: types whose values are taken as they are.
        read: reads all others.
        takes_floats: whether finite floats are taken as they are, too.

    """

    plain: frozenset[type]
    read: Read
    takes_floats: bool = False


@functools.cache
def reader_of(hint: Any) -> ValueReader:
    """Return how values of a type are read."""
    origin, parts = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return ValueReader(frozenset(), _make_record_reader(hint))
    if origin is Annotated:
        return reader_of(parts[0])
    if origin in (Union, types.UnionType):
        return _make_union_reader(parts)
    if origin is Literal:
        return ValueReader(frozenset(), _make_literal_reader(parts))
    if origin is tuple:
        return ValueReader(frozenset(), _make_list_reader(parts))
    if origin is not None and issubclass(origin, Mapping):
        return ValueReader(frozenset(), _make_mapping_reader(*map(reader_of, parts)))
    return _PLAIN[hint]


# --- records ------------------------------------------------------------------------------------------------------


def _make_record_reader(cls: Any) -> Read:
    def read(told: Any, at: str, policy: Policy) -> Any:
        if not isinstance(told, dict) and not isinstance(told, Mapping):
            raise _wrong(at, "a mapping", told)
        shape = _shape(cls, tuple(told))
        if shape.missing is not None and policy != "salvage":
            raise InputError(f"{at}: the key {shape.missing!r} is missing")
        if shape.unknown and policy == "refuse":
            raise InputError(f"{at}: unknown key {shape.unknown[0]!r}; it may be of another version of rlaif")
        record = shape.read(told, at, policy)
        if shape.unknown:
            object.__setattr__(record, "_unknown", {key: told[key] for key in shape.unknown})
        if shape.order:
            object.__setattr__(record, "_order", shape.order)
        return record

    return read


class _Shape(NamedTuple):
    """
    How a record is read from mappings that have certain keys in a certain order.

    Attributes:
        read: makes the record; what no field names is left out.
        missing: the first key that should be there and is not.
        unknown: keys that no field names, or holds as further ones.
        order: of the keys; empty where it is that of the fields.

    """

    read: Read
    missing: str | None
    unknown: tuple[str, ...]
    order: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def _shape(cls: Any, keys: tuple[str, ...]) -> _Shape:
    listed = fields_of(cls)
    known = [field.key for field in listed if not field.further]
    others = tuple(key for key in keys if key not in known)
    usual = (*(key for key in known if key in keys), *others)
    return _Shape(
        read=_compile(cls, keys, others),
        missing=next((field.key for field in listed if field.is_needed and field.key not in keys), None),
        unknown=() if any(field.further for field in listed) else others,
        order=() if keys == usual else keys,
    )


def _compile(cls: Any, keys: tuple[str, ...], others: tuple[str, ...]) -> Read:
    """Make the function that sets field by field; `__init__` of a frozen class would take twice as long."""
    names: dict[str, Any] = {"new": object.__new__, "cls": cls, "isfinite": math.isfinite, "others": others}
    lines = ["def read(told, at, policy):", "    record = new(cls)"]
    for i, field in enumerate(fields_of(cls)):
        names[f"put{i}"] = getattr(cls, field.name).__set__
        if field.further:
            lines.append(f"    put{i}(record, {{key: told[key] for key in others}})")
        elif field.key not in keys:
            names[f"default{i}"] = empty_value(field.hint)
            lines.append(f"    put{i}(record, default{i})")
        else:
            reader = reader_of(field.hint)
            names[f"plain{i}"] = reader.plain
            names[f"fit{i}"] = functools.partial(_fit, field.key, field.hint, reader.read)
            is_finite = " and not (type(value) is float and isfinite(value))" if reader.takes_floats else ""
            lines += [
                f"    value = told[{field.key!r}]",
                f"    if type(value) not in plain{i}{is_finite}:",
                f"        value = fit{i}(value, at, policy)",
                f"    put{i}(record, value)",
            ]
    exec("\n".join([*lines, "    return record"]), names)
    made: Read = names["read"]
    return made


def _fit(key: str, hint: Any, read: Read, value: Any, at: str, policy: Policy) -> Any:
    """Read a value that is not plain, or take the empty one for it where it is salvaged."""
    try:
        return read(value, f"{at}: {key}" if at else "", policy)
    except InputError:
        if policy != "salvage":
            raise
        return empty_value(hint)


@functools.cache
def empty_value(hint: Any) -> Any:
    """Return what stands for a value that is missing or damaged."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return reader_of(hint).read({}, "", "salvage")
    if origin is Annotated:
        return empty_value(parts[0])
    if origin in (Union, types.UnionType):
        return ABSENT if Absent in parts else None if type(None) in parts else empty_value(parts[0])
    if origin is Literal:
        return ""
    if origin is tuple:
        return () if parts[-1] is Ellipsis else tuple(map(empty_value, parts))
    if origin is not None and issubclass(origin, Mapping):
        return {}
    return None if hint is object else hint()


# --- other values -------------------------------------------------------------------------------------------------


def _make_union_reader(parts: tuple[Any, ...]) -> ValueReader:
    readers = [reader_of(part) for part in parts if part not in (type(None), Absent)]
    plain = frozenset[type]().union(*(reader.plain for reader in readers), {type(None)} & {*parts})
    *others, last = (reader.read for reader in readers)

    def read(value: Any, at: str, policy: Policy) -> Any:
        for other in others:
            try:
                return other(value, at, policy)
            except InputError:
                continue
        return last(value, at, policy)

    return ValueReader(plain, read if others else last, any(reader.takes_floats for reader in readers))


def _make_literal_reader(values: tuple[Any, ...]) -> Read:
    def read(value: Any, at: str, policy: Policy) -> Any:
        if value not in values:
            raise _wrong(at, " or ".join(map(repr, values)), value)
        return value

    return read


def _make_list_reader(parts: tuple[Any, ...]) -> Read:
    open_end = parts[-1] is Ellipsis
    readers = [reader_of(part) for part in parts if part is not Ellipsis]

    def read(value: Any, at: str, policy: Policy) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(at, "a list", value)
        if open_end and not value:
            return ()
        if not open_end and len(value) != len(readers):
            raise _wrong(at, f"a list of {len(readers)}", value)
        found = []
        for i, (reader, item) in enumerate(zip(readers * len(value) if open_end else readers, value, strict=True)):
            if type(item) in reader.plain:
                found.append(item)
                continue
            try:
                found.append(reader.read(item, f"{at}[{i}]", policy))
            except InputError:
                if policy != "salvage" or not open_end:
                    raise
        return tuple(found)

    return read


def _make_mapping_reader(key_reader: ValueReader, value_reader: ValueReader) -> Read:
    def read(value: Any, at: str, policy: Policy) -> dict[str, object]:
        if not isinstance(value, dict) and not isinstance(value, Mapping):
            raise _wrong(at, "a mapping", value)
        found: dict[str, object] = {}
        for key, item in value.items():
            try:
                name = key if type(key) in key_reader.plain else key_reader.read(key, at, policy)
                plain = type(item) in value_reader.plain
                found[name] = item if plain else value_reader.read(item, f"{at}.{key}", policy)
            except InputError:
                if policy != "salvage":
                    raise
        return found

    return read


def _make_plain_reader(what: str, kind: type) -> ValueReader:
    def read(value: Any, at: str, policy: Policy) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(at, what, value)
        return value

    return ValueReader(frozenset({kind}), read)


def _read_finite(value: Any, at: str, policy: Policy) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong(at, "a finite number", value)
    return value


_PLAIN: dict[Any, ValueReader] = {
    str: _make_plain_reader("text", str),
    bool: _make_plain_reader("true or false", bool),
    int: _make_plain_reader("a whole number", int),
    float: ValueReader(frozenset({int}), _read_finite, takes_floats=True),
    object: ValueReader(frozenset(), lambda value, at, policy: value),
}


def _wrong(at: str, wanted: str, value: Any) -> InputError:
    return InputError(f"{at}: should be {wanted}, not {short_repr(value)}")
