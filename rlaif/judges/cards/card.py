"""
Cards: which adapter makes a judge, of which model, with which question.

A card is `judges/NAME.yaml`, or a mapping written where a judge is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rlaif.core.errors import InputError
from rlaif.core.paths import locate
from rlaif.core.schema import Checked, read_text, read_yaml, short_repr
from rlaif.core.types import Judge
from rlaif.judges.session import Session

CardRef = str | Path | Mapping[str, object]
"""How a judge is named: a card's name, its path, or the card itself."""


@dataclass(frozen=True, kw_only=True)
class Card(Checked):
    """What every card may say. An adapter derives the keys it knows from this."""

    adapter: str
    name: str = ""
    measures: str = "quality"

    def missing(self) -> str:
        """Say what is not there yet (a key, a package, a model), or nothing if the card is ready."""
        return ""

    def members(self) -> list[str | dict[str, object]]:
        """Name the judges this one is made of."""
        return []


@dataclass(frozen=True)
class CardText:
    """A card as it was written: its keys, and where it stands (`path` is None for an inline card)."""

    name: str
    keys: dict[str, object]
    folder: Path
    where: str
    path: Path | None = None


def find_card(ref: CardRef, folder: Path = Path()) -> CardText:
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
        ref = read_yaml(ref, f"the inline card {short_repr(ref)}")
    if isinstance(ref, Mapping):
        keys = dict(ref)
        name = keys.get("name") or keys.get("adapter") or "inline"
        where = f"the inline card {short_repr(name)}"
    elif isinstance(ref, str) and ref.strip():
        path = locate("judges", ref, folder)
        name, where, folder = path.stem, str(path), path.parent
        keys = read_yaml(read_text(path), where)
        if not isinstance(keys, dict):
            raise InputError(f"{where}: a card is a mapping of keys to values, not {short_repr(keys)}")
        if "name" in keys:
            raise InputError(f"{where}: a card's name is its file's ({name}); `name` is for cards written inline")
    else:
        raise InputError(f"a judge is named by a card's name, a path or an inline card, not {short_repr(ref)}")
    if not isinstance(keys.get("adapter"), str):
        raise InputError(f"{where}: the key 'adapter' is missing or not text; `rlaif judges toxicity` shows a card")
    if not isinstance(name, str):
        raise InputError(f"{where}: name: should be text, not {short_repr(name)}")
    return CardText(name, {**keys, "name": name}, folder, where, path.resolve() if path else None)


class Load(Protocol):
    """What an adapter is given to make the judges inside a panel: paths are relative to the outer card."""

    @property
    def session(self) -> Session:
        """The budget and the verdict store that the judges of a command share."""
        ...

    def __call__(self, ref: CardRef) -> Judge:
        """Return the judge of a card, its keys checked."""
        ...


class Named(Protocol):
    """What has a name, under which its numbers are told."""

    @property
    def name(self) -> str: ...  # noqa: D102


def refuse_equal_names(judges: Sequence[Named], where: str) -> None:
    """Raise `InputError` where two judges of one command or panel have one name: their numbers would mix."""
    seen = set()
    for judge in judges:
        if judge.name in seen:
            raise InputError(
                f"{where}: two judges are named {judge.name!r}; give one another, by `name` in an inline "
                "card, or by a function's `__name__`"
            )
        seen.add(judge.name)
