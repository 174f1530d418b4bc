"""Draws estimates with their intervals below each other, such as the changes of all judges' scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif.report import tables
from rlaif.report.drawing import INK, SOFT, Plot, room, short
from rlaif.report.tables import Cell, Column, Table, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class LabelledInterval:
    """
    An estimate with its interval.

    Args:
        label: label of the row.
        value: the estimate, in the unit of the figure.
        ends: lower and upper bound of the 95 % interval; None if there is no interval.
        colour: one of the colours of `drawing`.

    """

    label: str
    value: float
    ends: Sequence[float] | None
    colour: str


def estimates(
    name: str,
    title: str,
    caption: str,
    rows: Sequence[LabelledInterval],
    unit: str,
    *,
    line: float,
    signed: bool = False,
    left: float | None = None,
) -> Plot:
    """
    Return the figure of estimates, the first at the top.

    Args:
        name: name of the figure.
        title: what the figure shows.
        caption: how to read the figure.
        rows: the estimates, at least one.
        unit: what is estimated, as the heading of the column of numbers.
        line: the neutral value, drawn as a vertical line.
        signed: show a plus sign, because the numbers are changes.
        left: inches for the labels; by default as much as they need.

    """
    cells: list[list[Cell]] = [
        [
            tables.text_cell(row.label),
            *(tables.number_cell(x, signed=signed) for x in (row.value, *(row.ends or (None, None)))),
        ]
        for row in rows
    ]
    columns = [Column("Judge", numeric=False), Column(unit), Column("95 % from"), Column("to")]
    values = "; ".join(
        f"{row.label} {format_number(row.value, signed=signed)}"
        + (f" ({' to '.join(format_number(end, signed=signed) for end in row.ends)})" if row.ends else ", no interval")
        for row in rows
    )
    return Plot(
        name, title, caption, f"{title}: {values}.", Table(title, columns, cells),
        lambda axes: _draw(axes, rows, line), height=0.5 + 0.26 * len(rows), wide=True,
        left=room(row.label for row in rows) if left is None else left,
    )  # fmt: skip


def _draw(axes: Axes, rows: Sequence[LabelledInterval], line: float) -> None:
    axes.axvline(line, color=SOFT, linewidth=0.8)
    for y, row in enumerate(reversed(rows)):
        if row.ends:
            axes.plot(row.ends, [y, y], color=row.colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([row.value], [y], marker="o", color=row.colour, markersize=5.5)
    axes.set_yticks(range(len(rows)), [short(row.label) for row in reversed(rows)])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
