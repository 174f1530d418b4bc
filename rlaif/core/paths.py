"""
Finds cards, questions and recipes, and resolves the paths in them.

Each kind is looked up by path, then in the folder of that kind in the working directory, then among the shipped ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo

from rlaif.core.errors import InputError
from rlaif.core.schema import did_you_mean, short_repr

Kind = Literal["judges", "prompts", "recipes"]
_SUFFIXES: dict[Kind, tuple[str, ...]] = {"judges": (".yaml", ".yml"), "prompts": (".md",), "recipes": (".yaml",)}

QUICKSTART = "quickstart:"
"""Prefix of the models of the quickstart. They are replaced by folders before a card is read."""


def shipped_folder(kind: Kind) -> Path:
    """Return the folder of shipped cards, prompts or recipes, inside the wheel or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    in_wheel = package / "_bundled"
    return (in_wheel if in_wheel.is_dir() else package.parent) / kind


def names(kind: Kind) -> dict[str, Path]:
    """List everything that can be found by name. Files in the working directory take precedence over shipped ones."""
    found: dict[str, Path] = {}
    for root in (shipped_folder(kind), Path(kind)):
        for suffix in _SUFFIXES[kind]:
            for path in sorted(root.rglob(f"*{suffix}")):
                if path.stem != "README":
                    found[path.relative_to(root).with_suffix("").as_posix()] = path
    return dict(sorted(found.items()))


def locate(kind: Kind, ref: str, folder: Path) -> Path:
    """Find a card or prompt by path (relative to `folder`), then by name. Raises `InputError` if there is none."""
    word = kind.removesuffix("s")
    if path := next(candidates(kind, ref, folder), None):
        return path
    if _names_a_file(kind, ref):
        raise InputError(f"{resolve_path(ref, folder)}: no such {word} file")
    known = list(names(kind))
    listing = "`rlaif judges` lists them" if kind == "judges" else f"there are: {', '.join(known) or 'none'}"
    raise InputError(
        f"no {word} named {short_repr(ref)}{did_you_mean(ref, known)} in ./{kind} or among the shipped ones; {listing}"
    )


def candidates(kind: Kind, ref: str, folder: Path) -> Iterator[Path]:
    """Yield the existing files that a path or a name may refer to, in order of precedence."""
    if _names_a_file(kind, ref):
        paths = [resolve_path(ref, folder)]
    else:
        roots = [
            Path(kind),
            shipped_folder(kind),
            *([folder] if "/" in ref else []),
        ]  # as a shell completes judges/mine
        paths = [root / f"{ref}{suffix}" for root in roots for suffix in _SUFFIXES[kind]]
    yield from (path for path in paths if exists(path, "file"))


def _names_a_file(kind: Kind, ref: str) -> bool:
    return is_path(ref) or Path(ref).suffix in _SUFFIXES[kind]


def is_path(text: str) -> bool:
    """Whether a value of a card is a path: it begins with `./`, `../`, `/` or `~`."""
    return text.startswith(("./", "../", "/", "~")) or text in (".", "..")


def resolve_path(value: str, folder: Path) -> Path:
    """Return a path relative to `folder`, with `~` expanded to the user's home."""
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:  # `~USER` of a user that does not exist
        return folder / value


def exists(path: Path, what: Literal["file", "folder"]) -> bool:
    """Whether a file or a folder exists; False for a name that no file can have."""
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _model_source(value: str, info: ValidationInfo) -> str:
    """Make a model folder absolute, relative to the card or else to the working directory; keep a hub id."""
    if value.startswith(QUICKSTART):
        return value
    for candidate in (resolve_path(value, folder := _folder_of(info)), Path(value)):
        if value and exists(candidate, "folder"):
            return str(candidate.resolve())
    if is_path(value):
        raise ValueError(f"there is no model folder {short_repr(str(resolve_path(value, folder)), 200)}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
        raise ValueError(f"{short_repr(value)} is neither a folder that exists nor a hub id (owner/name)")
    return value


def _local_path(value: str, info: ValidationInfo) -> str:
    """Make a file's path absolute, relative to the card or, as with `--set`, to the working directory."""
    beside = resolve_path(value, _folder_of(info))
    return str((Path(value) if exists(Path(value), "file") and not exists(beside, "file") else beside).absolute())


def _function_source(value: str, info: ValidationInfo) -> str:
    source, _, name = value.rpartition(":")
    return f"{_local_path(source, info)}:{name}" if source.endswith(".py") else value


def _question_ref(value: str, info: ValidationInfo) -> str:
    return _local_path(value, info) if is_path(value) or value.endswith(".md") else value


def _folder_of(info: ValidationInfo) -> Path:
    return (info.context or {}).get("folder", Path())  # type: ignore[no-any-return]


ModelSource = Annotated[str, AfterValidator(_model_source)]
"""A folder, relative to the card, or a hub id."""


LocalPath = Annotated[str, AfterValidator(_local_path)]
"""A file, relative to the card."""


QuestionRef = Annotated[str, AfterValidator(_question_ref)]
"""A question by name (`judge/toxicity`), or by path, relative to the card."""


FunctionSource = Annotated[str, AfterValidator(_function_source)]
"""`./FILE.py:NAME`, relative to the card, or `MODULE:NAME`."""
