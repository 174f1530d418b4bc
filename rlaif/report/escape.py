"""Text that a model wrote, made inert: it can be read in a page, and steers nothing there."""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache
from typing import Any

SHOWN_AS_ESCAPES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what is not seen but acts: controls, bidirectional marks, surrogates, line separators."""

KEPT = frozenset("\n\t\u200c\u200d")
"""Of these, what text needs: line breaks, tabs, and the joiners of Persian and of emoji."""


def visible(text: str) -> str:
    """Return text in which every character that acts without being seen is written out: `‹U+202E›`."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():  # nearly all of it
        return text
    return "".join(map(_escape_character, text))


@lru_cache(maxsize=4096)
def _escape_character(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in SHOWN_AS_ESCAPES:
        return character
    return f"‹U+{ord(character):04X}›"


def json_block(value: Any) -> str:
    """
    Return JSON that may stand in a `<script type="application/json">`.

    Nothing in it ends the element, begins a comment or a reference, or is a line break to a script; it reads back as
    what it was.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode(errors="backslashreplace").decode()
