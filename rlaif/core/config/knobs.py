"""Declares keys of configs with a default and the comment that `rlaif init` writes beside it."""

from __future__ import annotations

from dataclasses import field
from typing import Any

JudgeRef = str | dict[str, object]
"""The name or path of a card, or an inline card."""


def knob(default: Any, meaning: str) -> Any:
    """Define a key with its default and the comment that `rlaif init` writes beside it."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


def knob_without_default(example: Any, meaning: str) -> Any:
    """Define a required key; `rlaif init` writes the example."""
    return field(metadata={"meaning": meaning, "example": example})
