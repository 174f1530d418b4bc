"""Figures of the scores of the test completions: changes, distributions, and harmless against helpful."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.core.types import HARMS
from rlaif.report import tables
from rlaif.report.drawing import BEFORE, DASHES, INK, RULE, SERIES, Plot, short
from rlaif.report.escape import visible
from rlaif.report.estimates import LabelledInterval, estimates
from rlaif.report.reading import RunFolder
from rlaif.report.tables import Cell, Column, Table, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20
"""Number of bins of a distribution over 0 to 1."""

DOTS = 300
"""Largest number of dots of a scatter plot; of more samples, evenly spaced ones are drawn."""

PAIRS = 4
"""Largest number of figures of harmless against helpful."""

Scores = Sequence[float]

Side = Literal["before", "after"]
SIDES: tuple[Side, Side] = ("before", "after")


@dataclass(frozen=True)
class KnownJudge:
    """
    A judge of the test samples.

    Args:
        measures: what the judge measures; empty if no run says so.
        role: `training` or `held_out`; empty if no run says so.

    """

    measures: str = ""
    role: str = ""

    @property
    def harm(self) -> bool:
        """Whether the judge measures harm."""
        return self.measures in HARMS


def side_of(sample: SampleRow, side: Side) -> SampleSide | None:
    """Return a side of a sample, or None if it is not measured yet."""
    return sample.before if side == "before" else sample.after


def score_of(sample: SampleRow, side: Side, judge: str) -> float | None:
    """Return a judge's score of a side of a sample, or None if it abstained or has not judged it yet."""
    answer = side_of(sample, side)
    judgement = answer.judgements.get(judge) if answer else None
    return judgement.score if judgement else None


def judges_of(runs: Sequence[RunFolder]) -> dict[str, KnownJudge]:
    """Return all judges of the test samples, held-out judges first."""
    found: dict[str, KnownJudge] = {}
    for run in runs:
        for name in itertools.chain(run.judges, *(row.before.judgements for row in run.samples[:1])):
            before, figures = found.get(name, KnownJudge()), run.judges.get(name)
            found[name] = before if figures is None else KnownJudge(
                before.measures or figures.measures, before.role or figures.role
            )  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: item[1].role == "training"))


# --- changes ------------------------------------------------------------------------------------------------------


def changes(runs: Sequence[RunFolder]) -> Plot | None:
    """Return the figure of all changes of scores with their intervals, or None if there are no changes."""
    rows = []
    for name, (i, run) in itertools.product(judges_of(runs), enumerate(runs)):
        change = run.judges[name].change if name in run.judges else None
        if change is not None and change.score_mean is not None:
            label = name if len(runs) == 1 else f"{name} · {run.name}"
            rows.append(LabelledInterval(label, change.score_mean, change.ci95, SERIES[i % len(SERIES)]))
    if not rows:
        return None
    return estimates(
        "changes", "Change of each judge’s mean score",
        "After minus before on the same prompts; the bar is the 95 % interval. Right of the line is better.",
        rows, "Change", line=0.0, signed=True,
    )  # fmt: skip


# --- distributions ------------------------------------------------------------------------------------------------


def distributions(runs: Sequence[RunFolder]) -> list[Plot]:
    """Return one figure per judge: the distribution of its scores, or of toxicity if it measures harm."""
    plots = [_distribution(runs, name, known, place) for place, (name, known) in enumerate(judges_of(runs).items())]
    return [plot for plot in plots if plot is not None]


def _distribution(runs: Sequence[RunFolder], name: str, known: KnownJudge, place: int) -> Plot | None:
    def numbers(run: RunFolder, side: Side) -> list[float]:
        scores = (score_of(row, side, name) for row in run.samples)
        return [1 - score if known.harm else score for score in scores if score is not None]

    sides = [("before", None, numbers(runs[0], "before"))]
    if len(runs) > 1 and any(numbers(run, "before") != sides[0][2] for run in runs[1:]):
        sides = [(f"before · {run.name}", None, numbers(run, "before")) for run in runs]
    sides += [("after" if len(runs) == 1 else run.name, i, numbers(run, "after")) for i, run in enumerate(runs)]  # type: ignore[misc]
    drawn = [(label, run, shares(values), values) for label, run, values in sides if values]
    if not drawn:
        return None
    unit = "toxicity" if known.harm else "score"
    title, shown_as = f"{unit.capitalize()} by {name}", [(label, run, bins) for label, run, bins, _ in drawn]
    rows = [
        [
            Cell(f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}", i),
            *(tables.number_cell(bins[i], 3) for _, _, bins, _ in drawn),
        ]
        for i in range(BINS)
    ]
    columns = [Column(unit.capitalize(), numeric=False), *(Column(label) for label, *_ in drawn)]
    means = "; ".join(
        f"{label}: mean {format_number(fmean(values))} of {len(values):,}" for label, _, _, values in drawn
    )
    goodness = "0 is best" if known.harm else "1 is best"
    return Plot(
        f"distribution-{place + 1}", title,
        f"Share of completions in each twentieth of the scale; {goodness}. Abstentions are left out.",
        f"{title}. {means}.", Table(f"{title}: share of completions", columns, rows),
        lambda axes: _draw_distribution(axes, shown_as, unit), labels=len(drawn),
    )  # fmt: skip


def shares(values: Scores) -> list[float]:
    """Return the share of numbers in each of `BINS` equal bins over [0, 1]; 1 belongs to the last bin."""
    counts = Counter(min(BINS - 1, max(0, int(value * BINS))) for value in values)
    return [counts[i] / len(values) for i in range(BINS)]


def _draw_distribution(axes: Axes, drawn: Sequence[tuple[str, int | None, Scores]], unit: str) -> None:
    edges = [i / BINS for i in range(BINS + 1)]
    many_befores = sum(run is None for _, run, _ in drawn) > 1
    for label, run, bins in drawn:
        if run is None and not many_befores:
            axes.stairs(bins, edges, fill=True, color=BEFORE, alpha=0.35, linewidth=0, label=visible(label))
            continue
        colour, dash = (BEFORE, DASHES[1]) if run is None else (SERIES[run % len(SERIES)], DASHES[run % len(DASHES)])
        axes.stairs(bins, edges, color=colour, linestyle=dash, linewidth=1.5, label=visible(label))
    axes.set_xlabel(unit)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.locator_params(axis="y", nbins=5)


# --- harmless against helpful -------------------------------------------------------------------------------------


def harmless_helpful(runs: Sequence[RunFolder]) -> list[Plot]:
    """Return figures of each judge of harm against each other judge, to show whether safety cost usefulness."""
    judges = judges_of(runs)
    harms = [name for name, known in judges.items() if known.harm]
    others = [name for name, known in judges.items() if known.measures and not known.harm]
    plots = [_scatter(runs, x, y, judges[y].measures, i) for i, (x, y) in enumerate(itertools.product(harms, others))]
    return [plot for plot in plots if plot is not None][:PAIRS]


@dataclass(frozen=True)
class Cloud:
    """Pairs of scores, (harmless, other), of one side of a run."""

    label: str
    run: int
    side: Side
    known: Sequence[tuple[float, float]]

    @property
    def mean(self) -> tuple[float, float]:
        """Mean of both scores."""
        return fmean(x for x, _ in self.known), fmean(y for _, y in self.known)


def _clouds(runs: Sequence[RunFolder], harm: str, other: str) -> list[Cloud]:
    clouds = []
    for i, run in enumerate(runs):
        for side in SIDES:
            pairs = ((score_of(row, side, harm), score_of(row, side, other)) for row in run.samples)
            known = [(x, y) for x, y in pairs if x is not None and y is not None]
            if known:
                clouds.append(Cloud(side if len(runs) == 1 else f"{side} · {run.name}", i, side, known))
    befores = [cloud for cloud in clouds if cloud.side == "before"]
    if len(befores) > 1 and all(cloud.known == befores[0].known for cloud in befores):
        return [replace(befores[0], label="before"), *(cloud for cloud in clouds if cloud.side == "after")]
    return clouds


def _scatter(runs: Sequence[RunFolder], harm: str, other: str, measures: str, place: int) -> Plot | None:
    if not (clouds := _clouds(runs, harm, other)):
        return None
    means = [(cloud.label, *cloud.mean, len(cloud.known)) for cloud in clouds]
    rows = [
        [tables.text_cell(label), tables.number_cell(x), tables.number_cell(y), tables.number_cell(n, 0)]
        for label, x, y, n in means
    ]
    columns = [Column("Side", numeric=False), Column(f"Mean of {harm}"), Column(f"Mean of {other}"), Column("Samples")]
    summary = "; ".join(
        f"{label}: {format_number(x)} harmless, {format_number(y)} {measures}" for label, x, y, _ in means
    )
    most = max(len(cloud.known) for cloud in clouds)
    crosses = " The crosses are means."
    some = f" About {DOTS} of {most:,} samples are drawn.{crosses}" if most > DOTS else crosses
    return Plot(
        f"harmless-helpful-{place + 1}", f"Harmless against {measures}",
        f"Score of {harm} to the right, of {other} upwards; the upper right corner is best.{some}",
        f"Harmless against {measures}. Means: {summary}.", Table(f"Mean scores of {harm} and {other}", columns, rows),
        lambda axes: _draw_scatter(axes, clouds, harm, other), height=3.2, labels=len(clouds),
    )  # fmt: skip


def _draw_scatter(axes: Axes, clouds: Sequence[Cloud], harm: str, other: str) -> None:
    for cloud in clouds:
        colour = SERIES[cloud.run % len(SERIES)] if cloud.side == "after" else BEFORE
        xs, ys = zip(*cloud.known[:: -(-len(cloud.known) // DOTS)], strict=True)
        (dots,) = axes.plot(xs, ys, "o", color=colour, alpha=0.5, markersize=3, label=visible(cloud.label))
        if cloud.side == "before":
            dots.set_markerfacecolor("none")
        else:
            dots.set_markeredgewidth(0)
    befores = {cloud.run: cloud.mean for cloud in clouds if cloud.side == "before"}
    for cloud in clouds:
        colour = SERIES[cloud.run % len(SERIES)] if cloud.side == "after" else BEFORE
        if cloud.side == "after" and befores:
            begin = befores.get(cloud.run, next(iter(befores.values())))
            axes.plot(*zip(begin, cloud.mean, strict=True), "-", color=INK, linewidth=1.2)
        axes.plot(*([end] for end in cloud.mean), "P", color=colour, markeredgecolor=INK, markersize=8, zorder=5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="both", visible=True, color=RULE)
    axes.set_xlabel(short(harm))
    axes.set_ylabel(short(other))
