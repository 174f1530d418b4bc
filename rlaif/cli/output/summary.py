"""Prints the result of `rlaif score`: the first rows and a summary of each judge, or an estimate of the cost."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rlaif.core.system.terminal import harmless, number, print_table
from rlaif.core.types import HARMS, Estimate, Judge, Judgement, Sample, estimate_of, toxicity_of
from rlaif.judges.scoring import chunks

TABLE_ROWS = 50
SUMMARY = (
    "judge",
    "scored",
    "abstained",
    "truncated",
    "score ↑",
    "toxicity ↓",
    "seconds",
    "calls",
    "USD",
)


@dataclass
class Tally:
    """Running totals of one judge's judgements: counts, score, time in seconds, calls and USD."""

    judge: Judge
    statuses: Counter[str] = field(default_factory=Counter)
    count: int = 0
    scored: int = 0
    shortened: int = 0
    total: float = 0.0
    seconds: float = 0.0
    calls: int = 0
    usd: float | None = 0.0

    def add(self, judgements: Sequence[Judgement]) -> None:
        """Add the judgements of a chunk."""
        for judgement in judgements:
            self.count += 1
            self.shortened += judgement.shortened
            self.seconds += judgement.usage.seconds
            if self.judge.remote:
                self.calls += judgement.usage.attempts
                paid = judgement.usage.usd
                self.usd = None if self.usd is None or paid is None else self.usd + paid
            if judgement.score is None:
                self.statuses[judgement.status] += 1
            else:
                self.scored += 1
                self.total += judgement.score

    @property
    def mean(self) -> float | None:
        """Mean score of the texts that were scored, or None if there are none."""
        return self.total / self.scored if self.scored else None


def print_estimate(samples: Iterable[Sample], panel: Sequence[Judge]) -> int:
    """Print an upper bound of each judge's cost, and return the number of texts. Stored verdicts cost nothing."""
    estimates = [Estimate() for _ in panel]
    count = 0
    for chunk in chunks(samples):
        count += len(chunk)
        estimates = [estimate + estimate_of(judge, chunk) for judge, estimate in zip(panel, estimates, strict=True)]
    print_estimates(zip((judge.name for judge in panel), estimates, strict=True), count)
    return count


def print_estimates(estimates: Iterable[tuple[str, Estimate]], count: int) -> None:
    """Print an upper bound of each judge's cost for `count` texts."""
    rows = [
        (name, str(e.calls), str(e.input_tokens), str(e.output_tokens), "unknown" if e.usd is None else f"{e.usd:.4f}")
        for name, e in estimates
    ]
    print_table(("judge", "calls ≤", "tokens in ~", "tokens out ≤", "USD ≤"), rows)
    say(f"{count} texts; no judge was asked")


def print_rows(rows: Iterable[tuple[Sample, list[Judgement]]], panel: Sequence[Judge], count: int) -> None:
    """Print the first rows, each text once for all judges. Judges of harm also get a toxicity, 1 - score."""
    lines = []
    for sample, judgements in rows:
        for i, (judge, judgement) in enumerate(zip(panel, judgements, strict=True)):
            harm = toxicity_of(judge.measures, judgement.score)
            text = harmless(sample.completion, 60) if i == 0 else ""
            lines.append(
                (
                    text,
                    judge.name,
                    number(judgement.score),
                    number(harm) if judge.measures in HARMS else "",
                    _status(judgement),
                )
            )
    print_table(("text", "judge", "score ↑", "toxicity ↓", "status"), lines)
    if count > TABLE_ROWS:
        say(f"… and {count - TABLE_ROWS} more; -o FILE keeps them all")


def _status(judgement: Judgement) -> str:
    return f"{judgement.status}{f' ({harmless(judgement.reason, 60)})' if judgement.reason else ''}"


def print_summary(tallies: Sequence[Tally], seconds: float) -> None:
    """Print the totals of each judge to standard error."""
    rows = []
    for tally in tallies:
        harm = toxicity_of(tally.judge.measures, tally.mean)
        abstained = ", ".join(f"{n} {status}" for status, n in tally.statuses.most_common()) or "0"
        rows.append((
            tally.judge.name, str(tally.scored), abstained, str(tally.shortened),
            number(tally.mean), number(harm), f"{tally.seconds:.2f}",
            str(tally.calls) if tally.judge.remote else "",
            ("unknown" if tally.usd is None else f"{tally.usd:.4f}") if tally.judge.remote else "",
        ))  # fmt: skip
    print_table(SUMMARY, rows, stderr=True)
    say(f"{tallies[0].count} texts in {seconds:.1f} s, {tallies[0].count / max(seconds, 1e-9):.0f} a second")


def say(message: str) -> None:
    """Print a line to standard error."""
    print(message, file=sys.stderr)  # noqa: T201
