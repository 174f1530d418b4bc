"""The words of the project as types: sample, judgement, judge."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

Status = Literal[
    "ok",  # scored
    "declined",  # the judge had no opinion
    "empty",  # nothing to judge: the completion is blank
    "too_long",  # the sample does not fit into the judge's context
    "unparsable",  # the judge answered, but gave no verdict that can be read
    "refused",  # the judge would not judge this text
    "filtered",  # the provider's filter stopped the question or the answer
    "truncated",  # the judge's answer was cut; a shortened *text* is `ok` with `shortened` set
    "timeout",
    "unavailable",
    "over_budget",
]
"""How a judgement ended: `ok` has a score; each other one says why there is none."""
STATUSES: tuple[Status, ...] = get_args(Status)

HARMS = frozenset({"toxicity", "harmlessness", "hate"})
"""What a judge may measure for which `toxicity = 1 - score` is shown beside the score."""


def toxicity_of(measures: str, score: float | None) -> float | None:
    """Return what is shown beside a score, `1 - score`, where the judge measures harm."""
    return 1 - score if measures in HARMS and score is not None else None


_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f")
"""Letters and marks that Unicode draws as nothing: fillers, the blank of Braille, a joiner."""


def is_visible(character: str) -> bool:
    """Whether a character shows anything: no white space, control or format character, filler or selector."""
    kind = unicodedata.category(character)
    is_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    is_selector = is_selector or "\u180b" <= character <= "\u180f"
    return not (kind[0] == "Z" or kind in ("Cc", "Cf") or is_selector or character in _INVISIBLE)


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion, the prompt it answers as text (no chat markup), and the data set's other columns."""

    completion: str
    prompt: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blank(self) -> bool:
        """Whether there is nothing to judge. Judges abstain with the status `empty`."""
        return not any(map(is_visible, self.completion))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a judgement cost: tokens, USD (None = the price is unknown), seconds, and attempts of a remote call."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    attempts: int = 1
    from_store: bool = False


def total(usages: Sequence[Usage]) -> Usage:
    """Add up what was asked side by side: the seconds are those of the slowest."""
    prices = [usage.usd for usage in usages]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        usd=None if None in prices else math.fsum(price for price in prices if price is not None),
        seconds=max(usage.seconds for usage in usages),
        attempts=sum(usage.attempts for usage in usages),
        from_store=all(usage.from_store for usage in usages),
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging would take at most; USD is None where a price is unknown."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        tokens = self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        return Estimate(self.calls + other.calls, *tokens, usd)


def estimate_of(judge: Judge, samples: Sequence[Sample]) -> Estimate:
    """Ask a judge what judging would take; one that runs here takes no calls and no money."""
    estimate: Callable[[Sequence[Sample]], Estimate] | None = getattr(judge, "estimate", None)
    return estimate(samples) if estimate else Estimate()


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What a judge said of one sample.

    `score` is in [0, 1] with 1 = best, or None where the judge abstained: no evidence, never "bad". `logit` is
    unbounded evidence for good, of classifiers and reward models only. `raw` is what the judge said in its own
    terms: p(hate) = 0.93, or 4 of 5. `shortened` says that only a part of the text was read. `parts` are a
    panel's members.
    """

    judge: str
    score: float | None
    logit: float | None = None
    raw: float | None = None
    status: Status = "ok"
    reason: str = ""
    usage: Usage = Usage()
    parts: tuple[Judgement, ...] = ()
    shortened: bool = False

    def __post_init__(self) -> None:
        if self.score is None:
            if self.status == "ok":
                raise ValueError(f"judge {self.judge!r}: a judgement without a score needs a status other than ok")
        elif not 0.0 <= self.score <= 1.0:  # NaN fails this too
            raise ValueError(f"judge {self.judge!r}: the score {self.score} is not in [0, 1]")
        elif self.status not in ("ok", "filtered", "refused"):
            # A card may turn `filtered` and `refused` into score 0 in sight; nothing else becomes a number.
            raise ValueError(f"judge {self.judge!r}: a judgement with status {self.status} cannot have a score")
        for name, number in (("logit", self.logit), ("raw", self.raw)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"judge {self.judge!r}: {name} is {number}, not a finite number")

    @property
    def abstained(self) -> bool:
        """Whether the judge gave no score."""
        return self.score is None


def empty(judge: str) -> Judgement:
    """Return the abstention of a judge that was given nothing to read."""
    return Judgement(judge, None, status="empty", reason="the completion is blank", usage=Usage(attempts=0))


class Judge(Protocol):
    """
    Turns samples into judgements: a batch in, the same length and order out.

    Thread-safe, and never raises for one bad sample. An empty batch scores nothing and loads what the judge
    needs, so that a missing file is found before work starts.
    """

    name: str
    """Under which its numbers are reported; a card's name."""
    measures: str
    """A free word; those in `HARMS` get `toxicity = 1 - score` in output."""
    has_logit: bool
    """Whether its judgements have a `logit`."""
    remote: bool
    """Whether a judgement is a call to somebody's server, which takes time, money and patience."""
    identity: Hashable
    """Equal where two judges are the same one under different names: adapter, model, revision, question."""
    reads: frozenset[str]
    """The columns it needs beside `completion`."""

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Judge a batch."""
        ...


def origin_of(judge: Judge) -> Hashable:
    """
    Return what a judge computes its scores with: of a local model its weights, of a remote one who is asked what.

    Two judges of one origin are no evidence of each other, whatever their cards say. A judge has it as `origin`, where
    it is not its `identity`.
    """
    origin: Hashable = getattr(judge, "origin", judge.identity)
    return origin
