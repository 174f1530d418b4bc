"""Fluency and diversity, by hand."""

from __future__ import annotations

import math

import pytest

from rlaif.stats.text import distinct, perplexity, word_count


def test_distinct_is_the_share_of_different_grams():
    assert distinct(["a b a b"], 1) == 0.5  # a, b of 4
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)  # ab, ba of ab, ba, ab
    assert distinct(["A b", "a B"], 2) == 0.5  # lower-cased; no gram spans two texts


def test_distinct_looks_at_the_first_words_only_so_that_lengths_compare():
    assert distinct(["a b c", "a a a a"], 1, words=3) == 1.0
    assert distinct(["a b c", "a a a a"], 1, words=5) == pytest.approx(3 / 5)
    assert distinct(["a b c", "a b"], 2, words=4) == 1.0  # the second text is cut to one word, which has no pair


@pytest.mark.parametrize("texts", [[], [""], ["one", "two"]])
def test_texts_without_a_gram_have_no_share(texts):
    assert distinct(texts, 2) is None


def test_words_are_counted_over_all_texts():
    assert word_count(["a b", "", " c\nd  e "]) == 5


def test_perplexity_is_that_of_a_fair_die():
    assert perplexity([-math.log(6)] * 10) == pytest.approx(6)
    assert perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(4)  # exp of the mean of log 2 and log 8


def test_no_token_has_no_perplexity():
    assert perplexity([]) is None
