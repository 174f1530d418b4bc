"""The tokens that an answer says it used: whole numbers that can be, or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST = 100_000_000
"""More than any model reads or writes in a call."""


@dataclass(frozen=True)
class Tokens:
    """What a call used; None where the endpoint does not say, or says what cannot be."""

    input: int | None = None
    output: int | None = None
    cached: int = 0


NOT_SAID, FREE = Tokens(), Tokens(0, 0)


def token_count(value: Any) -> int | None:
    """Read a count of tokens: a whole number from 0 on, also as text or as a float; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,12}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if is_count else None


def read_tokens(usage: Any, into: str, out: str, both: str, cached: Any = 0, *, said: bool = True) -> Tokens:
    """
    Read what a call used.

    Args:
        usage: as it stands in the answer.
        into: the key of the tokens that were read.
        out: the key of those that were written.
        both: the key of their sum.
        cached: tokens that were read from a cache.
        said: whether the answer has text, for which no tokens written cannot be true.

    """
    usage = usage if isinstance(usage, Mapping) else {}
    read, written, sum_ = (token_count(usage.get(key)) for key in (into, out, both))
    if not written and said:
        written = None
    if written is None and read is not None and sum_ is not None and sum_ > read:
        written = sum_ - read
    if not read and written is not None and sum_ is not None and sum_ > written:
        read = sum_ - written
    return Tokens(read or None, written, min(token_count(cached) or 0, read or 0))
