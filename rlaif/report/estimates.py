"""A figure of estimates with their intervals, one below the other: changes of scores, judges in their order."""

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
    A number and how sure it is.

    Args:
        label: whose.
        value: in the figure's unit.
        ends: of its 95 % interval, where there is one.
        colour: of `drawing`.

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
        name: of the figure.
        title: what it shows.
        caption: how to read it.
        rows: at least one.
        unit: what is estimated, the head of the column of numbers.
        line: the value that says nothing, which is drawn as a line.
        signed: whether numbers are changes.
        left: inches for the labels; by default what they need.

    """
    cells: list[list[Cell]] = [
        [
            tables.text_cell(row.label),
            *(tables.number_cell(x, signed=signed) for x in (row.value, *(row.ends or (None, None)))),
        ]
        for row in rows
    ]
    columns = [Column("Judge", numeric=False), Column(unit), Column("95 % from"), Column("to")]
    said = "; ".join(
        f"{row.label} {format_number(row.value, signed=signed)}"
        + (f" ({' to '.join(format_number(end, signed=signed) for end in row.ends)})" if row.ends else ", no interval")
        for row in rows
    )
    return Plot(
        name, title, caption, f"{title}: {said}.", Table(title, columns, cells),
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
