"""What training may cost a model: fluency and diversity, in numbers that can be compared before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain


def words_of(texts: Iterable[str]) -> list[list[str]]:
    """Return the lower-cased words of each text."""
    return [text.lower().split() for text in texts]


def distinct(texts: Sequence[str], n: int, words: int | None = None) -> float | None:
    """
    Return distinct-n: the share of n-grams that are different ones (Li et al. 2016, arXiv 1510.03055).

    The number falls as a text grows, so that only equal lengths compare: give both sides the smaller `word_count`.

    Args:
        texts: completions, in an order that says nothing, such as that of the prompts. No n-gram spans two.
        n: words of a gram.
        words: look at the first so many words.

    Returns:
        A share in (0, 1], or None where there is no n-gram.

    """
    return distinct_words(words_of(texts), n, words)


def distinct_words(texts: Sequence[Sequence[str]], n: int, words: int | None = None) -> float | None:
    """Return distinct-n of texts that are words already: see `distinct`."""
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
    Return how much texts repeat themselves: the mean share of n-grams that stood in the same text before.

    1 - (different n-grams / n-grams) of each text, the seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319).

    Args:
        texts: completions; those that are too short for an n-gram are left out.
        n: words of a gram.

    Returns:
        A share in [0, 1), or None where there is no n-gram.

    """
    shares = []
    for words in words_of(texts):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if grams:
            shares.append(1 - len(set(grams)) / len(grams))
    return math.fsum(shares) / len(shares) if shares else None


def word_count(texts: Sequence[str]) -> int:
    """Return how many words there are in all."""
    return len(list(chain.from_iterable(words_of(texts))))


def perplexity(logprobs: Iterable[float]) -> float | None:
    """
    Return exp of the mean negative log-likelihood per token; None where there is none.

    Args:
        logprobs: of all tokens of all completions given their prompts, EOS included, at temperature 1, in nats.

    """
    every = list(logprobs)
    if not every:
        return None
    try:
        return math.exp(-math.fsum(every) / len(every))
    except OverflowError:
        return math.inf
