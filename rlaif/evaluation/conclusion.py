"""Describes evaluation.json in words and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.core.records.evaluation import BeforeAfter, Changes, EvaluationRecord, RatioFigures
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.judge_figures import JudgeFigures
from rlaif.core.records.record import ABSENT, Absent
from rlaif.core.records.samples import SampleRow
from rlaif.core.system.terminal import harmless, number, print_table
from rlaif.evaluation.rejection import describe_rejection


def answer(record: EvaluationRecord, checks: Sequence[GuardCheck] = ()) -> str:
    """
    Return the conclusion in one line: the change by each judge with its interval, and the side effects.

    Args:
        record: the numbers.
        checks: checks of the guard of a run. If it kept the model before training, the numbers compare that model with
            itself, and the conclusion is why training was rejected.

    """
    if record.kept_step == 0 and len(checks) > 1:
        return describe_rejection(checks)
    held_out = {name: judge for name, judge in record.judges.items() if judge.role == "held_out"}
    verdicts = "; ".join(_verdict(name, judge) for name, judge in (held_out or record.judges).items())
    if not held_out:
        verdicts = f"no evidence: no judge was held out. By the training judge: {verdicts}"
    return "; ".join(filter(None, (verdicts, _side_effects(record.changes))))


def _verdict(name: str, judge: JudgeFigures) -> str:
    """Describe the change by one judge: "less toxic by 0.29 (0.26 to 0.32) by toxicity_general, held out"."""
    change = judge.change
    by = f"by {name}" + (", held out" if judge.role == "held_out" else "")
    if change.score_mean is None:
        return f"no result {by}: {change.note}"
    if change.p_value is None:
        return f"a change of {change.score_mean:+.3f} {by} could not be tested: {change.note}"
    if not change.significant:
        same = f", and within the margin of {judge.margin:g}" if judge.within_margin else ""
        return f"no significant change {by} (p = {change.p_value:.2g}){same}"
    up = change.score_mean > 0
    size = f"{abs(change.score_mean):.3f}"
    if change.ci95 is not None:
        low, high = sorted(end if up else -end for end in change.ci95)
        size += f" ({low:.3f} to {high:.3f})"
    if judge.before.toxicity is not ABSENT:
        return f"{'less' if up else 'more'} toxic by {size} {by}"
    return f"{'better' if up else 'worse'} by {size} {by} ({judge.measures})"


def _side_effects(changes: Changes) -> str:
    """
    Describe the changes of fluency, diversity and length: "fluency within the margin; distinct-2 down 4 %".

    Each has two names, one if it is within its margin and one if it went up or down. The length is in words if tokens
    cannot be compared.
    """
    in_tokens = changes.length_tokens is not ABSENT
    sentences = [
        _describe_change("fluency", "perplexity", changes.reference_perplexity),
        _describe_change(
            "fluency by the independent model", "perplexity by the independent model", changes.independent_perplexity
        ),
        _describe_change("distinct-2", "distinct-2", changes.distinct_2),
        _describe_change("length", "length", changes.length_tokens if in_tokens else changes.length_words),
    ]
    return "; ".join(filter(None, sentences))


def _describe_change(same: str, name: str, change: RatioFigures | Absent) -> str:
    """Describe the change of one figure. It is "within the margin" only if its whole interval is."""
    if change is ABSENT or change.ratio is None:
        return ""
    if change.within_margin:
        return f"{same} within the margin"
    percent = abs(100 * (change.ratio - 1))
    size = f"{percent:.0f} %" if percent >= 0.5 else "less than 1 %"
    untested = change.p_value is None
    if not percent:
        return f"{name} the same, with no interval" if untested else f"{name} not shown to be within the margin"
    doubt = "" if change.significant else " (no test)" if untested else " (not significant)"
    return f"{name} {'up' if change.ratio > 1 else 'down'} {size}{doubt}"


def print_figures(record: EvaluationRecord) -> None:
    """Print the scores of each judge before and after, with toxicity for judges of harm, then the other figures."""
    print_table(
        ("judge", "role", "score ↑", "toxicity ↓", "change of score", "p", "n"),
        [_judge_row(name, judge) for name, judge in record.judges.items()],
        stderr=True,
    )
    print_table(
        ("measures", "before", "after", "times before"),
        [(name, *map(number, sides), _times(change)) for name, change, *sides in _figures(record)],
        stderr=True,
    )
    worst = [(name, its) for name, judge in record.judges.items() if (its := judge.worst_of_k) is not ABSENT]
    if worst:
        print_table(
            ("judge", "k", "expected maximum toxicity ↓", "one of k is toxic ↓"),
            [
                (name, str(its.k), _sides(its.before.expected_maximum, its.after.expected_maximum),
                 _sides(its.before.probability, its.after.probability))
                for name, its in worst
            ],
            stderr=True,
        )  # fmt: skip


def _figures(record: EvaluationRecord) -> Iterator[tuple[str, RatioFigures | Absent, float | None, float | None]]:
    """Yield the name, change, value before and value after of the figures that are not a judge's."""
    before, after, changes = record.fluency.before, record.fluency.after, record.changes
    yield ("reference perplexity", changes.reference_perplexity, before.reference_perplexity,
           after.reference_perplexity)  # fmt: skip
    independent = before.independent_perplexity, after.independent_perplexity
    if independent[0] is not ABSENT and independent[1] is not ABSENT:
        yield "independent perplexity", changes.independent_perplexity, independent[0], independent[1]
    diversity = record.diversity
    yield "distinct-1", changes.distinct_1, diversity.before.distinct_1, diversity.after.distinct_1
    yield "distinct-2", changes.distinct_2, diversity.before.distinct_2, diversity.after.distinct_2
    yield "distinct-3", changes.distinct_3, diversity.before.distinct_3, diversity.after.distinct_3
    others: tuple[tuple[str, RatioFigures | Absent, BeforeAfter], ...] = (
        ("tokens per completion", changes.length_tokens, record.length_tokens),
        ("words per completion", changes.length_words, record.length_words),
        ("repeated 4-grams", ABSENT, record.repetition),
        ("empty", ABSENT, record.empty_rate),
        ("cut", ABSENT, record.cut_rate),
    )
    for name, change, its in others:
        yield name, change, its.before, its.after
    kl = record.kl_nats_per_sequence
    yield "KL, nats per completion", ABSENT, None if kl is None else 0.0, kl


def _times(change: RatioFigures | Absent) -> str:
    """Format a ratio with its interval."""
    if change is ABSENT or change.ratio is None:
        return ""
    ends = change.ci95
    return f"{change.ratio:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _sides(before: float | None, after: float | None) -> str:
    return f"{number(before)} → {number(after)}"


def _judge_row(name: str, judge: JudgeFigures) -> tuple[str, ...]:
    before, after, change = judge.before, judge.after, judge.change
    toxicity = ""
    if before.toxicity is not ABSENT and after.toxicity is not ABSENT:
        toxicity = _sides(before.toxicity.mean, after.toxicity.mean)
    size = "–" if change.score_mean is None else f"{change.score_mean:+.3f}"
    if change.ci95 is not None:
        size += f" ({change.ci95[0]:+.3f} to {change.ci95[1]:+.3f})"
    p = "–" if change.p_value is None else f"{change.p_value:.2g}"
    role = judge.role.replace("_", " ")
    return name, role, _sides(before.score.mean, after.score.mean), toxicity, size, p, str(judge.n)


def pairs_of_samples(rows: Sequence[SampleRow], count: int, width: int = 300) -> list[str]:
    """Return lines that show `count` evenly spaced prompts with both completions, cut to `width` characters."""
    step = max(1, len(rows) // count)
    lines = []
    for row in rows[::step][:count]:
        lines += [
            f"prompt  {harmless(row.prompt, width)}",
            f"before  {harmless(row.before.completion, width)}",
            f"after   {harmless(row.after.completion if row.after else '', width)}",
        ]
    return lines
