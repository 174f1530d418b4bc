"""A judgement as it is written to files, by `rlaif score -o` too."""

from __future__ import annotations

from dataclasses import dataclass

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import Record
from rlaif.core.types import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRecord(Record):
    """What a judgement cost."""

    input_tokens: Natural
    """Tokens that the judge read."""
    output_tokens: Natural
    """Tokens that it wrote."""
    cached_tokens: Natural
    """Those of the tokens read that its provider had in a cache."""
    usd: NotNegative | None
    """US dollars; null where the price is not known."""
    seconds: NotNegative
    """Wall time, in seconds."""
    attempts: Natural
    """Calls that were made, retries included; 0 where nobody was asked."""
    from_store: bool
    """Whether it was read from the verdict store, so that it cost nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgementRecord(Record):
    """What a judge said of one completion."""

    judge: str
    """Name of the judge."""
    score: Share | None
    """1 is best; null where the judge abstained."""
    logit: float | None
    """Unbounded evidence for good, of classifiers and reward models; null elsewhere."""
    raw: float | None
    """What the judge said in its own terms, as a probability of "hate" or 4 of 5; null where it said no number."""
    status: Status
    """`ok`, or why there is no score."""
    reason: str
    """The judge's own words, or why it abstained; may be empty."""
    shortened: bool
    """Whether the judge has read only a part of the text."""
    parts: tuple[JudgementRecord, ...]
    """The judgements of a panel's members; empty for other judges."""
    usage: UsageRecord
    """What it cost."""
