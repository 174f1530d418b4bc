"""Shipped run files. `rlaif init NAME` copies a recipe, and `rlaif train NAME` runs it."""

from __future__ import annotations

from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.paths import shipped_folder
from rlaif.core.schema import did_you_mean, short_repr

_FOLDER = shipped_folder("recipes")


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def path_of(name: str) -> Path:
    """Return the path of a recipe. Raises `InputError` with all names if there is no such recipe."""
    if name not in names():
        raise InputError(
            f"there is no recipe {short_repr(name)}{did_you_mean(name, names())}; there are: {list_names()}"
        )
    return _FOLDER / f"{name}.yaml"


def find_run_file(ref: str | Path) -> Path:
    """Return the path of a run file: the file of this name if it exists, else the recipe, else the missing file."""
    path = Path(ref)
    return _FOLDER / f"{ref}.yaml" if str(ref) in names() and not path.is_file() else path


def list_names() -> str:
    """Return all names as a list for messages."""
    return ", ".join(names())
