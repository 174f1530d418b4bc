"""Run files that are shipped, each with its comments: `rlaif init NAME` copies one, `rlaif train NAME` runs it."""

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
    """Return the file of a recipe, or raise `InputError` with the names that there are."""
    if name not in names():
        raise InputError(
            f"there is no recipe {short_repr(name)}{did_you_mean(name, names())}; there are: {list_names()}"
        )
    return _FOLDER / f"{name}.yaml"


def find_run_file(ref: str | Path) -> Path:
    """Return what a command is to read: the file of this name, or else the recipe; or a file that is not there."""
    path = Path(ref)
    return _FOLDER / f"{ref}.yaml" if str(ref) in names() and not path.is_file() else path


def list_names() -> str:
    """Return all names, as messages list them."""
    return ", ".join(names())
