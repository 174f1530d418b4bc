"""Conversations as text: what a judge reads of message lists, without chat markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def text_of(value: Any) -> str | None:
    """
    Return text for text or for a list of messages, None for anything else.

    A single message is its content; several are `Role: content`, apart by blank lines. Content given in parts is
    their text, joined.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or not all(isinstance(m, Mapping) and "content" in m for m in value):
        return None
    contents = [_content(message["content"]) for message in value]
    if len(contents) == 1:
        return contents[0]
    turns = zip((str(message.get("role", "")).capitalize() for message in value), contents, strict=True)
    return "\n\n".join(f"{role}: {content}" if role else content for role, content in turns)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
