"""What commands leave on disk: a folder that can be written, and JSON that everybody reads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlaif.errors import InputError
from rlaif.schema import reason_of


def make_folder(folder: Path, option: str) -> None:
    """Make a folder, or raise `InputError`, which names the option, where nothing could be written after hours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {reason_of(error)}; name another folder by {option}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written; name another folder by {option}")


def is_taken(folder: Path) -> bool:
    """Whether a folder holds anything; what a killed process had only begun to write does not count."""
    return any(not (path.name.startswith(".") and path.name.endswith(".writing")) for path in folder.iterdir())


def finite(told: Any) -> Any:
    """Replace by None, at any depth, what is no finite number."""
    if isinstance(told, Mapping):
        return {str(key): finite(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def as_json(told: Mapping[str, Any]) -> str:
    """Return numbers as a file of JSON: what is not finite is null, lone surrogates are escaped."""
    return _escaped(json.dumps(finite(told), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def as_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of JSON, without its end: UTF-8 text as it is, lone surrogates escaped."""
    return _escaped(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _escaped(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
