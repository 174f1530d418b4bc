"""Converts lists of messages to plain text for judges, without chat markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_of(value: Any) -> str | None:
    """
    Return the text of a string or of a list of messages, or None for anything else.

    A single message becomes its content. Several become `Role: content`, separated by blank lines. Content in parts is
    joined. Null content, as in a message that only calls a tool, is empty.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(m, Mapping) and "content" in m for m in value):
        return None
    turns = []
    for message in value:
        content = _content(message["content"])
        if content is None:
            return None
        role = str(message.get("role") or "").capitalize() if len(value) > 1 else ""
        turns.append(f"{role}: {content}" if role else content)
    return "\n\n".join(turns)


def _content(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list | tuple) or not all(isinstance(part, str | Mapping) for part in content):
        return None
    # Parts of other types have no text, or a null text if a table gives all parts the same keys.
    return "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
