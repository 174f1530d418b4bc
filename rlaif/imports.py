"""Python objects that a card names: `./file.py:name` or `package.module:name`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from rlaif.cards import exists, on_disk
from rlaif.errors import InputError
from rlaif.schema import did_you_mean, reason_of, shown


def load_object(ref: str, folder: Path, where: str) -> Any:
    """
    Import what `ref` names, or raise `InputError`.

    Args:
        ref: `FILE.py:NAME`, the file relative to `folder`, or `MODULE:NAME` on the import path.
        folder: the card's folder.
        where: card and key, the first words of a message.

    """
    source, colon, name = ref.rpartition(":")
    if not colon or not source or not name:
        raise InputError(f"{where}: {shown(ref)} should be ./FILE.py:NAME or MODULE:NAME")
    module = _module_of_file(on_disk(source, folder), where) if source.endswith(".py") else _module(source, where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{where}: {source} has no {part!r}{did_you_mean(part, dir(found))}")
        found = getattr(found, part)
    return found


def location_of(error: BaseException, beside: str | None = None) -> str:
    """Name file and line where an exception rose: the last frame inside `beside` if there is one, else the last."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if beside and frame.filename == beside] or frames
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else "an unknown place"


def _module_of_file(path: Path, where: str) -> ModuleType:
    if not exists(path, "file"):
        raise InputError(f"{where}: there is no file {shown(str(path), 200)}")
    path = path.resolve()
    written = path.stat().st_mtime_ns
    if path in _loaded and _loaded[path][0] == written:
        return _loaded[path][1]  # two cards that name one file share its state
    name = f"rlaif_card_{path.stem}_{blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(error, str(path), where) from error
    _loaded[path] = written, module
    return module


_loaded: dict[Path, tuple[int, ModuleType]] = {}


def _module(name: str, where: str) -> ModuleType:
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))  # `python -m rlaif` looks there, so `rlaif` shall too; last, to hide nothing
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = "" if error.name != name.partition(".")[0] else "; is it installed? A file is named as ./FILE.py:NAME"
        raise InputError(f"{where}: cannot import {name}: {reason_of(error)}{hint}") from error
    except (Exception, SystemExit) as error:
        raise _failed(error, name, where) from error


def _failed(error: BaseException, source: str, where: str) -> InputError:
    place = location_of(error, source)
    if isinstance(error, SyntaxError) and error.filename:  # of text with a NUL it names no file
        place = f"{error.filename}:{error.lineno}"
    return InputError(f"{where}: importing {source} failed at {place}: {type(error).__name__}: {reason_of(error)}")
