"""The main types: sample, judgement, judge."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

Status = Literal[
    "ok",  # scored
    "declined",  # the judge has no opinion
    "empty",  # the completion is blank
    "too_long",  # the sample does not fit into the judge's context
    "unparsable",  # the judge answered, but its answer contains no readable verdict
    "refused",  # the judge refused to judge this text
    "filtered",  # the provider's filter blocked the question or the answer
    "truncated",  # the judge's answer was cut off; a shortened *text* is `ok` with `shortened` set
    "timeout",
    "unavailable",
    "over_budget",
]
"""Status of a judgement: `ok` has a score, and every other status says why there is none."""
STATUSES: tuple[Status, ...] = get_args(Status)

HARMS = frozenset({"toxicity", "harmlessness", "hate"})
"""Values of `measures` for which `toxicity = 1 - score` is shown beside the score."""


def toxicity_of(measures: str, score: float | None) -> float | None:
    """Return the toxicity, `1 - score`, if the judge measures harm and gave a score; else None."""
    return 1 - score if measures in HARMS and score is not None else None


_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f")
"""Letters and marks that are invisible: fillers, the Braille blank, a joiner."""


def is_visible(character: str) -> bool:
    """Whether a character is visible: not white space, a control or format character, a filler or a selector."""
    kind = unicodedata.category(character)
    is_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    is_selector = is_selector or "\u180b" <= character <= "\u180f"
    return not (kind[0] == "Z" or kind in ("Cc", "Cf") or is_selector or character in _INVISIBLE)


@dataclass(frozen=True, slots=True)
class Sample:
    """
    A completion to judge.

    Args:
        completion: the text to judge.
        prompt: the prompt that it answers, as text without chat markup.
        columns: other columns of the data set.

    """

    completion: str
    prompt: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blank(self) -> bool:
        """Whether the completion has no visible character. Judges abstain from it with the status `empty`."""
        return not any(map(is_visible, self.completion))


@dataclass(frozen=True, slots=True)
class Usage:
    """
    The cost of a judgement.

    Args:
        input_tokens: tokens that the judge read.
        output_tokens: tokens that the judge wrote.
        cached_tokens: input tokens that the provider had cached.
        usd: price in USD; None if it is unknown.
        seconds: time in seconds.
        attempts: number of remote calls, retries included.
        from_store: whether the judgement came from the verdict store, without a call.

    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    attempts: int = 1
    from_store: bool = False


def total(usages: Sequence[Usage]) -> Usage:
    """Add up the cost of concurrent judgements. The time is that of the slowest one."""
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
    """An upper bound of the cost of judging; `usd` is None if a price is unknown."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        tokens = self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        return Estimate(self.calls + other.calls, *tokens, usd)


def estimate_of(judge: Judge, samples: Sequence[Sample]) -> Estimate:
    """Return a judge's estimate of the cost of judging; a local judge makes no calls and costs nothing."""
    estimate: Callable[[Sequence[Sample]], Estimate] | None = getattr(judge, "estimate", None)
    return estimate(samples) if estimate else Estimate()


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    The judgement of one sample by one judge.

    Args:
        judge: name of the judge.
        score: score in [0, 1], 1 is best; None if the judge abstained, which never means "bad".
        logit: unbounded evidence that the text is good; only from classifiers and reward models.
        raw: the number that the judge gave, on its own scale, such as p(hate) = 0.93 or 4 of 5.
        status: `ok`, or why there is no score.
        reason: the judge's reason, or details of the status.
        usage: cost of the judgement.
        parts: judgements of the members of a panel.
        shortened: whether the judge read only a part of the text.

    Raises:
        ValueError: score and status do not fit together, or a number is not finite or off its scale.

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
            # A card may explicitly score `filtered` and `refused` as 0; no other abstention becomes a number.
            raise ValueError(f"judge {self.judge!r}: a judgement with status {self.status} cannot have a score")
        for name, number in (("logit", self.logit), ("raw", self.raw)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"judge {self.judge!r}: {name} is {number}, not a finite number")

    @property
    def abstained(self) -> bool:
        """Whether the judge gave no score."""
        return self.score is None


def empty(judge: str) -> Judgement:
    """Return the abstention of a judge from a blank completion."""
    return Judgement(judge, None, status="empty", reason="the completion is blank", usage=Usage(attempts=0))


class Judge(Protocol):
    """
    A judge: takes a batch of samples, and returns their judgements in the same order.

    A judge is thread-safe, and never raises for a single bad sample. Called with an empty batch it loads its model, so
    that a missing file is found before work starts.
    """

    name: str
    """Name under which its scores are reported; the name of its card."""
    measures: str
    """What it measures, any word; those in `HARMS` also get `toxicity = 1 - score` in output."""
    has_logit: bool
    """Whether its judgements have a `logit`."""
    remote: bool
    """Whether it calls a server, which takes time and may cost money or fail."""
    identity: Hashable
    """Equal for two judges that are the same under different names: adapter, model, revision, question."""
    reads: frozenset[str]
    """Columns that it needs besides `completion`."""

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Judge a batch of samples, and return one judgement for each, in the same order."""
        ...


def origin_of(judge: Judge) -> Hashable:
    """
    Return what a judge computes its scores with: of a local model its weights, of a remote one who is asked what.

    Two judges of one origin are no evidence of each other, whatever their cards say. A judge has it as `origin`, where
    it is not its `identity`.
    """
    origin: Hashable = getattr(judge, "origin", judge.identity)
    return origin
