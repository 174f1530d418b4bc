"""Sets a key of nested settings in place; `--set KEY=value` names it with dots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlaif.core.errors import InputError


def put(keys: dict[str, object], dotted: str, value: object) -> None:
    """Set a key of nested mappings and lists (`judges.0.weight`) in `keys`, and copy the nested containers."""
    *way, last = dotted.split(".")
    inner: Any = keys
    for head in way:
        key = _key_in(inner, head)
        there = inner[key] if isinstance(inner, list) else inner.get(key)
        inner[key] = list(there) if isinstance(there, list) else dict(there) if isinstance(there, Mapping) else {}
        inner = inner[key]
    inner[_key_in(inner, last)] = value


def _key_in(keys: dict[str, object] | list[object], word: str) -> Any:
    """Return the key of a mapping unchanged, or the index of an existing item of a list."""
    if not isinstance(keys, list):
        return word
    if word.isascii() and word.isdigit() and int(word) < len(keys):
        return int(word)
    raise InputError(f"--set: {word!r} is no index in a list of {len(keys)} items; the first one is 0")
