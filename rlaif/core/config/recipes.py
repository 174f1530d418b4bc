"""Run files that are shipped, each with its comments: `rlaif init NAME` copies one, `rlaif train NAME` runs it."""

from __future__ import annotations

from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.paths import bundled
from rlaif.core.schema import did_you_mean, shown

_FOLDER = bundled("recipes")


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def path_of(name: str) -> Path:
    """Return the file of a recipe, or raise `InputError` with the names that there are."""
    if name not in names():
        raise InputError(f"there is no recipe {shown(name)}{did_you_mean(name, names())}; there are: {listed()}")
    return _FOLDER / f"{name}.yaml"


def found(ref: str | Path) -> Path:
    """Return what a command is to read: the file of this name, or else the recipe; or a file that is not there."""
    path = Path(ref)
    return _FOLDER / f"{ref}.yaml" if str(ref) in names() and not path.is_file() else path


def listed() -> str:
    """Return all names, as messages list them."""
    return ", ".join(names())
