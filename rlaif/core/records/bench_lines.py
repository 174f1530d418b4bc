"""Lines of the other files of a benchmark: texts with what judges said of them, and completions of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from rlaif.core.ranges import Natural, NotNegative
from rlaif.core.records.judgements import JudgementRecord
from rlaif.core.records.keys import ABSENT, Sometimes
from rlaif.core.records.record import Record
from rlaif.core.types import Judgement, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class TextKey(Record):
    """Where a text comes from, and what people said of it."""

    file: str | None
    """Name of the file; null for the completion of a policy."""
    row: Natural
    """Its row, from 0; of a completion the row of its prompt."""
    side: Literal["chosen", "rejected"] | None
    """Of a pair; null for single texts."""
    label: str | float | None
    """The label or the grade; null for pairs and completions."""
    target: float | None
    """1 for good and 0 for bad, or the grade; null for completions."""
    groups: Mapping[str, str]
    """Its value in each column of groups."""
    probe: Sometimes[str] = ABSENT
    """Name of what was planted, or of the kind of text without content; absent but in probes.jsonl."""
    index: Sometimes[Natural] = ABSENT
    """Which completion of its prompt it is, from 0; absent but in best_of.jsonl."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedJudgement(JudgementRecord):
    """What a judge said of a text, and how long it took."""

    wall: NotNegative
    """This text's share of the time that the judge took for its chunk, in seconds."""

    @classmethod
    def make(cls, judgement: Judgement, wall: float) -> Self:
        """Return the record of what a judge said."""
        return cls(**_values(JudgementRecord.from_judgement(judgement)), wall=wall)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedText(TextKey):
    """A line of scores.jsonl, and of the retests, probes.jsonl and best_of.jsonl beside it."""

    prompt: str
    """What the text answers; may be empty."""
    completion: str
    """The text."""
    judgements: Mapping[str, TimedJudgement]
    """What each judge said of it, by name."""

    @classmethod
    def make(cls, key: TextKey, sample: Sample, judgements: Mapping[str, TimedJudgement]) -> Self:
        """Return the line of a text that was judged."""
        return cls(**_values(key), prompt=sample.prompt, completion=sample.completion, judgements=judgements)

    def is_of(self, key: TextKey, sample: Sample) -> bool:
        """Whether this is the line of a text."""
        same = (self.prompt, self.completion) == (sample.prompt, sample.completion)
        return same and all(getattr(self, name) == value for name, value in _values(key).items())


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingHead(Record):
    """The first line of completions.jsonl: who answers what."""

    policy: str
    """Folder or hub id."""
    n: Natural
    """Completions of each prompt."""
    template: str | None
    """Into which prompts are put."""
    seed: Natural
    """Of the sampling."""
    prompts: str
    """A hash of all prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledCompletion(Record):
    """A line of completions.jsonl after the first."""

    row: Natural
    """Of its prompt, from 0."""
    index: Natural
    """Which completion of its prompt it is, from 0."""
    prompt: str
    """As the policy read it."""
    completion: str
    """What it answered."""


def _values(record: Record) -> dict[str, Any]:
    """Return the values of a record's fields by name."""
    kind: Any = record
    return {field.name: getattr(record, field.name) for field in fields(kind)}
