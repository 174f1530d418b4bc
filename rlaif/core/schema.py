"""
Reads YAML into typed dataclasses, or raises an error of one line that says which key is wrong and what is allowed.

Cards, run files and the front matter of questions are all read here. Pydantic does the checking. This module adds a
stricter YAML and error messages that name the file and the key.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from rlaif.core.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")


class Checked:
    """Base class of dataclasses that are read from YAML. Refuses unknown keys, converted types, NaN and infinity."""

    __pydantic_config__: ClassVar[dict[str, object]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }


def check(cls: type[T], mapping: object, where: str, **context: Any) -> T:
    """
    Convert a mapping to the dataclass `cls`.

    Args:
        cls: a dataclass derived from `Checked`.
        mapping: the values, which may be text, numbers, booleans, null, lists and mappings with text keys.
        where: file or other origin, with which error messages begin.
        context: values for the validators of `cls`, such as the folder that paths are relative to.

    Raises:
        InputError: a key is unknown, missing or has a wrong value; the message names its path.

    """
    _refuse_endless(mapping, where)
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: should be a mapping of keys to values, not {short_repr(mapping)}")
    from pydantic import ValidationError

    try:
        # Through JSON, because pydantic's strict mode converts a mapping to a dataclass only there.
        return _adapter(cls).validate_json(json.dumps(_plain(mapping, where)), context=context)  # type: ignore[no-any-return, arg-type]
    except ValidationError as error:
        raise InputError(_complaint(cls, mapping, where, error.errors(include_url=False))) from None


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML as people expect it: `1e-5` is a number, `no` is text, and a repeated key is an error."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{where}{line}: not valid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    _refuse_endless(value, where)
    return value


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises `InputError` with its name if that fails."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from None


def reason_of(error: BaseException) -> str:
    """
    Return a short reason: the system's text for an `OSError`, otherwise the first line of the message.

    The second line is added if the first one ends with a colon.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def did_you_mean(word: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    """Return ` (did you mean 'x'?)` if a known word is similar, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def short_repr(value: object, width: int = 60) -> str:
    """Format a value for a message, on one line of at most `width` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not format integers of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= width else text[: width - 1] + "…"


# --- YAML -----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of the core schema of YAML 1.2, which refuses repeated keys."""

    yaml_implicit_resolvers: dict[str, object] = {}  # noqa: RUF012 - as the base class declares it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {short_repr(key_node.value)} appears twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        if len(node.value) > 10_000:  # mappings merged into mappings multiply before they are built
            raise yaml.constructor.ConstructorError(None, None, "`<<` merges more than 10,000 keys", node.start_mark)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, LookupError, TypeError, ValueError):  # as `!!bool maybe` and `!!int ''`
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{short_repr(node.value)} is not of the type {kind}", node.start_mark
            ) from None


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        # Digits with a dot or an exponent are a float. `007` is text, because of its leading zeros.
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


# --- checking -------------------------------------------------------------------------------------------------


@functools.cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _refuse_endless(value: object, where: str) -> None:
    """Refuse recursive or huge values, which a few YAML anchors can produce: lists that contain themselves, for one."""
    count, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if depth > 50:
            raise InputError(f"{where}: nested more than 50 deep")
        if count > 1_000_000:
            raise InputError(f"{where}: holds more than a million values")
        if isinstance(item, Mapping):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in item]


def _plain(value: object, where: str, path: str = "") -> Any:
    """Copy a value that JSON can represent. Raises `InputError` with the path of any other value."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where}: {path}the key {short_repr(key)} should be text; put it in quotes")
        return {_plain(k, where): _plain(v, where, f"{path}{k}.") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, f"{path}{i}.") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{where}: {path[:-1] or 'a key'}: {short_repr(value)} is not Unicode text") from None
    if isinstance(value, int) and value.bit_length() > 1024:
        raise InputError(f"{where}: {path[:-1]}: {short_repr(value)} is too large a number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"{where}: {path[:-1]}: should be text, a number, a list or a mapping, not {short_repr(value)}")


def _complaint(cls: type, mapping: Mapping[str, object], where: str, errors: list[ErrorDetails]) -> str:
    """
    Summarise pydantic's errors in one line: unknown keys first, then missing keys, then wrong values.

    Of several wrong values the innermost is reported: in `bad: [a, 3]` it is the number, not the list.
    """
    order = {"unexpected_keyword_argument": 0, "missing": 1}
    paths = [_path_within(mapping, error["loc"]) for error in errors]
    first, path = min(zip(errors, paths, strict=True), key=lambda pair: (order.get(pair[0]["type"], 2), -len(pair[1])))
    if first["type"] == "unexpected_keyword_argument":
        known = list(list_keys(_class_at(cls, first["loc"][:-1])))
        word, name = str(first["loc"][-1]), ".".join(map(str, path))
        return f"{where}: unknown key {short_repr(name)}{did_you_mean(word, known)}; allowed: {', '.join(known)}"
    if first["type"] == "missing":
        return f"{where}: the key {'.'.join(map(str, (*path, first['loc'][-1])))!r} is missing"
    if first["type"] == "value_error":
        return f"{where}: {_join_path(path)}{first['msg'].removeprefix('Value error, ')}"
    # Each alternative of a union reports an error of its own, all at the same path.
    expected = [_describe_expected(error["msg"]) for error, at in zip(errors, paths, strict=True) if at == path]
    allowed = " or ".join(dict.fromkeys(expected))
    return f"{where}: {_join_path(path)}should be {allowed}, not {short_repr(first['input'])}"


_PLAIN_WORDS = {
    "a valid string": "text",
    "a valid array": "a list",
    "an object": "a mapping",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a finite number": "a finite number",
    "a valid boolean": "true or false",
    "None": "null",
}


def _describe_expected(message: str) -> str:
    words = message.removeprefix("Input should be ")
    return _PLAIN_WORDS.get(words, words)


def _join_path(path: tuple[str | int, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""


def _path_within(mapping: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the parts of pydantic's location that exist in the input; the others name alternatives of a union."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(mapping, Mapping | list | tuple) and not isinstance(part, str) ^ isinstance(mapping, Mapping):
            with contextlib.suppress(LookupError):
                mapping = mapping[part]  # type: ignore[index]
                path.append(part)
    return tuple(path)


def list_keys(cls: type) -> dict[str, object]:
    """Return the keys of a dataclass with their defaults, or `MISSING` for a key without one."""
    return {
        field.name: field.default
        if field.default is not MISSING or field.default_factory is MISSING
        else field.default_factory()
        for field in fields(cls)
    }


def _class_at(cls: type, loc: tuple[str | int, ...]) -> type:
    """Return the dataclass that contains pydantic's location."""
    for part in loc:
        if isinstance(part, str) and is_dataclass(cls) and part in (hints := get_type_hints(cls)):
            cls = next(_dataclasses_in(hints[part]), cls)
    return cls


def _dataclasses_in(hint: Any) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    if get_origin(hint) in (Union, types.UnionType, list, tuple, dict):
        for part in get_args(hint):
            yield from _dataclasses_in(part)
