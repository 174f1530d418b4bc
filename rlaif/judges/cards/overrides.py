"""Changes of cards for one command: `--set NAME.key=value`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.overrides import put
from rlaif.core.paths import is_path
from rlaif.core.schema import read_yaml, short_repr
from rlaif.judges.cards.card import CardText


class Overrides:
    """Changes of cards for one command: `--set NAME.key=value`, the value read as YAML."""

    def __init__(self, assignments: Iterable[str] = ()) -> None:
        self._waiting: list[tuple[str, str, Any]] = []
        self._used: set[str] = set()
        for text in assignments:
            target, equals, value = text.partition("=")
            if not equals or "." not in target.strip("."):
                raise InputError(f"--set {short_repr(text)}: should be NAME.key=value, as in toxicity.device=cpu")
            parsed = read_yaml(value, f"--set {target}")
            self._waiting.append((text, target.strip(), _resolve_from_here(parsed)))

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
                raise InputError(f"--set {short_repr(text)}: no judge of this name takes part in the command")


def _resolve_from_here(value: Any) -> Any:
    """Make paths of a command line absolute: there they are relative to the working directory, not to the card."""
    if isinstance(value, str) and is_path(value) and not value.startswith(("/", "~")):
        return f"{Path.cwd()}/{value}"
    if isinstance(value, list):
        return [_resolve_from_here(item) for item in value]
    if isinstance(value, dict):
        return {key: _resolve_from_here(item) for key, item in value.items()}
    return value
