"""Tables of a page: cells, columns, and the format of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "better", "worse", "quiet"]


@dataclass(frozen=True)
class Cell:
    """
    A cell of a table.

    Args:
        text: text as it is shown.
        value: number to sort by; None sorts last. Cells of text columns are sorted by their text.
        note: small text below or beside it.
        tone: how to emphasize it: a change to the better or the worse, or of little interest.

    """

    text: str
    value: float | None = None
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """
    A column of a table.

    Args:
        label: heading of the column.
        numeric: whether its cells are aligned to the right and sorted as numbers.
        hint: explanation of the heading in a few words.

    """

    label: str
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """
    A table. The first cell of a row is its heading.

    Args:
        caption: what the table shows.
        columns: the columns.
        rows: rows of cells, one cell per column.
        sortable: whether a click on a heading sorts the rows.

    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False


def text_cell(text: object, note: str = "", tone: Tone = "") -> Cell:
    """Make a cell of text."""
    return Cell(str(text), None, note, tone)


def number_cell(value: float | None, digits: int = 3, *, signed: bool = False, note: str = "", tone: Tone = "") -> Cell:
    """Make a cell of a number, or a dash for None."""
    return Cell(format_number(value, digits, signed=signed), value, note, tone if value is not None else "quiet")


def format_number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Format a number, with a minus sign that is as wide as a plus; None becomes a dash."""
    if value is None:
        return "–"
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:  # no minus sign before a zero
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(ends: Sequence[object], digits: int = 3, *, signed: bool = False) -> str:
    """Format an interval; empty if there is none."""
    known = [end for end in ends if isinstance(end, int | float)]
    return " to ".join(format_number(end, digits, signed=signed) for end in known) if len(known) == 2 else ""


def p_value(value: float | None, resolution: float | None) -> Cell:
    """Make a cell of a p-value, as a bound with ≤ if it is the smallest that the test could give."""
    if value is None:
        return number_cell(None)
    is_bound = resolution is not None and value <= resolution * 1.0001
    return Cell(f"{'≤ ' if is_bound else ''}{value:.2g}", value)
