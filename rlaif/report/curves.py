"""Figures of the training: one small figure per metric, with all runs in the same figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlaif.core.records import GuardCheck, Step
from rlaif.core.records.steps import StepJudge, WatchingJudge
from rlaif.report import tables
from rlaif.report.drawing import ALARM, DASHES, SERIES, SOFT, Plot
from rlaif.report.escape import visible
from rlaif.report.reading import RunFolder
from rlaif.report.tables import Cell, Column, Table, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHED = 40
"""Number of steps from which a line is also drawn as a running mean."""

ROWS = 400
"""Largest number of rows of a figure's table; of more steps, evenly spaced ones are shown."""


@dataclass(frozen=True)
class Line:
    """
    A line of a figure.

    Args:
        label: label in the legend.
        run: index of its run, which gives the colour.
        points: steps and values; an unknown value (None) is a gap.
        spread: half-height of a band around the line, one value per point.
        kind: `steps` has a point for every training step, `checks` has one for every check of the guard.

    """

    label: str
    run: int
    points: Sequence[tuple[int, float | None]]
    spread: Sequence[float | None] = ()
    kind: str = "steps"

    @property
    def known(self) -> list[tuple[int, float]]:
        """The points that have a value."""
        return [(step, value) for step, value in self.points if value is not None]


@dataclass(frozen=True)
class Curve:
    """The content of a figure: name, title, unit, caption, lines, and the digits of numbers in its table."""

    name: str
    title: str
    unit: str
    caption: str
    lines: Sequence[Line]
    digits: int = 3


StepCurve = tuple[str, str, Callable[[Step], float | None], str, int, str]
"""Name, title, function that returns the metric of a step, unit, digits, and caption."""


def curves(runs: Sequence[RunFolder]) -> list[Plot]:
    """Return the figures of the training for which there are numbers."""
    found = [*_metric_curves(runs, FIRST), *_judge_curves(runs), *_metric_curves(runs, THEN), *_guard_curves(runs)]
    return [_plot(curve, runs) for curve in found if any(line.known for line in curve.lines)]


FIRST: tuple[StepCurve, ...] = (
    ("reward", "Reward", lambda step: step.reward_mean, "that of the judge’s logit or score", 3,
     "Mean reward; the band is one standard deviation to either side."),
)  # fmt: skip
THEN: tuple[StepCurve, ...] = (
    ("kl", "Distance from the reference", lambda step: step.kl, "nats per completion", 2,
     "KL divergence (k3 estimator): how far the policy has moved."),
    ("length", "Length", lambda step: step.length_tokens, "tokens", 1,
     "Mean tokens per completion, end token included."),
    ("entropy", "Entropy", lambda step: step.entropy, "nats per token", 2,
     "Entropy of the policy. At 0 it always gives the same answer."),
    ("ended", "Ended by itself", lambda step: step.eos_rate, "share", 2,
     "Completions with an end token; the others were cut at the maximum length."),
    ("critic", "Explained variance", lambda step: step.explained_variance, "share", 2,
     "Share of the returns’ variance that the critic explains: 1 is perfect, 0 is as good as their mean."),
)  # fmt: skip


def _metric_curves(runs: Sequence[RunFolder], wanted: Sequence[StepCurve]) -> list[Curve]:
    found = []
    for name, title, figure, unit, digits, caption in wanted:
        has_band = wanted is FIRST and len(runs) == 1
        lines = [
            Line(
                run.name, i, [(step.step, figure(step)) for step in run.metrics],
                [step.reward_std for step in run.metrics] if has_band else (),
            )
            for i, run in enumerate(runs)
        ]  # fmt: skip
        found.append(Curve(name, title, unit, caption, lines, digits))
    return found


def _judge_curves(runs: Sequence[RunFolder]) -> list[Curve]:
    """Make one figure per judge, of its mean scores of the training completions and of the guard's."""
    found = []
    for place, (name, role) in enumerate(judges_of(runs).items()):
        lines = []
        for i, run in enumerate(runs):
            whose = "" if len(runs) == 1 else f"{run.name}, "
            trained = [(row.step, _mean_score(row, name)) for row in run.metrics]
            guarded = [(row.step, _mean_score(row, name)) for row in run.checks]
            lines += [
                Line(f"{whose}training prompts", i, trained),
                Line(f"{whose}guard prompts", i, guarded, kind="checks"),
            ]
        caption = f"Mean score of {name}, {role}."
        found.append(Curve(f"judge-{place + 1}", f"Score of {name}", "score, 1 is best", caption, lines))
    return found


def judges_of(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return the judges that scored during training with their roles in words, held-out judges last."""
    found: dict[str, str] = {}
    for run in runs:
        for step in run.metrics[-1:]:
            for name in step.judges:
                found.setdefault(name, "learned from")
        for check in run.checks[-1:]:
            for name, judge in check.judges.items():
                found[name] = "held out" if judge.role == "held_out" else found.get(name, "learned from")
    return dict(sorted(found.items(), key=lambda item: item[1] == "held out"))


def _guard_curves(runs: Sequence[RunFolder]) -> list[Curve]:
    """Make the figures of what the guard measures besides scores, relative to the value before training."""
    wanted: tuple[tuple[str, str, str, Callable[[GuardCheck], float | None]], ...] = (
        ("guard-distinct-2", "Variety on guard prompts", "Distinct-2 at equal tokens", lambda check: check.distinct_2),
        ("guard-perplexity", "Perplexity on guard prompts", "Perplexity under the reference",
         lambda check: check.perplexity),
    )  # fmt: skip
    found = []
    for name, title, measure, figure in wanted:
        lines = [
            Line(run.name, i, [(check.step, figure(check)) for check in run.checks], kind="checks")
            for i, run in enumerate(runs)
        ]
        caption = f"{measure}, on the guard’s prompts."
        found.append(Curve(name, title, "times before, 1 is unchanged", caption, lines))
    return found


def _mean_score(row: Step | GuardCheck, judge: str) -> float | None:
    """Return a judge's mean score in a step or a check, or None if it has none."""
    scores: StepJudge | WatchingJudge | None = row.judges.get(judge)
    return None if scores is None else scores.score_mean


# --- a figure -----------------------------------------------------------------------------------------------------


def _plot(curve: Curve, runs: Sequence[RunFolder]) -> Plot:
    curve = replace(curve, lines=[line for line in curve.lines if line.known])
    return Plot(
        f"curve-{curve.name}", curve.title, f"{curve.caption} Unit: {curve.unit}.", _summary(curve),
        _table(curve), lambda axes: _draw(axes, curve, runs), labels=len(curve.lines) if len(curve.lines) > 1 else 0,
    )  # fmt: skip


def _draw(axes: Axes, curve: Curve, runs: Sequence[RunFolder]) -> None:
    for line in curve.lines:
        colour, dash = SERIES[line.run % len(SERIES)], DASHES[line.run % len(DASHES)]
        steps = [step for step, _ in line.points]
        values = [math.nan if value is None else value for _, value in line.points]
        if line.kind == "checks":
            steps, values = zip(*line.known, strict=True)  # type: ignore[assignment]
            axes.plot(
                steps, values, color=colour, linestyle=dash, marker="o", markersize=3.2, label=visible(line.label)
            )
            continue
        for half, shade in ((1.0, 0.13),) if line.spread else ():
            low, high = (
                [v + sign * half * (s or 0.0) for v, s in zip(values, line.spread, strict=True)] for sign in (-1, 1)
            )
            axes.fill_between(steps, low, high, color=colour, alpha=shade, linewidth=0)
        is_long = len(line.known) >= SMOOTHED
        has_checks = any(other.kind == "checks" and other.run == line.run for other in curve.lines)
        (drawn,) = axes.plot(steps, values, color=colour, linestyle=dash, label=visible(line.label))
        if is_long or has_checks:
            drawn.set(alpha=0.4, linewidth=0.9)
        if is_long and not has_checks:
            axes.plot(steps, _smooth(values), color=colour, linestyle=dash)
    _mark(axes, runs)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.locator_params(axis="y", nbins=5)


def _mark(axes: Axes, runs: Sequence[RunFolder]) -> None:
    """Mark the steps with alarms, and for a single run the step whose model is kept."""
    for run in runs:
        for step in sorted({step for step, _ in run.alarms}):
            axes.axvline(step, color=ALARM, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.plot(
                [step], [1], marker="v", color=ALARM, markersize=5, transform=axes.get_xaxis_transform(), clip_on=False
            )
    evaluation = runs[0].evaluation if len(runs) == 1 else None
    kept = evaluation.kept_step if evaluation else None
    if kept is not None:
        axes.plot(
            [kept], [0], marker="^", color=SOFT, markersize=5, transform=axes.get_xaxis_transform(), clip_on=False
        )


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the running mean over a twentieth of the steps, ignoring unknown values."""
    half = max(1, len(values) // 40)
    means = []
    for i in range(len(values)):
        near = [value for value in values[max(0, i - half) : i + half + 1] if not math.isnan(value)]
        means.append(math.fsum(near) / len(near) if near else math.nan)
    return means


# --- in words and numbers -----------------------------------------------------------------------------------------


def _summary(curve: Curve) -> str:
    """Describe each line in words: its first and last value, and its highest and lowest."""
    sentences = []
    for line in curve.lines:
        (first, begin), (last, end) = line.known[0], line.known[-1]
        top, bottom = max(line.known, key=lambda p: p[1]), min(line.known, key=lambda p: p[1])
        begin_text, end_text, top_text, bottom_text = (
            format_number(value, curve.digits) for value in (begin, end, top[1], bottom[1])
        )
        sentences.append(
            f"{line.label}: {begin_text} at step {first}, {end_text} at step {last}; "
            f"highest {top_text} at step {top[0]}, lowest {bottom_text} at step {bottom[0]}"
        )
    return f"{curve.title}. {'. '.join(sentences)}."


def _table(curve: Curve) -> Table:
    steps = sorted({step for line in curve.lines for step, _ in line.points})
    every = math.ceil(len(steps) / ROWS) or 1
    thinned = [step for i, step in enumerate(steps) if i % every == 0 or i == len(steps) - 1]
    values = [dict(line.points) for line in curve.lines]
    rows: list[list[Cell]] = [
        [Cell(str(step), step), *(tables.number_cell(value.get(step), curve.digits) for value in values)]
        for step in thinned
    ]
    caption = f"{curve.title}, {curve.unit}" + (f"; every {every}th step" if every > 1 else "")
    return Table(caption, [Column("Step"), *(Column(line.label) for line in curve.lines)], rows)
