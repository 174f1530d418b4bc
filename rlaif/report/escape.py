"""Escapes text written by a model, so that a page shows it and nothing in it takes effect."""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache
from typing import Any

SHOWN_AS_ESCAPES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of invisible characters with an effect: controls, bidirectional marks, surrogates, separators."""

KEPT = frozenset("\n\t\u200c\u200d")
"""Characters of these categories that text needs: line breaks, tabs, and the joiners of Persian and emoji."""


def visible(text: str) -> str:
    """Return the text with every invisible character that has an effect written out, as in `‹U+202E›`."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():  # the common case
        return text
    return "".join(map(_escape_character, text))


@lru_cache(maxsize=4096)
def _escape_character(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in SHOWN_AS_ESCAPES:
        return character
    return f"‹U+{ord(character):04X}›"


def json_block(value: Any) -> str:
    """
    Return JSON that is safe inside `<script type="application/json">`.

    Nothing in it can end the element, begin a comment or a reference, or be a line break to a script. Parsing it gives
    the same value.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode(errors="backslashreplace").decode()
