"""
Code that does not come with rlaif: found by the name that a card gives it, and held to the contract of a judge.

A name is `./file.py:name` or `package.module:name`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.core.paths import exists, resolve_path
from rlaif.core.schema import did_you_mean, reason_of, short_repr
from rlaif.core.types import Judgement, Sample
from rlaif.judges.cards.card import CardText


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
        raise InputError(f"{where}: {short_repr(ref)} should be ./FILE.py:NAME or MODULE:NAME")
    module = _module_of_file(resolve_path(source, folder), where) if source.endswith(".py") else _module(source, where)
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
        raise InputError(f"{where}: there is no file {short_repr(str(path), 200)}")
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
        raise _import_error(error, str(path), where) from error
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
        raise _import_error(error, name, where) from error


def _import_error(error: BaseException, source: str, where: str) -> InputError:
    place = location_of(error, source)
    if isinstance(error, SyntaxError) and error.filename:  # of text with a NUL it names no file
        place = f"{error.filename}:{error.lineno}"
    return InputError(f"{where}: importing {source} failed at {place}: {type(error).__name__}: {reason_of(error)}")


class PluginJudge:
    """A stranger's judge: held to the contract, and with what ten lines leave out, so that nobody else has to ask."""

    def __init__(self, judge: Callable[[Sequence[Sample]], object], text: CardText) -> None:
        said = {k: repr(v) for k, v in text.keys.items() if k not in ("name", "measures")}
        self.name: str = getattr(judge, "name", text.name)
        self.measures: str = getattr(judge, "measures", str(text.keys.get("measures", "quality")))
        self.has_logit: bool = getattr(judge, "has_logit", False)
        self.remote: bool = getattr(judge, "remote", False)
        self.identity: Hashable = getattr(judge, "identity", tuple(sorted(said.items())))
        self.origin: Hashable = getattr(judge, "origin", self.identity)
        self.reads: frozenset[str] = frozenset(getattr(judge, "reads", ()))
        self._judge = judge

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Ask it, and raise `JudgeBug` where it raises, or returns anything but a judgement for each sample."""
        with name_raiser(f"judge {self.name}"):
            judgements = self._judge(samples)
        if not isinstance(judgements, list):
            raise JudgeBug(f"judge {self.name}: returned {short_repr(judgements)}; return a list of Judgements")
        if len(judgements) != len(samples):
            raise JudgeBug(f"judge {self.name}: returned {len(judgements)} judgements for {len(samples)} samples")
        for judgement in judgements:
            if not isinstance(judgement, Judgement):
                raise JudgeBug(
                    f"judge {self.name}: returned {short_repr(judgement)}; return a Judgement for each sample"
                )
        return judgements


@contextlib.contextmanager
def name_raiser(who: str) -> Iterator[None]:
    """Say where a stranger's code raised; what rlaif says itself stays as it is."""
    try:
        yield
    except RlaifError:
        raise
    except Exception as error:
        raise JudgeBug(f"{who} raised at {location_of(error)}: {type(error).__name__}: {reason_of(error)}") from error
