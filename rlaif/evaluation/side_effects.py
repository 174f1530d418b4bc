"""Side effects of training: fluency, diversity, length, repetition, empty or cut completions, and KL."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from rlaif.core.records.evaluation import (
    BeforeAfter,
    Changes,
    Diversity,
    DiversitySide,
    Fluency,
    FluencySide,
    Missing,
    RatioFigures,
)
from rlaif.core.records.record import ABSENT, Absent
from rlaif.core.records.samples import SampleRow, SampleSide
from rlaif.evaluation.margins import Margins
from rlaif.stats.changes import RatioChange, equivalent, ratio_change
from rlaif.stats.jackknife import jackknife_ratio
from rlaif.stats.text import distinct, distinct_words, perplexity, repetition, word_count, words_of

Scorer = Literal["reference", "independent"]
"""The model that measures perplexity: the one before, or a third one."""

MANY, FEWER_GROUPS, GROUPS = 1000, 20, 40
"""The jackknife of distinct-n uses `GROUPS`, or `FEWER_GROUPS` for more than `MANY` pairs, to save time."""


@dataclass(frozen=True, kw_only=True)
class SideEffects:
    """The figures that are not a judge's. Their meaning is that of the same keys of evaluation.json."""

    fluency: Fluency
    diversity: Diversity
    length_tokens: BeforeAfter
    length_words: BeforeAfter
    ended_rate: BeforeAfter
    cut_rate: BeforeAfter
    empty_rate: BeforeAfter
    repetition: BeforeAfter
    kl_nats_per_sequence: float | None
    changes: Changes
    missing: Missing | Absent


def measure_side_effects(rows: Sequence[SampleRow], margins: Margins) -> SideEffects:
    """
    Return the figures of each side that are not a judge's, and their changes as ratios with intervals.

    Pairs with a missing side (an endpoint gave no completion) are left out; `missing` counts them.
    """
    complete = [
        row for row in rows
        if row.before.missing is ABSENT and row.after is not None and row.after.missing is ABSENT
    ]  # fmt: skip
    before, after = sides_of(complete)
    words = min((word_count(completions(side)) for side in (before, after)), default=0)

    def both(figure: Callable[[Sequence[SampleSide]], float | None]) -> BeforeAfter:
        return BeforeAfter(before=figure(before), after=figure(after))

    return SideEffects(
        fluency=_fluency(before, after),
        diversity=Diversity(before=_diversity(before, words), after=_diversity(after, words)),
        length_tokens=both(length),
        length_words=both(lambda side: _mean(_lengths(completions(side)))),
        ended_rate=both(lambda side: _mean([answer.ended for answer in side])),
        cut_rate=both(lambda side: _mean([_not(answer.ended) for answer in side])),
        empty_rate=both(lambda side: _mean([not text.strip() for text in completions(side)])),
        repetition=both(lambda side: repetition(completions(side))),
        kl_nats_per_sequence=_mean([answer.kl for answer in after]),
        changes=measure_changes(complete, margins),
        missing=_count_missing(rows),
    )


def sides_of(rows: Sequence[SampleRow]) -> tuple[list[SampleSide], list[SampleSide]]:
    """Return the sides before and the sides after, of rows that have both."""
    return [row.before for row in rows], [row.after for row in rows if row.after is not None]


def _count_missing(rows: Sequence[SampleRow]) -> Missing | Absent:
    """Count the missing completions by reason; `ABSENT` if there are none."""
    before, after = (
        dict(Counter(answer.missing for answer in side if answer.missing is not ABSENT)) for side in sides_of(rows)
    )
    return Missing(before=before, after=after) if before or after else ABSENT


def _diversity(side: Sequence[SampleSide], words: int) -> DiversitySide:
    texts = completions(side)
    return DiversitySide(
        distinct_1=distinct(texts, 1, words), distinct_2=distinct(texts, 2, words), distinct_3=distinct(texts, 3, words)
    )


def measure_changes(rows: Sequence[SampleRow], margins: Margins) -> Changes:
    """Return the changes of figures as ratios, with interval, p-value, and whether they are within their margin."""
    before, after = sides_of(rows)
    prompts = [row.prompt for row in rows]
    texts = completions(before), completions(after)
    groups = FEWER_GROUPS if len(rows) > MANY else GROUPS
    words = words_of(texts[0]), words_of(texts[1])

    def perplexity_change(scorer: Scorer) -> RatioFigures | Absent:
        (nats, tokens), (nats_after, tokens_after) = _nats(before, scorer), _nats(after, scorer)
        if all(count is None for count in (*tokens, *tokens_after)):
            return ABSENT
        per = tokens, tokens_after
        return _ratio(ratio_change(nats, nats_after, prompts, per=per, exponential=True), margins.perplexity)

    def distinct_change(n: int) -> RatioFigures:
        change = jackknife_ratio(_distinct_of(n), words[0], words[1], prompts, groups=groups)
        return _ratio(change, margins.distinct)

    counts = [[answer.tokens for answer in side] for side in (before, after)]
    has_tokens = any(count is not None for side in counts for count in side)
    in_words = ratio_change(_lengths(texts[0]), _lengths(texts[1]), prompts)
    return Changes(
        reference_perplexity=perplexity_change("reference"),
        independent_perplexity=perplexity_change("independent"),
        distinct_1=distinct_change(1),
        distinct_2=distinct_change(2),
        distinct_3=distinct_change(3),
        length_tokens=_ratio(ratio_change(counts[0], counts[1], prompts), margins.length) if has_tokens else ABSENT,
        length_words=_ratio(in_words, margins.length),
    )


def _ratio(change: RatioChange, margin: float) -> RatioFigures:
    return RatioFigures(
        ratio=change.ratio,
        ci95=change.ci95,
        p_value=change.p_value,
        p_resolution=change.p_resolution,
        significant=change.significant,
        margin=margin,
        within_margin=equivalent(change, margin),
        note=change.note or None,
    )


def _distinct_of(n: int) -> Callable[[Sequence[list[str]], Sequence[list[str]]], tuple[float | None, float | None]]:
    def measure(before: Sequence[list[str]], after: Sequence[list[str]]) -> tuple[float | None, float | None]:
        words = min(sum(map(len, before)), sum(map(len, after)))
        return distinct_words(before, n, words), distinct_words(after, n, words)

    return measure


# --- figures of one side ------------------------------------------------------------------------------------------


def completions(side: Sequence[SampleSide]) -> list[str]:
    """Return the texts of the completions."""
    return [answer.completion for answer in side]


def length(side: Sequence[SampleSide]) -> float | None:
    """Return the mean length in tokens, EOS included; None if it is not known for all completions."""
    return _mean([answer.tokens for answer in side])


def fluency(side: Sequence[SampleSide], scorer: Scorer = "reference") -> float | None:
    """
    Return the perplexity of all completions under a model; see `rlaif.stats.text.perplexity`.

    Args:
        side: the completions; those that were not scored are left out.
        scorer: `reference` or `independent`.

    """
    nats, tokens = _nats(side, scorer)
    count = sum(number for number in tokens if number is not None)
    return perplexity([-math.fsum(x for x in nats if x is not None) / count]) if count else None


def _fluency(before: Sequence[SampleSide], after: Sequence[SampleSide]) -> Fluency:
    """Return the perplexities of both sides, over the pairs with scores for both completions."""

    def sides(scorer: Scorer) -> tuple[float | None, float | None]:
        pairs = [(b, a) for b, a in zip(before, after, strict=True)
                 if _logprob(b, scorer) is not None and _logprob(a, scorer) is not None]  # fmt: skip
        return fluency([b for b, _ in pairs], scorer), fluency([a for _, a in pairs], scorer)

    reference = sides("reference")
    independent: tuple[float | Absent | None, float | Absent | None] = ABSENT, ABSENT
    if any(_logprob(answer, "independent") is not None for answer in (*before, *after)):
        independent = sides("independent")
    return Fluency(
        before=FluencySide(reference_perplexity=reference[0], independent_perplexity=independent[0]),
        after=FluencySide(reference_perplexity=reference[1], independent_perplexity=independent[1]),
    )


def _logprob(answer: SampleSide, scorer: Scorer) -> float | None:
    """Return the log-probability of a completion under a model, in nats; None if it is not known."""
    found = answer.reference_logprob if scorer == "reference" else answer.independent_logprob
    return None if found is ABSENT else found


def _nats(side: Sequence[SampleSide], scorer: Scorer) -> tuple[list[float | None], list[int | None]]:
    """Return the negative log-probability in nats and the tokens of each completion, None where it is not known."""
    nats: list[float | None] = []
    counts: list[int | None] = []
    for answer in side:
        logprob = _logprob(answer, scorer)
        own = answer.reference_tokens if scorer == "reference" else answer.independent_tokens
        # If the scoring model has other tokens than those that were sampled, its own count.
        tokens = answer.tokens if own is ABSENT or not own else own
        nats.append(None if logprob is None else -logprob)
        counts.append(None if logprob is None else tokens)
    return nats, counts


def _lengths(texts: Sequence[str]) -> list[float]:
    return [len(text.split()) for text in texts]


def _not(flag: bool | None) -> bool | None:
    return None if flag is None else not flag


def _mean(values: Sequence[float | bool | None]) -> float | None:
    """Return the mean, or None if a value is not known or there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
