"""Measures of text that show side effects of training: diversity, repetition, length and perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain


def words_of(texts: Iterable[str]) -> list[list[str]]:
    """Return the lower-cased words of each text."""
    return [text.lower().split() for text in texts]


def distinct(texts: Sequence[str], n: int, words: int | None = None) -> float | None:
    """
    Return distinct-n: the number of different n-grams over the number of n-grams (Li et al. 2016, arXiv 1510.03055).

    The value falls with the length of the texts, so compare it at equal lengths: pass the smaller `word_count` of
    both sides as `words`.

    Args:
        texts: completions, in an order that does not depend on their content. No n-gram spans two texts.
        n: number of words of an n-gram.
        words: use only this many words, counted over the texts in order; None for all.

    Returns:
        A share in (0, 1], or None if there are no n-grams.

    """
    return distinct_words(words_of(texts), n, words)


def distinct_words(texts: Sequence[Sequence[str]], n: int, words: int | None = None) -> float | None:
    """Return distinct-n of texts that are already split into words; see `distinct`."""
    budget = math.inf if words is None else words
    different: set[tuple[str, ...]] = set()
    count = 0
    for text in texts:
        kept = text[: int(min(budget, len(text)))]
        budget -= len(kept)
        different.update(zip(*(kept[i:] for i in range(n)), strict=False))
        count += max(0, len(kept) - n + 1)
    return len(different) / count if count else None


def repetition(texts: Sequence[str], n: int = 4) -> float | None:
    """
    Return the repetition within texts: the mean share of n-grams that repeat an earlier one of the same text.

    For each text it is 1 - (different n-grams / n-grams), the seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319).

    Args:
        texts: completions; texts too short for an n-gram are left out.
        n: number of words of an n-gram.

    Returns:
        A share in [0, 1), or None if there are no n-grams.

    """
    shares = []
    for words in words_of(texts):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if grams:
            shares.append(1 - len(set(grams)) / len(grams))
    return math.fsum(shares) / len(shares) if shares else None


def word_count(texts: Sequence[str]) -> int:
    """Return the total number of words."""
    return len(list(chain.from_iterable(words_of(texts))))


def perplexity(logprobs: Iterable[float]) -> float | None:
    """
    Return the perplexity, exp of the mean negative log-likelihood per token.

    Args:
        logprobs: log-probabilities of all tokens of all completions given their prompts, EOS included, at temperature
            1, in nats.

    Returns:
        The perplexity, or None if there are no tokens.

    """
    every = list(logprobs)
    if not every:
        return None
    try:
        return math.exp(-math.fsum(every) / len(every))
    except OverflowError:
        return math.inf
