"""Tables of a page: numbers that line up, each with what it sorts by, and captions that say what they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "better", "worse", "quiet"]


@dataclass(frozen=True)
class Cell:
    """
    What stands in a cell.

    Args:
        text: as it is shown.
        value: what it sorts by; None sorts last. Text sorts by itself.
        note: small, below or beside it.
        tone: whether it is good news.

    """

    text: str
    value: float | None = None
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """
    A column.

    Args:
        label: its head.
        numeric: whether its cells line up on the right and sort as numbers.
        hint: what the head means, in a few words.

    """

    label: str
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """
    A table; the first cell of a row is its head.

    Args:
        caption: what it is of.
        columns: their heads.
        rows: as many cells as there are columns.
        sortable: whether heads are buttons.

    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False


def text_cell(text: object, note: str = "", tone: Tone = "") -> Cell:
    """Make a cell of words."""
    return Cell(str(text), None, note, tone)


def number_cell(value: float | None, digits: int = 3, *, signed: bool = False, note: str = "", tone: Tone = "") -> Cell:
    """Make a cell of a number, with a minus that is as wide as a plus; a dash where there is none."""
    return Cell(format_number(value, digits, signed=signed), value, note, tone if value is not None else "quiet")


def format_number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Write a number; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:  # no minus before a nought
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(ends: Sequence[object], digits: int = 3, *, signed: bool = False) -> str:
    """Write an interval, or nothing where there is none."""
    known = [end for end in ends if isinstance(end, int | float)]
    return " to ".join(format_number(end, digits, signed=signed) for end in known) if len(known) == 2 else ""


def p_value(value: float | None, resolution: float | None) -> Cell:
    """Make a cell of a p-value; at the smallest that its test could give it is a bound."""
    if value is None:
        return number_cell(None)
    is_bound = resolution is not None and value <= resolution * 1.0001
    return Cell(f"{'≤ ' if is_bound else ''}{value:.2g}", value)
