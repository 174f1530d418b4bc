"""
YAML in, a typed dataclass out, or one line that says which key is wrong and what is allowed.

Cards, run files and the front matter of questions all come in through here. The checking is pydantic's; what is
ours is YAML without its surprises and messages that name file and key.
"""

from __future__ import annotations

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

from rlaif.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")


class Checked:
    """Base of the dataclasses that are read from YAML: unknown keys, guessed types, NaN and infinity are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }


def check(cls: type[T], mapping: object, where: str, **context: Any) -> T:
    """
    Turn a mapping into a `cls`, or raise `InputError` with the path of the first wrong key.

    Args:
        cls: a dataclass derived from `Checked`.
        mapping: what was read; only text, numbers, booleans, null, lists and mappings with text keys.
        where: file or origin, the first words of the message.
        context: what validators of `cls` may look at, such as the folder that paths are relative to.

    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: should be a mapping of keys to values, not {shown(mapping)}")
    from pydantic import ValidationError

    try:
        # Through JSON, because pydantic's strict mode takes a mapping for a dataclass only there.
        return _adapter(cls).validate_json(json.dumps(_plain(mapping, where)), context=context)  # type: ignore[no-any-return, arg-type]
    except ValidationError as error:
        raise InputError(_complaint(cls, mapping, where, error.errors(include_url=False))) from None


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML as people write it: `1e-5` is a number, `no` is text, a repeated key is refused."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def read_text(path: Path) -> str:
    """Read a UTF-8 file, or raise `InputError` that names it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}") from None


def reason_of(error: BaseException) -> str:
    """Say why in a few words: the system's for an `OSError`, else the first line of the message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, known: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return ` (did you mean 'x'?)` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shown(value: object, width: int = 60) -> str:
    """Show a value in a message: on one line, cut to `width` characters."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"


# --- YAML -----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, and without silently repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class declares it

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {shown(key_node.value)} stands twice", key_node.start_mark
                )
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)",
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


def _plain(value: object, where: str, path: str = "", depth: int = 0) -> Any:
    """Copy what JSON can hold; refuse the rest with its path, also text that is not Unicode."""
    if depth > 50:
        raise InputError(f"{where}: {path[:60]}…: nested more than 50 deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where}: {path}the key {shown(key)} should be text; put it in quotes")
        return {_plain(k, where): _plain(v, where, f"{path}{k}.", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, f"{path}{i}.", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{where}: {path[:-1] or 'a key'}: {shown(value)} is not Unicode text") from None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"{where}: {path[:-1]}: should be text, a number, a list or a mapping, not {shown(value)}")


def _complaint(cls: type, mapping: Mapping[str, Any], where: str, errors: list[ErrorDetails]) -> str:
    """Make one line of pydantic's errors: unknown keys first, then missing ones, then wrong values."""
    order = {"unexpected_keyword_argument": 0, "missing": 1}
    first = min(errors, key=lambda error: order.get(error["type"], 2))
    path = _path_within(mapping, first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        known = list(known_keys(_class_at(cls, first["loc"][:-1])))
        word = str(first["loc"][-1])
        name = ".".join(str(part) for part in first["loc"])
        return f"{where}: unknown key {name!r}{did_you_mean(word, known)}; allowed: {', '.join(known)}"
    if first["type"] == "missing":
        return f"{where}: the key {'.'.join(map(str, first['loc']))!r} is missing"
    if first["type"] == "value_error":
        return f"{where}: {_dotted(path)}{first['msg'].removeprefix('Value error, ')}"
    # The alternatives of a union complain one by one, about the same place.
    said = [_expected(error["msg"]) for error in errors if _path_within(mapping, error["loc"]) == path]
    return f"{where}: {_dotted(path)}should be {' or '.join(dict.fromkeys(said))}, not {shown(first['input'])}"


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


def _expected(message: str) -> str:
    words = message.removeprefix("Input should be ")
    return _PLAIN_WORDS.get(words, words)


def _dotted(path: tuple[str | int, ...]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""


def _path_within(mapping: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Keep the part of pydantic's location that exists in the input: the rest names alternatives of a union."""
    path: list[str | int] = []
    for part in loc:
        try:
            mapping = mapping[part]
        except (KeyError, IndexError, TypeError):
            break
        path.append(part)
    return tuple(path)


def known_keys(cls: type) -> dict[str, Any]:
    """Name the keys of a checked dataclass, with their defaults (`MISSING` where there is none)."""
    return {
        field.name: field.default
        if field.default is not MISSING or field.default_factory is MISSING
        else field.default_factory()
        for field in fields(cls)
    }


def _class_at(cls: type, loc: tuple[str | int, ...]) -> type:
    """Find the dataclass that pydantic's location is inside of."""
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
