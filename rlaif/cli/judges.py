"""`rlaif judges`: the cards, and whether each is ready."""

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
    """Print a line a card: shipped ones, and those in ./judges, which hide shipped ones of the same name."""
    print_table(
        ("card", "adapter", "measures", "ready"),
        [_line_of(name, path) for name, path in names("judges").items()],
    )


def print_card(name: str) -> None:
    """Print a card's text, to copy, and on standard error where it stands."""
    # `rlaif judges toxicity > judges/toxicity.yaml`: the empty file that the shell made hides no card.
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
