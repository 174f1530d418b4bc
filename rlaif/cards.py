"""
Finds and reads cards and questions: policy as data.

A card (`judges/NAME.yaml`) says which adapter, which model, which question. A question (`prompts/judge/*.md`)
carries its scale in its front matter, so that the text and the numbers cannot disagree. Both are found by path,
then in `./judges` or `./prompts`, then among those that are shipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo

from rlaif.errors import InputError
from rlaif.schema import Checked, check, did_you_mean, read_text, read_yaml, shown

Kind = Literal["judges", "prompts"]
_SUFFIXES: dict[Kind, tuple[str, ...]] = {"judges": (".yaml", ".yml"), "prompts": (".md",)}

QUICKSTART = "quickstart:"
"""Begins the name of a model that `rlaif.quickstart` makes; it becomes a folder before a card is read."""


# --- the locator ----------------------------------------------------------------------------------------------


def bundled(kind: Kind) -> Path:
    """Return the folder of shipped cards or prompts: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    in_wheel = package / "_bundled"
    return (in_wheel if in_wheel.is_dir() else package.parent) / kind


def names(kind: Kind) -> dict[str, Path]:
    """List what can be found by name: what stands in the working directory hides what is shipped."""
    found: dict[str, Path] = {}
    for root in (bundled(kind), Path(kind)):
        for suffix in _SUFFIXES[kind]:
            for path in sorted(root.rglob(f"*{suffix}")):
                if path.stem != "README":
                    found[path.relative_to(root).with_suffix("").as_posix()] = path
    return dict(sorted(found.items()))


def locate(kind: Kind, ref: str, folder: Path) -> Path:
    """Find a card or prompt by path (relative to `folder`), then by name, or raise `InputError` with a hint."""
    word = kind.removesuffix("s")
    if path := next(candidates(kind, ref, folder), None):
        return path
    if _names_a_file(kind, ref):
        raise InputError(f"{on_disk(ref, folder)}: no such {word} file")
    known = list(names(kind))
    listing = "`rlaif judges` lists them" if kind == "judges" else f"there are: {', '.join(known) or 'none'}"
    raise InputError(
        f"no {word} named {shown(ref)}{did_you_mean(ref, known)} in ./{kind} or among the shipped ones; {listing}"
    )


def candidates(kind: Kind, ref: str, folder: Path) -> Iterator[Path]:
    """Yield the files that a path or a name may mean, the first one being the one that counts."""
    if _names_a_file(kind, ref):
        paths = [on_disk(ref, folder)]
    else:
        roots = [Path(kind), bundled(kind), *([folder] if "/" in ref else [])]  # as a shell completes judges/mine
        paths = [root / f"{ref}{suffix}" for root in roots for suffix in _SUFFIXES[kind]]
    yield from (path for path in paths if exists(path, "file"))


def _names_a_file(kind: Kind, ref: str) -> bool:
    return is_path(ref) or Path(ref).suffix in _SUFFIXES[kind]


def is_path(text: str) -> bool:
    """Whether a value of a card means a place on disk: it begins with `./`, `../`, `/` or `~`."""
    return text.startswith(("./", "../", "/", "~")) or text in (".", "..")


def on_disk(value: str, folder: Path) -> Path:
    """Return the path that a value means: relative to `folder`, `~` being the user's home."""
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:  # the home of a user that there is not
        return folder / value


def exists(path: Path, what: Literal["file", "folder"]) -> bool:
    """Whether a file or a folder is there; a name that no file can have is not."""
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


# --- cards ----------------------------------------------------------------------------------------------------


def _model_source(value: str, info: ValidationInfo) -> str:
    """Make a model folder absolute (relative to the card, then to the working directory); leave a hub id alone."""
    if value.startswith(QUICKSTART):
        return value
    for candidate in (on_disk(value, folder := _folder_of(info)), Path(value)):
        if value and exists(candidate, "folder"):
            return str(candidate.resolve())
    if is_path(value):
        raise ValueError(f"there is no model folder {shown(str(on_disk(value, folder)), 200)}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
        raise ValueError(f"{shown(value)} is neither a folder that exists nor a hub id (owner/name)")
    return value


def _local_path(value: str, info: ValidationInfo) -> str:
    """Make a file's path absolute: relative to the card, or, as `--set` means it, to the working directory."""
    beside = on_disk(value, _folder_of(info))
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


@dataclass(frozen=True, kw_only=True)
class Card(Checked):
    """What every card may say. An adapter derives the keys it knows from this."""

    adapter: str
    name: str = ""
    measures: str = "quality"

    def missing(self) -> str:
        """Say what is not there yet (a key, a package, a model), or nothing if the card is ready."""
        return ""

    def members(self) -> list[str | dict[str, Any]]:
        """Name the judges this one is made of."""
        return []


@dataclass(frozen=True)
class CardText:
    """A card as it was written: its keys, and where it stands (`path` is None for an inline card)."""

    name: str
    keys: dict[str, Any]
    folder: Path
    where: str
    path: Path | None = None


def find_card(ref: str | Path | Mapping[str, Any], folder: Path = Path()) -> CardText:
    """
    Read a card by path, by name, or from a mapping that is written in its place.

    Args:
        ref: a path, a name, an inline card, or an inline card as text in braces, as on a command line.
        folder: what paths in `ref` are relative to.

    """
    path = None
    if isinstance(ref, Path):
        ref = str(ref.absolute())
    if isinstance(ref, str) and ref.lstrip().startswith("{"):
        ref = read_yaml(ref, f"the inline card {shown(ref)}")
    if isinstance(ref, Mapping):
        keys = dict(ref)
        name = keys.get("name") or keys.get("adapter") or "inline"
        where = f"the inline card {shown(name)}"
    elif isinstance(ref, str) and ref.strip():
        path = locate("judges", ref, folder)
        name, where, folder = path.stem, str(path), path.parent
        keys = read_yaml(read_text(path), where)
        if not isinstance(keys, dict):
            raise InputError(f"{where}: a card is a mapping of keys to values, not {shown(keys)}")
        if "name" in keys:
            raise InputError(f"{where}: a card's name is its file's ({name}); `name` is for cards written inline")
    else:
        raise InputError(f"a judge is named by a card's name, a path or an inline card, not {shown(ref)}")
    if not isinstance(keys.get("adapter"), str):
        raise InputError(f"{where}: the key 'adapter' is missing or not text; `rlaif judges toxicity` shows a card")
    if not isinstance(name, str):
        raise InputError(f"{where}: name: should be text, not {shown(name)}")
    return CardText(name, {**keys, "name": name}, folder, where, path.resolve() if path else None)


class Overrides:
    """Changes of cards for one command: `--set NAME.key=value`, the value read as YAML."""

    def __init__(self, assignments: Iterable[str] = ()) -> None:
        self._waiting: list[tuple[str, str, Any]] = []
        self._used: set[str] = set()
        for text in assignments:
            target, equals, value = text.partition("=")
            if not equals or "." not in target.strip("."):
                raise InputError(f"--set {shown(text)}: should be NAME.key=value, as in toxicity.device=cpu")
            parsed = read_yaml(value, f"--set {target}")
            self._waiting.append((text, target.strip(), _from_here(parsed)))

    def apply(self, card: CardText) -> CardText:
        """Return the card with its keys changed."""
        keys, where = dict(card.keys), card.where
        for text, target, value in self._waiting:
            if target.startswith(f"{card.name}."):
                put(keys, target.removeprefix(f"{card.name}."), value)
                self._used.add(text)
                where = f"{card.where} with --set"
        return replace(card, keys=keys, where=where)

    def refuse_unused(self) -> None:
        """Raise `InputError` for a `--set` that met no card: a mistyped name must not pass unseen."""
        for text, _, _ in self._waiting:
            if text not in self._used:
                raise InputError(f"--set {shown(text)}: no judge of this name takes part in the command")


def put(keys: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a key of nested mappings and lists (`judges.0.weight`) in place, copying them on the way."""
    *way, last = dotted.split(".")
    inner: Any = keys
    for head in way:
        key = _key_in(inner, head)
        there = inner[key] if isinstance(inner, list) else inner.get(key)
        inner[key] = list(there) if isinstance(there, list) else dict(there) if isinstance(there, Mapping) else {}
        inner = inner[key]
    inner[_key_in(inner, last)] = value


def _key_in(keys: dict[str, Any] | list[Any], word: str) -> Any:
    """Return a mapping's key as it is, and a list's as the place of an item that is there."""
    if not isinstance(keys, list):
        return word
    if word.isascii() and word.isdigit() and int(word) < len(keys):
        return int(word)
    raise InputError(f"--set: {word!r} is no place in a list of {len(keys)}; the first item is 0")


def _from_here(value: Any) -> Any:
    """Make paths of a command line absolute: there they are relative to the working directory, not to the card."""
    if isinstance(value, str) and is_path(value) and not value.startswith(("/", "~")):
        return f"{Path.cwd()}/{value}"
    if isinstance(value, list):
        return [_from_here(item) for item in value]
    if isinstance(value, dict):
        return {key: _from_here(item) for key, item in value.items()}
    return value


# --- questions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scale(Checked):
    """The numbers a judge may answer, from worst to best; either may be the larger."""

    worst: float
    best: float

    def __post_init__(self) -> None:
        if self.worst == self.best:
            raise ValueError("worst and best of a scale should differ")
        if not math.isfinite(self.best - self.worst):
            raise ValueError("the scale is wider than a number can be")

    def __contains__(self, number: float) -> bool:
        return min(self.worst, self.best) <= number <= max(self.worst, self.best)

    def score(self, number: float) -> float:
        """Map a number on the scale to [0, 1], 1 = best."""
        return abs((number - self.worst) / (self.best - self.worst))  # 0, not -0, on a scale that runs down


@dataclass(frozen=True, kw_only=True)
class _FrontMatter(Checked):
    measures: str
    scale: Scale


@dataclass(frozen=True)
class Question:
    """What a judge is asked: text with fields in braces, what it measures, and the scale of the answer."""

    name: str
    text: str
    measures: str
    scale: Scale

    @property
    def fields(self) -> frozenset[str]:
        """The fields in the text: `prompt`, `completion`, `worst`, `best`, and columns of the data."""
        return frozenset(re.findall(r"\{([A-Za-z_]\w*)\}", self.text))


def read_question(ref: str, folder: Path = Path()) -> Question:
    """Read a question of `prompts/`: a front matter between `---` lines, then the text."""
    path = locate("prompts", ref, folder)
    parts = re.match(r"---[ \t]*(\n(?:.*?\n)?)---[ \t]*(?:\n(.*))?\Z", read_text(path), re.DOTALL)
    if not parts:
        raise InputError(f"{path}: should begin with a front matter between two --- lines: measures, scale")
    header = check(_FrontMatter, read_yaml(parts[1], str(path)), f"{path}: front matter")
    question = Question(name=ref, text=(parts[2] or "").strip(), measures=header.measures, scale=header.scale)
    if "completion" not in question.fields:
        raise InputError(f"{path}: the question never names {{completion}}, the text to be judged")
    return question
