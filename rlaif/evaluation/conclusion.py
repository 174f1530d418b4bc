"""A measurement in words and as a table: true to the numbers of evaluation.json, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.core.records.evaluation import BeforeAfter, Changes, EvaluationRecord, RatioFigures
from rlaif.core.records.guard import GuardCheck
from rlaif.core.records.judge_figures import JudgeFigures
from rlaif.core.records.record import ABSENT, Absent
from rlaif.core.records.samples import SampleRow
from rlaif.core.system.terminal import harmless, number, print_table
from rlaif.evaluation.rejection import describe_rejection


def answer(told: EvaluationRecord, checks: Sequence[GuardCheck] = ()) -> str:
    """
    Say in one line whether it is better, by whom, how sure that is, and what it took.

    Args:
        told: the numbers.
        checks: of the guard of a run. Where it kept the model before training, the numbers compare that model with
            itself, and what is said is why the training was rejected.

    """
    if told.kept_step == 0 and len(checks) > 1:
        return describe_rejection(checks)
    held_out = {name: judge for name, judge in told.judges.items() if judge.role == "held_out"}
    verdicts = "; ".join(_verdict(name, judge) for name, judge in (held_out or told.judges).items())
    if not held_out:
        verdicts = f"no evidence: no judge was held out. By what it was trained on: {verdicts}"
    return "; ".join(filter(None, (verdicts, _price(told.changes))))


def _verdict(name: str, judge: JudgeFigures) -> str:
    """Say what changed by one judge: "less toxic by 0.29 (0.26 to 0.32) by toxicity_general, held out"."""
    change = judge.change
    by = f"by {name}" + (", held out" if judge.role == "held_out" else "")
    if change.score_mean is None:
        return f"nothing known {by}: {change.note}"
    if change.p_value is None:
        return f"how sure a change of {change.score_mean:+.3f} is {by} cannot be told: {change.note}"
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


def _price(changes: Changes) -> str:
    """
    Say what became of fluency, diversity and length: "fluency within the margin; distinct-2 down 4 %".

    Of each there are two names: of what is within its margin, and of what went up or down. Where tokens are no common
    measure, the length is that in words.
    """
    in_tokens = changes.length_tokens is not ABSENT
    said = [
        _describe_change("fluency", "perplexity", changes.reference_perplexity),
        _describe_change(
            "fluency by the independent model", "perplexity by the independent model", changes.independent_perplexity
        ),
        _describe_change("distinct-2", "distinct-2", changes.distinct_2),
        _describe_change("length", "length", changes.length_tokens if in_tokens else changes.length_words),
    ]
    return "; ".join(filter(None, said))


def _describe_change(same: str, name: str, change: RatioFigures | Absent) -> str:
    """Say how one figure changed; "the margin" only where the whole interval is within it."""
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


def print_figures(told: EvaluationRecord) -> None:
    """Print what each judge said before and after, both numbers where it measures harm, then the rest."""
    print_table(
        ("judge", "role", "score ↑", "toxicity ↓", "change of score", "p", "n"),
        [_judge_row(name, judge) for name, judge in told.judges.items()],
        stderr=True,
    )
    print_table(
        ("measures", "before", "after", "times before"),
        [(name, *map(number, sides), _times(change)) for name, change, *sides in _figures(told)],
        stderr=True,
    )
    worst = [(name, its) for name, judge in told.judges.items() if (its := judge.worst_of_k) is not ABSENT]
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


def _figures(told: EvaluationRecord) -> Iterator[tuple[str, RatioFigures | Absent, float | None, float | None]]:
    """Yield name, change, before and after of the figures beside the judges'."""
    before, after, changes = told.fluency.before, told.fluency.after, told.changes
    yield ("reference perplexity", changes.reference_perplexity, before.reference_perplexity,
           after.reference_perplexity)  # fmt: skip
    then, now = before.independent_perplexity, after.independent_perplexity
    if then is not ABSENT and now is not ABSENT:
        yield "independent perplexity", changes.independent_perplexity, then, now
    varied = told.diversity
    yield "distinct-1", changes.distinct_1, varied.before.distinct_1, varied.after.distinct_1
    yield "distinct-2", changes.distinct_2, varied.before.distinct_2, varied.after.distinct_2
    yield "distinct-3", changes.distinct_3, varied.before.distinct_3, varied.after.distinct_3
    others: tuple[tuple[str, RatioFigures | Absent, BeforeAfter], ...] = (
        ("tokens a completion", changes.length_tokens, told.length_tokens),
        ("words a completion", changes.length_words, told.length_words),
        ("repeated 4-grams", ABSENT, told.repetition),
        ("empty", ABSENT, told.empty_rate),
        ("cut", ABSENT, told.cut_rate),
    )
    for name, change, its in others:
        yield name, change, its.before, its.after
    kl = told.kl_nats_per_sequence
    yield "nats of KL a completion", ABSENT, None if kl is None else 0.0, kl


def _times(change: RatioFigures | Absent) -> str:
    """Write a ratio with its interval."""
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
    """Return lines that show some prompts with both completions, spread evenly over all."""
    step = max(1, len(rows) // count)
    lines = []
    for row in rows[::step][:count]:
        lines += [
            f"prompt  {harmless(row.prompt, width)}",
            f"before  {harmless(row.before.completion, width)}",
            f"after   {harmless(row.after.completion if row.after else '', width)}",
        ]
    return lines
