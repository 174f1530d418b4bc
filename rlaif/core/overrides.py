"""Changes a key of nested settings in place, as `--set KEY=value` names it: with dots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlaif.core.errors import InputError


def put(keys: dict[str, object], dotted: str, value: object) -> None:
    """Set a key of nested mappings and lists (`judges.0.weight`) in place, copying them on the way."""
    *way, last = dotted.split(".")
    inner: Any = keys
    for head in way:
        key = _key_in(inner, head)
        there = inner[key] if isinstance(inner, list) else inner.get(key)
        inner[key] = list(there) if isinstance(there, list) else dict(there) if isinstance(there, Mapping) else {}
        inner = inner[key]
    inner[_key_in(inner, last)] = value


def _key_in(keys: dict[str, object] | list[object], word: str) -> Any:
    """Return a mapping's key as it is, and a list's as the place of an item that is there."""
    if not isinstance(keys, list):
        return word
    if word.isascii() and word.isdigit() and int(word) < len(keys):
        return int(word)
    raise InputError(f"--set: {word!r} is no place in a list of {len(keys)}; the first item is 0")
