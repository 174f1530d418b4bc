"""The figures of a benchmark: ranking, calibration, agreement between judges, cost against quality, best of n."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlaif.core.records.bench import BestOfCurve, Correlation
from rlaif.core.records.bench_entry import TableEntry
from rlaif.report import tables
from rlaif.report.bench.numbers import MEASURES
from rlaif.report.bench.reading import BenchFolder, BenchPart
from rlaif.report.drawing import ALARM, BEFORE, INK, PAPER, SERIES, SOFT, Plot, room, short
from rlaif.report.estimates import LabelledInterval, estimates
from rlaif.report.tables import Cell, Column, Table, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHANCE = {"auroc": 0.5, "pairwise_accuracy": 0.5, "spearman": 0.0}
"""What a judge is worth that knows nothing."""


def rankings(bench: BenchFolder) -> list[Plot]:
    """Return a figure of each part: the judges with their intervals, the best first."""
    left = room(bench.names or ["judge"])
    found = []
    for part in bench.parts:
        rows = [
            LabelledInterval(name, number.value, number.ci95, bench.colour(name))
            for name, entry in part.judges.items()
            if (number := entry.main(part.measure))
        ]
        if rows:
            measure = MEASURES.get(part.measure, part.measure)
            found.append(estimates(
                f"ranking-{part.place + 1}", part.title(measure),
                f"{measure} with the 95 % interval; the line is what a judge is worth that knows nothing.", rows,
                measure, line=CHANCE.get(part.measure, 0.0), left=left,
            ))  # fmt: skip
    return found


# --- calibration --------------------------------------------------------------------------------------------------


def reliabilities(bench: BenchFolder) -> list[Plot]:
    """Return a figure of each part with labels: how often texts of a score are good."""
    plots = [_reliability(bench, part) for part in bench.parts if part.kind == "labels"]
    return [plot for plot in plots if plot is not None]


def _reliability(bench: BenchFolder, part: BenchPart) -> Plot | None:
    bins = {
        name: [(each.mean_score, each.share_good, each.n) for each in entry.reliability or ()]
        for name, entry in part.real.items()
    }
    bins = {name: points for name, points in bins.items() if points}
    if not bins:
        return None
    rows = [
        [tables.text_cell(name), tables.number_cell(x), tables.number_cell(y), tables.number_cell(n, 0)]
        for name, points in bins.items()
        for x, y, n in points
    ]
    columns = [Column("Judge", numeric=False), Column("Mean score"), Column("Share good"), Column("Texts")]
    said = "; ".join(f"{name}: calibration error {format_number(part.real[name].ece)}" for name in bins)
    title = part.title("Reliability")

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
        for name, points in bins.items():
            xs, ys, _ = zip(*points, strict=True)
            axes.plot(xs, ys, color=bench.colour(name), linestyle=bench.dash(name), marker="o", markersize=3.5,
                      label=short(name))  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("score")
        axes.set_ylabel("share of good texts")
        axes.grid(axis="both", visible=True)

    return Plot(
        f"reliability-{part.place + 1}", title,
        "Share of good texts among those of about one score, by tenths of the scale; on the dashed line a score is a "
        "probability of being good.",
        f"{title}. {said}.", Table(f"{title}, by tenths of the scale", columns, rows), draw, height=3.1, left=0.6,
        labels=len(bins) if len(bins) > 1 else 0,
    )  # fmt: skip


# --- between judges -----------------------------------------------------------------------------------------------


def agreement(bench: BenchFolder) -> list[Plot]:
    """Return the heat map of rank correlations between judges."""
    names = [name for name in bench.names if bench.told.agreement.get(name)]
    if len(names) < 2:
        return []
    known_pairs = {(a, b): told for a, others in bench.told.agreement.items() for b, told in others.items()}
    of = {(a, b): known_pairs.get((a, b), Correlation.empty()) for a in names for b in names}
    value = {pair: told.spearman for pair, told in of.items()}
    rows: list[list[Cell]] = [
        [tables.text_cell(a), tables.text_cell(b), tables.number_cell(value[a, b], 3),
         tables.number_cell(of[a, b].kendall, 3)]
        for a, b in itertools.combinations(names, 2)
    ]  # fmt: skip
    columns = [Column("Judge", numeric=False), Column("Judge", numeric=False), Column("Spearman"), Column("Kendall")]
    known = [(a, b, rho) for a, b in itertools.combinations(names, 2) if (rho := value[a, b]) is not None]
    said = "; ".join(f"{a} and {b} {format_number(rho, 2)}" for a, b, rho in known)
    labels = [f"{place}  {short(name, 30)}" for place, name in enumerate(names, 1)]
    return [Plot(
        "agreement", "Rank correlation between judges",
        "Spearman’s, over the texts of all files that both have a score of; a dash: one of them says the same of all. "
        "Columns are numbered as rows.",
        f"Rank correlations: {said or 'none is known'}.", Table("Rank correlation between judges", columns, rows),
        lambda axes: _draw_agreement(axes, names, labels, value), height=0.5 + 0.33 * len(names), wide=True,
        left=room(labels),
    )]  # fmt: skip


def _draw_agreement(
    axes: Axes, names: Sequence[str], labels: Sequence[str], value: dict[tuple[str, str], float | None]
) -> None:
    from matplotlib.patches import Rectangle

    for (y, a), (x, b) in itertools.product(enumerate(names), enumerate(names)):
        rho = value[a, b]
        colour = BEFORE if rho is None else SERIES[0] if rho >= 0 else SERIES[1]
        strength = 0.08 if rho is None else 0.04 + 0.46 * abs(rho)
        axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, facecolor=colour, alpha=strength, linewidth=0))
        axes.text(x, y, format_number(rho, 2), ha="center", va="center", color=INK, fontsize=8)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), [str(place) for place in range(1, len(names) + 1)])
    axes.set_yticks(range(len(names)), list(labels))
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


# --- cost against quality -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Priced:
    """A judge with what a thousand texts take and what it is worth."""

    name: str
    cost: float
    value: float
    ends: Sequence[float] | None


def costs(bench: BenchFolder) -> list[Plot]:
    """Return a figure of each part: what judges take, in USD where any costs some, beside what they are worth."""
    plots = [_cost(bench, part) for part in bench.parts]
    return [plot for plot in plots if plot is not None]


def _cost(bench: BenchFolder, part: BenchPart) -> Plot | None:
    costly = any(entry.usd_per_1k for entry in part.real.values())
    priced, left_out = [], []
    for name, entry in part.real.items():
        number, cost = entry.main(part.measure), entry.usd_per_1k if costly else _seconds(entry)
        if number and cost:
            priced.append(Priced(name, cost, number.value, number.ci95))
        else:
            left_out.append(name)
    if not priced:
        return None
    unit, measure = ("USD" if costly else "seconds"), MEASURES.get(part.measure, part.measure)
    easy = [entry.main(part.measure) for entry in part.judges.values() if entry.baseline]
    baseline = max((number.value for number in easy if number), default=None)
    rows = [
        [tables.text_cell(of.name), tables.number_cell(of.cost, 4 if costly else 2), tables.number_cell(of.value)]
        for of in priced
    ]
    columns = [Column("Judge", numeric=False), Column(f"{unit} per 1,000"), Column(measure)]
    title = part.title("Cost against quality")
    said = "; ".join(
        f"{of.name}: {format_number(of.cost, 4 if costly else 2)} {unit}, {format_number(of.value)}" for of in priced
    )
    missing = f" Not here, for want of a cost or a number: {', '.join(left_out)}." if left_out else ""
    line = " The dashed line is the best baseline, which costs nothing." if baseline is not None else ""
    return Plot(
        f"cost-{part.place + 1}", title,
        f"{measure} with its interval over {unit} per 1,000 texts; the upper left corner is best.{line}{missing}",
        f"{title}, {unit} per 1,000 texts and {measure}. {said}.", Table(title, columns, rows),
        lambda axes: _draw_cost(axes, bench, priced, baseline, f"{unit} per 1,000 texts", measure), height=2.7,
        left=0.6, labels=len(priced),
    )  # fmt: skip


def _seconds(entry: TableEntry) -> float | None:
    return 1000 / entry.per_second if entry.per_second else None


def _draw_cost(
    axes: Axes, bench: BenchFolder, priced: Sequence[Priced], baseline: float | None, x_label: str, y_label: str
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if baseline is not None:
        axes.axhline(baseline, color=BEFORE, linewidth=0.9, linestyle=(0, (2, 2)))
    for of in priced:
        colour = bench.colour(of.name)
        if of.ends:
            axes.plot([of.cost, of.cost], of.ends, color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([of.cost], [of.value], bench.mark(of.name), color=colour, markersize=6,
                  markeredgecolor=PAPER, markeredgewidth=0.6, label=short(of.name))  # fmt: skip
    axes.set_xscale("log")
    low, high = min(of.cost for of in priced), max(of.cost for of in priced)
    axes.set_xlim(low / 1.8, high * 1.8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


# --- best of n ----------------------------------------------------------------------------------------------------


def best_of(bench: BenchFolder) -> list[Plot]:
    """Return a figure of each judge that picks: what other judges say of the completions that it picks, by n."""
    curves = bench.told.best_of.curves if bench.told.best_of else {}
    plots = [_best_of(bench, place, picker, its) for place, (picker, its) in enumerate(curves.items())]
    return [plot for plot in plots if plot is not None]


def _best_of(bench: BenchFolder, place: int, picker: str, curves: Mapping[str, BestOfCurve]) -> Plot | None:
    lines = {name: curve.mean for name, curve in curves.items() if curve.mean}
    if not lines:
        return None
    turns = {name: curves[name].turns_down_at for name in lines}
    most = max(map(len, lines.values()))
    rows = [
        [Cell(str(n), n), *(tables.number_cell(line[n - 1] if n <= len(line) else None) for line in lines.values())]
        for n in range(1, most + 1)
    ]
    said = "; ".join(
        f"scored by {name}: {format_number(line[0])} at n = 1, {format_number(line[-1])} at n = {len(line)}"
        + (f", turns down after {turns[name]}" if turns[name] else "")
        for name, line in lines.items()
    )
    title = f"Picked by {picker}"

    def draw(axes: Axes) -> None:
        for name, line in lines.items():
            colour, ns = bench.colour(name), range(1, len(line) + 1)
            ends = [each for each in curves[name].ci95 if each]
            if len(ends) == len(line):
                low, high = zip(*ends, strict=True)
                axes.fill_between(ns, low, high, color=colour, alpha=0.13, linewidth=0)
            axes.plot(ns, line, color=colour, linestyle=bench.dash(name), label=short(name))
            if turn := turns[name]:
                axes.plot([turn], [line[turn - 1]], marker="v", color=ALARM, markersize=6)
        axes.set_xlabel("n")
        axes.set_ylabel("mean score")
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True, nbins=8)
        axes.locator_params(axis="y", nbins=5)

    return Plot(
        f"best-of-{place + 1}", title,
        f"Mean score of the best of n completions, when {picker} picks. A red mark: from there on that judge’s score "
        "falls for sure.",
        f"{title}. {said}.", Table(f"{title}: mean scores", [Column("n"), *map(Column, lines)], rows), draw,
        left=0.6, labels=len(lines),
    )  # fmt: skip
