"""How a key of a config is declared: its type, its default, its unit, and the comment that `rlaif init` writes."""

from __future__ import annotations

from dataclasses import field
from typing import Any

JudgeRef = str | dict[str, object]
"""A card's name or path, or a card written inline."""


def knob(default: Any, meaning: str) -> Any:
    """Define a key with its default and the comment that `rlaif init` writes beside it."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


def knob_without_default(example: Any, meaning: str) -> Any:
    """Define a key that has no default; the example is what `rlaif init` writes."""
    return field(metadata={"meaning": meaning, "example": example})
