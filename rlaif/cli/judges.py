"""`rlaif judges`: list the judge cards and whether each is ready to use."""

from __future__ import annotations

import sys
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.paths import candidates, locate, names
from rlaif.core.schema import read_text
from rlaif.core.system.terminal import is_stdout, print_table
from rlaif.judges.cards.card import Card, find_card
from rlaif.judges.registry import read_card, readiness


def list_cards() -> None:
    """Print one line per card. Cards in ./judges take precedence over shipped cards of the same name."""
    print_table(
        ("card", "adapter", "measures", "ready"),
        [_line_of(name, path) for name, path in names("judges").items()],
    )


def print_card(name: str) -> None:
    """Print the text of a card, and its path on standard error."""
    # In `rlaif judges toxicity > judges/toxicity.yaml` the shell has already made an empty file of that name: skip it.
    found = (path for path in candidates("judges", name, Path()) if not is_stdout(path))
    path = next(found, None) or locate("judges", name, Path())
    sys.stdout.write(read_text(path))
    print(f"from {path}", file=sys.stderr)  # noqa: T201


def _line_of(name: str, path: Path) -> tuple[str, str, str, str]:
    try:
        _, card = read_card(text := find_card(path))
        lack = readiness(path)
    except InputError as error:
        return name, "?", "?", f"broken: {error}"
    measures = card.measures if isinstance(card, Card) else text.keys.get("measures", "")
    return name, str(text.keys["adapter"]), str(measures), lack or "yes"
