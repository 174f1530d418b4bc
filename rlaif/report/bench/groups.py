"""Bias by group: where a judge takes good texts for bad ones, and bad ones for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif.core.records.bench_entry import GroupFigures
from rlaif.core.records.record import ABSENT
from rlaif.report import tables
from rlaif.report.bench.numbers import MEASURES, percent
from rlaif.report.bench.reading import BenchFolder, BenchPart
from rlaif.report.drawing import INK, Plot, room, short
from rlaif.report.tables import Cell, Column, Table, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 60
"""Groups of a table at most: of more, those with the most rows."""

DRAWN = 24
"""Groups of a figure at most: the worst."""

FEW = 10
"""Good texts below which a share is left out of a figure: it would be chance."""


@dataclass(frozen=True)
class GroupTable:
    """The groups of one column in a part: by group and judge what bench.json says."""

    part: BenchPart
    column: str
    groups: dict[str, dict[str, GroupFigures]]

    @property
    def title(self) -> str:
        """What stands above it."""
        return self.part.title(f"By {self.column}")

    def size(self, group: str) -> int:
        """Return how many rows a group has."""
        return max((its.n for its in self.groups[group].values()), default=0)

    def good(self, group: str) -> int:
        """Return how many good texts with a score a group has."""
        counts = [its.good for its in self.groups[group].values()]
        return max((count for count in counts if count is not ABSENT), default=0)


def group_parts(bench: BenchFolder) -> list[GroupTable]:
    """Return the groups of all parts by their columns."""
    found = []
    for part in bench.parts:
        columns = dict.fromkeys(column for entry in part.real.values() for column in entry.groups or ())
        for column in columns:
            groups: dict[str, dict[str, GroupFigures]] = {}
            for name, entry in part.real.items():
                for group, its in (entry.groups or {}).get(column, {}).items():
                    groups.setdefault(group, {})[name] = its
            found.append(GroupTable(part, column, groups))
    return found


def group_tables(bench: BenchFolder) -> list[Table]:
    """Return a table of each column of groups; a row is a group, with what each judge makes of it."""
    return [_table(of) for of in group_parts(bench) if of.groups]


def _table(of: GroupTable) -> Table:
    judges = list(of.part.real)
    kept = sorted(of.groups, key=lambda group: -of.size(group))[:ROWS]
    labels = of.part.kind == "labels"
    what = "good called bad" if labels else MEASURES.get(of.part.measure, of.part.measure)
    rows: list[list[Cell]] = []
    for group in sorted(kept, key=lambda group: -_worst(of, group)):
        counts = [
            tables.number_cell(of.size(group), 0),
            *([tables.number_cell(of.good(group), 0)] if labels else []),
        ]
        cells = [_cell(of, of.groups[group].get(name, GroupFigures.empty()), labels) for name in judges]
        rows.append([tables.text_cell(group or "(none)"), *counts, *cells])
    columns = [Column(of.column, numeric=False), Column("Rows"), *([Column("Good")] if labels else [])]
    more = f"; the {ROWS} largest of {len(of.groups):,} groups" if len(of.groups) > ROWS else ""
    caption = f"{of.title}{': good texts called bad, and the share of bad ones called good' if labels else ''}{more}"
    return Table(caption, [*columns, *(Column(name, hint=what) for name in judges)], rows, sortable=True)


def _cell(of: GroupTable, entry: GroupFigures, labels: bool) -> Cell:
    if not labels:
        return tables.number_cell(entry.main(of.part.measure))
    missed = None if entry.bad_called_good is ABSENT else entry.bad_called_good
    note = "" if missed is None else f"bad called good {100 * missed:.0f} %"
    return percent(_false_alarms(entry), note=note)


def _false_alarms(entry: GroupFigures | None) -> float | None:
    """Return the share of good texts called bad; None where it is not known."""
    return None if entry is None or entry.good_called_bad is ABSENT else entry.good_called_bad


def _worst(of: GroupTable, group: str) -> float:
    """Return how bad the worst judge is on a group: its false alarms, or what its agreement lacks."""
    entries = of.groups[group].values()
    if of.part.kind == "labels":
        return max((value for entry in entries if (value := _false_alarms(entry)) is not None), default=-2.0)
    return max((-value for entry in entries if (value := entry.main(of.part.measure)) is not None), default=-2.0)


# --- figures ------------------------------------------------------------------------------------------------------


def group_plots(bench: BenchFolder) -> list[Plot]:
    """Return a figure of each column of groups of labelled texts: false alarms by group."""
    plots = [_plot(bench, of, place) for place, of in enumerate(group_parts(bench), 1) if of.part.kind == "labels"]
    return [plot for plot in plots if plot is not None]


def _plot(bench: BenchFolder, of: GroupTable, place: int) -> Plot | None:
    several = [group for group in of.groups if of.good(group) >= FEW]
    worst = sorted(several, key=lambda group: -_worst(of, group))[:DRAWN]
    judges = list(of.part.real)
    if len(worst) < 2:
        return None
    points = {
        name: [(y, value) for y, group in enumerate(worst)
               if (value := _false_alarms(of.groups[group].get(name))) is not None]
        for name in judges
    }  # fmt: skip
    points = {name: known for name, known in points.items() if known}
    if not points:
        return None
    rows = [
        [
            tables.text_cell(group or "(none)"),
            *(percent(_false_alarms(of.groups[group].get(n))) for n in points),
        ]
        for group in worst
    ]
    said = "; ".join(
        f"{name}: most often {worst[y] or '(none)'}, {format_number(100 * value, 1)} %"
        for name, known in points.items()
        for y, value in (max(known, key=lambda point: point[1]),)
    )
    title = of.part.title(f"Good texts called bad, by {of.column}")
    some = f" The {DRAWN} worst of {len(several)} groups." if len(several) > DRAWN else ""
    return Plot(
        f"groups-{place}", title,
        f"Share of good texts with a score below 0.5, of groups with {FEW} or more: a filter’s false alarms.{some}",
        f"{title}. {said}.", Table(title, [Column(of.column, numeric=False), *map(Column, points)], rows),
        lambda axes: _draw(axes, bench, worst, points), height=0.9 + 0.2 * len(worst),
        wide=True, left=room(group or "(none)" for group in worst), labels=len(points),
    )  # fmt: skip


def _draw(axes: Axes, bench: BenchFolder, groups: Sequence[str], points: dict[str, list[tuple[int, float]]]) -> None:
    for name, known in points.items():
        ys, xs = zip(*known, strict=True)
        axes.plot(xs, ys, bench.mark(name), color=bench.colour(name), markersize=5, alpha=0.85,
                  markeredgewidth=0, label=short(name), clip_on=False)  # fmt: skip
    axes.set_yticks(range(len(groups)), [short(group or "(none)") for group in groups])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="both", visible=True)
    axes.spines["left"].set_visible(False)
