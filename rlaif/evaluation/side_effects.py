"""What a change cost the model: fluency, variety, length, repetition, completions that are empty or cut, KL."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rlaif.evaluation.margins import Margins
from rlaif.evaluation.measure import Side
from rlaif.stats.changes import RatioChange, equivalent, ratio_change
from rlaif.stats.jackknife import jackknife_ratio
from rlaif.stats.text import distinct, distinct_words, perplexity, repetition, word_count, words_of

Rows = Sequence[Mapping[str, Any]]
SIDES = ("before", "after")

SCORERS = ("reference", "independent")
"""Models whose perplexities are told: the one before, and one that has nothing to do with either."""

MANY, FEWER_GROUPS, GROUPS = 1000, 20, 40
"""Pairs from which the jackknife of distinct-n leaves out fewer and larger groups: each takes a pass over all texts."""


def price(rows: Rows, margins: Margins) -> dict[str, Any]:
    """
    Return the figures beside the judges', of each side, and `changes`: ratios with their intervals.

    A pair of which a side is missing (an endpoint gave no completion) has no part in them; `missing` counts those.
    """
    there = [row for row in rows if not any(row[side].get("missing") for side in SIDES)]
    before, after = ([row[side] for row in there] for side in SIDES)
    named = (("before", before), ("after", after))
    words = min((word_count(completions(side)) for side in (before, after)), default=0)
    told: dict[str, Any] = {
        "fluency": {name: _fluency(before, after, side) for name, side in named},
        "diversity": {
            name: {f"distinct_{n}": distinct(completions(side), n, words) for n in (1, 2, 3)} for name, side in named
        },
        "length_tokens": {name: length(side) for name, side in named},
        "length_words": {name: _mean(_lengths(completions(side))) for name, side in named},
        "ended_rate": {name: _mean([answer["ended"] for answer in side]) for name, side in named},
        "cut_rate": {name: _mean([_not(answer["ended"]) for answer in side]) for name, side in named},
        "empty_rate": {name: _mean([not text.strip() for text in completions(side)]) for name, side in named},
        "repetition": {name: repetition(completions(side)) for name, side in named},
        "kl_nats_per_sequence": _mean([answer["kl"] for answer in after]),
        "changes": changes(there, margins),
    }
    missing = {side: dict(Counter(row[side]["missing"] for row in rows if row[side].get("missing"))) for side in SIDES}
    return told | ({"missing": missing} if any(missing.values()) else {})


def changes(rows: Rows, margins: Margins) -> dict[str, Any]:
    """Return by which factor figures changed, each with interval, p-value and whether it is within its margin."""
    before, after = ([row[side] for row in rows] for side in SIDES)
    prompts = [row["prompt"] for row in rows]
    found: dict[str, RatioChange] = {}
    for scorer in SCORERS:
        (nats, tokens), (nats_after, tokens_after) = _nats(before, scorer), _nats(after, scorer)
        if any(count is not None for count in (*tokens, *tokens_after)):
            per = tokens, tokens_after
            found[f"{scorer}_perplexity"] = ratio_change(nats, nats_after, prompts, per=per, exponential=True)
    texts = completions(before), completions(after)
    groups = FEWER_GROUPS if len(rows) > MANY else GROUPS
    words = words_of(texts[0]), words_of(texts[1])
    for n in (1, 2, 3):
        found[f"distinct_{n}"] = jackknife_ratio(_distinct_of(n), words[0], words[1], prompts, groups=groups)
    counts = [[answer["tokens"] for answer in side] for side in (before, after)]
    if any(count is not None for side in counts for count in side):
        found["length_tokens"] = ratio_change(counts[0], counts[1], prompts)
    found["length_words"] = ratio_change(_lengths(texts[0]), _lengths(texts[1]), prompts)
    return {name: _change_to_dict(change, margins.get(name)) for name, change in found.items()}


def _change_to_dict(change: RatioChange, margin: float) -> dict[str, Any]:
    return {
        "ratio": change.ratio, "ci95": change.ci95 and list(change.ci95), "p_value": change.p_value,
        "p_resolution": change.p_resolution, "significant": change.significant, "margin": margin,
        "within_margin": equivalent(change, margin), "note": change.note or None,
    }  # fmt: skip


def _distinct_of(n: int) -> Any:
    def measure(before: Sequence[list[str]], after: Sequence[list[str]]) -> tuple[float | None, float | None]:
        words = min(sum(map(len, before)), sum(map(len, after)))
        return distinct_words(before, n, words), distinct_words(after, n, words)

    return measure


# --- of one side --------------------------------------------------------------------------------------------------


def completions(side: Sequence[Side]) -> list[str]:
    """Return the texts."""
    return [answer["completion"] for answer in side]


def length(side: Sequence[Side]) -> float | None:
    """Return the mean length in tokens, EOS included; None where it is not known of all."""
    return _mean([answer["tokens"] for answer in side])


def fluency(side: Sequence[Side], scorer: str = "reference") -> float | None:
    """
    Return the perplexity of all completions under a model: see `quality.perplexity`.

    Args:
        side: completions; those that were not scored are left out.
        scorer: `reference`, or `independent` where there is one.

    """
    nats, tokens = _nats(side, scorer)
    count = sum(number for number in tokens if number is not None)
    return perplexity([-math.fsum(x for x in nats if x is not None) / count]) if count else None


def _fluency(before: Sequence[Side], after: Sequence[Side], side: Sequence[Side]) -> dict[str, float | None]:
    """Return perplexities of a side, over the pairs of which both completions were scored."""
    told = {}
    for scorer in SCORERS:
        if scorer == "reference" or any(_is_scored(answer, scorer) for answer in (*before, *after)):
            both = [_is_scored(b, scorer) and _is_scored(a, scorer) for b, a in zip(before, after, strict=True)]
            told[f"{scorer}_perplexity"] = fluency([x for x, kept in zip(side, both, strict=True) if kept], scorer)
    return told


def _is_scored(answer: Side, scorer: str) -> bool:
    return answer.get(f"{scorer}_logprob") is not None


def _nats(side: Sequence[Side], scorer: str) -> tuple[list[float | None], list[int | None]]:
    """Return negative log-probability and tokens of each completion under a model, None where it is not known."""
    kept = [answer if _is_scored(answer, scorer) else None for answer in side]
    nats = [None if answer is None else -answer[f"{scorer}_logprob"] for answer in kept]
    # Tokens of the model that scores, where they are not those that were sampled.
    counts = [None if answer is None else answer.get(f"{scorer}_tokens") or answer["tokens"] for answer in kept]
    return nats, counts


def _lengths(texts: Sequence[str]) -> list[float]:
    return [len(text.split()) for text in texts]


def _not(flag: bool | None) -> bool | None:
    return None if flag is None else not flag


def _mean(values: Sequence[float | bool | None]) -> float | None:
    """Return the mean; None where there is none, or one is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
