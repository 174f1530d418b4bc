"""A line of spending.jsonl: what remote judges cost in a step."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.core.ranges import Natural, NotNegative
from rlaif.core.records.record import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSpending(Record):
    """A line of spending.jsonl."""

    step: Natural
    """In which step; 0 is before training, and for a comparison."""
    calls: Natural
    """Calls to remote judges, retries included, of one process."""
    usd: NotNegative
    """What they cost, in US dollars, so far as prices are known."""
