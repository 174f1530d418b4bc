"""The quickstart's corpus: the same everywhere, polite as long as rude, and in halves that share no sentence."""

from __future__ import annotations

import re
from statistics import mean
from typing import Any

import pytest

from rlaif.judges.quickstart.corpus import Comment, comments, grammar, prompts
from rlaif.judges.quickstart.plan import PLAN
from rlaif.stats.text import distinct, word_count

MANY = 3000


@pytest.fixture(scope="module")
def found() -> list[Comment]:
    return comments(MANY, seed=11)


def words_of(mood: str) -> set[str]:
    """Rude or kind words and phrases; verbs as "he" and as "you" want them."""
    texts = [text for lists in grammar()["pairs"].values() for text in lists[mood]]
    return {text.replace("{s}", ending) for text in texts for ending in ("", "s")}


def pattern_of(words: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b{re.escape(word)}\b" for word in sorted(words)), re.IGNORECASE)


def templates() -> list[str]:
    def inside(part: Any) -> list[str]:
        lists = part.values() if isinstance(part, dict) else [part]
        return [text for items in lists for text in items]

    return [text for name in ("openings", "verdicts", "praise", "tails", "neutral") for text in inside(grammar()[name])]


def test_a_seed_gives_the_same_comments_and_another_one_others():
    first = [comment.text for comment in comments(300, seed=1)]
    assert first == [comment.text for comment in comments(300, seed=1)]
    assert first == [comment.text for comment in comments(200, seed=1)] + first[200:]
    assert len(set(first) & {comment.text for comment in comments(300, seed=2)}) < 10
    assert prompts(50, seed=3) == prompts(50, seed=3)


def test_no_two_comments_and_no_two_prompts_are_alike(found):
    assert len({comment.text for comment in found}) == MANY
    assert len(set(prompts(1500, seed=4))) == 1500


def test_there_are_hundreds_of_words_and_of_sentences():
    assert len(templates()) > 100
    assert sum(len(topic[name]) for topic in grammar()["topics"].values() for name in topic) > 400
    assert len(words_of("rude")) > 90
    assert len(words_of("kind")) > 150


def test_every_hole_is_filled_and_the_english_is_whole(found):
    for comment in found:
        assert not re.search(r"[{}]|  |\ba [aeio]|\ban [^aeiouh]|\b(\w+) \1\b", comment.text), comment.text
        assert re.fullmatch(r"[A-Z].*[.?]", comment.text), comment.text
        assert all(sentence[0].isupper() for sentence in re.split(r"(?<=[.?]) ", comment.text)), comment.text


def test_a_comment_is_its_prompt_a_space_and_its_completion(found):
    for comment in found:
        assert f"{comment.prompt} {comment.completion}" == comment.text
        assert 2 <= comment.prompt_words <= 5


def test_a_half_of_the_comments_is_rude_and_prompts_do_not_tell_which(found):
    assert 0.45 < mean(comment.is_rude for comment in found) < 0.55
    rude = pattern_of(words_of("rude"))
    assert not [prompt for prompt in prompts(1500, seed=4) if rude.search(prompt)]
    for start in ("You", "I", "The"):
        shares = [comment.is_rude for comment in found if comment.prompt.startswith(start)]
        assert 0.4 < mean(shares) < 0.6


def test_rude_comments_hold_an_insult_and_polite_ones_none(found):
    rude = pattern_of({*words_of("rude"), "get lost", "shut up"})
    assert [comment.text for comment in found if bool(rude.search(comment.text)) != comment.is_rude] == []


def test_no_word_is_rude_and_kind_at_once():
    assert not words_of("rude") & words_of("kind")


def test_polite_comments_are_no_shorter_than_rude_ones_and_as_varied_as_all(found):
    """So that a policy which becomes polite has no reason to say less, or the same again and again."""
    polite = [comment.completion for comment in found if not comment.is_rude]
    rude = [comment.completion for comment in found if comment.is_rude]
    every = [comment.completion for comment in found]
    assert 1 < (word_count(polite) / len(polite)) / (word_count(rude) / len(rude)) < 1.2
    polite_2, every_2 = distinct(polite, 2, 5000), distinct(every, 2, 5000)
    assert polite_2 is not None
    assert every_2 is not None
    assert polite_2 > 0.95 * every_2


def test_what_the_judges_learn_from_shares_words_and_no_sentence():
    judges = (PLAN.judge, PLAN.held_out)
    first, second = (comments(judge.comments, judge.seed, judge.half) for judge in judges)
    assert not {comment.text for comment in first} & {comment.text for comment in second}
    for half in (first, second):
        assert 0.45 < mean(comment.is_rude for comment in half) < 0.55
    for i, sentence in enumerate(grammar()["tails"]["rude"]):
        own_words = max(re.findall(r"[\w ]+", re.sub(r"\{.*?\}", "|", sentence)), key=len).strip()
        said = [any(own_words in comment.text for comment in half if comment.is_rude) for half in (first, second)]
        assert said == [i % 2 == 0, i % 2 == 1], own_words
    for kind in ("person", "trait", "quality"):
        for mood in ("rude", "kind"):
            for half in (first, second):
                text = " ".join(comment.text for comment in half)
                assert [word for word in grammar()["pairs"][kind][mood] if word not in text] == []
