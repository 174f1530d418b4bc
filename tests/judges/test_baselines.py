"""Judges that need nothing: what chance, length and a word list say."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from rlaif import InputError, Sample, load_judge


def score(text: str, **card: Any) -> float | None:
    return load_judge(card)([Sample(text)])[0].score


def test_constant_gives_its_value_to_all_even_to_blank_texts():
    assert [score(text, adapter="constant", value=0.25) for text in ("a", "", " ")] == [0.25] * 3


def test_random_is_a_function_of_text_and_seed_alone():
    texts = [Sample(f"text {i}") for i in range(2000)]
    first, again, other = (
        [j.score for j in load_judge({"adapter": "random", "seed": seed})(texts)] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    # Uniform: mean 1/2 and standard deviation 1/sqrt(12), within four standard errors.
    assert statistics.mean(first) == pytest.approx(0.5, abs=4 * 12**-0.5 / 2000**0.5)
    assert statistics.stdev(first) == pytest.approx(12**-0.5, abs=0.012)
    assert abs(statistics.correlation(first, other)) < 4 / 2000**0.5


def test_random_tells_prompt_from_completion():
    judge = load_judge("random")
    assert judge([Sample("bc", "a")])[0].score != judge([Sample("c", "ab")])[0].score


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("one two three", {"midpoint": 3}, 0.5),
        ("", {}, 0.0),
        ("abcd", {"unit": "characters", "midpoint": 12}, 0.25),
        ("one two", {"at_least": 4}, 0.5),
        ("one two three four", {"at_least": 4}, 1.0),
        ("one two three four", {"at_least": 1, "at_most": 2}, 0.5),
        ("", {"at_most": 2}, 1.0),
        ("", {"at_least": 2, "at_most": 2}, 0.0),
    ],
)
def test_length_scores_as_worked_out_by_hand(text, keys, expected):
    assert score(text, adapter="length", **keys) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("nothing here", 0),
        ("You FOOL", 1),
        ("a fool's fool", 2),
        ("foolproof", 0),
        ("shut up, fool!", 2),
        ("größe", 1),
        ("(a.b)", 1),
    ],
)
def test_lexicon_counts_whole_words_whatever_their_case(text, count):
    (judgement,) = load_judge({"adapter": "lexicon", "words": ["fool", "shut up", "Größe", "a.b"]})([Sample(text)])
    assert (judgement.raw, judgement.score) == (count, 1 / (1 + count))


def test_lexicon_reads_its_words_from_a_file_beside_the_card(tmp_path: Path):
    (tmp_path / "words.txt").write_text("fool\n\nclown\n")
    (tmp_path / "mine.yaml").write_text("adapter: lexicon\nfile: ./words.txt\n")
    assert load_judge(tmp_path / "mine.yaml")([Sample("a clown")])[0].score == 0.5


def test_lexicon_abstains_on_blank_texts():
    assert load_judge("lexicon")([Sample(" ")])[0].status == "empty"


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"adapter": "constant", "value": 1.5}, "value"),
        ({"adapter": "lexicon"}, "words"),
        ({"adapter": "lexicon", "words": []}, "empty"),
        ({"adapter": "lexicon", "file": "./none.txt"}, "none.txt"),
        ({"adapter": "length", "at_least": 3, "at_most": 2}, "at_least"),
    ],
)
def test_a_wrong_key_is_refused(card, words):
    with pytest.raises(InputError, match=words):
        load_judge(card)
