"""A judgement as it is written to files, by `rlaif score -o` too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from rlaif.core.ranges import Natural, NotNegative, Share
from rlaif.core.records.record import Record
from rlaif.core.types import Judgement, Status, Usage


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

    @classmethod
    def from_usage(cls, usage: Usage) -> Self:
        """Return the record of what a judgement cost."""
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            usd=usage.usd,
            seconds=usage.seconds,
            attempts=usage.attempts,
            from_store=usage.from_store,
        )


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

    @classmethod
    def from_judgement(cls, judgement: Judgement) -> Self:
        """Return the record of what a judge said."""
        return cls(
            judge=judgement.judge,
            score=judgement.score,
            logit=judgement.logit,
            raw=judgement.raw,
            status=judgement.status,
            reason=judgement.reason,
            shortened=judgement.shortened,
            parts=tuple(map(cls.from_judgement, judgement.parts)),
            usage=UsageRecord.from_usage(judgement.usage),
        )
