"""From a question to the text that a model reads, and from what it says to a number: each alone, without a server."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif import Sample
from rlaif.judges.cards.question import Question, Scale
from rlaif.judges.llm.backend import Answer
from rlaif.judges.llm.rendering import fence_for, render_question, schema_of
from rlaif.judges.llm.verdict import mean_rating, read_verdict
from rlaif.judges.remote.judge import Unanswered, retry_after

FIVE = Scale(worst=1, best=5)
FENCE = "0123456789ab"
FORMS = ["schema", "tool", "json", "text"]


def question(text, scale=FIVE):
    return Question("mine", text, "x", scale)


def judged_in(text, fence):
    """What stands between the marks, in order."""
    return re.findall(rf"\[begin {fence}\]\n(.*?)\n\[end {fence}\]", text, re.DOTALL)


def read(text, scale=FIVE, **answer):
    return read_verdict(Answer(text, **answer), scale, FENCE)


# --- the question ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_fields_are_filled_once_and_what_was_filled_in_is_never_read_again(form):
    sample = Sample("{prompt} {best}", prompt="{completion} {source}", columns={"source": "{worst} {{}} %s"})
    text, fence = render_question(question("P {prompt} C {completion} S {source} from {worst} to {best}"), sample, form)
    assert judged_in(text, fence) == ["{completion} {source}", "{prompt} {best}", "{worst} {{}} %s"]
    assert "from 1 to 5" in text


def test_braces_that_are_no_fields_stay_as_they_are():
    text, _ = render_question(question('Say {"a": 1} or {} or {0} or {a.b}. {completion}'), Sample("x"), "text")
    assert 'Say {"a": 1} or {} or {0} or {a.b}.' in text


def test_a_column_that_is_not_there_or_no_text_is_filled_all_the_same():
    text, fence = render_question(question("{completion}{a}{b}"), Sample("x", columns={"a": 7}), "text")
    assert judged_in(text, fence) == ["x", "7", ""]


def test_a_scale_may_have_fractions_or_run_backwards():
    text, _ = render_question(question("{completion}", Scale(worst=4.5, best=-1)), Sample("x"), "json")
    assert "from 4.5 (worst) to -1 (best)" in text
    assert "from -1 to 4.5; -1 is best" in json.dumps(schema_of(Scale(worst=4.5, best=-1)))


def test_lone_surrogates_and_nul_become_text_that_can_be_sent():
    text, fence = render_question(question("{completion}"), Sample("a\ud800b\0c\udfff"), "text")
    assert judged_in(text, fence) == ["a?b\ufffdc?"]
    text.encode()


def test_each_way_to_answer_is_told_and_the_mark_of_the_last_line_only_in_text():
    told = {
        form: render_question(question("{completion}"), Sample("x"), form)[0].split("addressed to you.")[1]
        for form in FORMS
    }
    _, fence = render_question(question("{completion}"), Sample("x"), "text")
    assert f"Rating [{fence}]: N" in told["text"]
    assert "by the tool" in told["tool"]
    assert told["schema"] == told["json"]
    assert "JSON object" in told["json"]
    assert "number alone" in render_question(question("{completion}"), Sample("x"), "text", number_only=True)[0]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_text_contains_its_mark_and_equal_texts_have_equal_marks(texts):
    mark = fence_for(texts)
    assert re.fullmatch(r"[0-9a-f]{12}", mark)
    assert not any(mark in text.lower() for text in texts)
    assert fence_for(texts) == mark


def test_a_text_that_holds_the_mark_it_would_get_gets_another(monkeypatch):
    # Nobody finds such a text; here the hash is a weak one, so that texts do hold their marks.

    class Weak:
        def __init__(self, data, digest_size):
            self.hexdigest = lambda: f"mark{data[:1].decode()}"

    monkeypatch.setattr("rlaif.judges.llm.rendering.blake2b", Weak)
    assert fence_for(["plain"]) == "mark0"
    assert fence_for(["[end mark0]"]) == "mark1"
    assert fence_for(["[END MARK0]", "mark1 mark2"]) == "mark3"


@given(st.text(), st.text())
def test_whatever_is_judged_stands_whole_between_its_marks(prompt, completion):
    text, fence = render_question(question("{prompt} and {completion}"), Sample(completion, prompt=prompt), "text")
    expected = [value.encode(errors="replace").decode().replace("\0", "\ufffd") for value in (prompt, completion)]
    assert judged_in(text, fence) == expected


# --- the verdict ----------------------------------------------------------------------------------------------

MARK = f'"mark": "{FENCE}"'
GOOD = {
    f'{{"reason": "ok", "rating": 4, {MARK}}}': 4,
    f' \n{{"rating": 4.5, "reason": "", {MARK}}}\n ': 4.5,
    f'{{"reason": "two\nlines", "rating": 4, {MARK}}}': 4,
    f'{{"rating": "3", {MARK}}}': 3,
    f'{{"score": 2, {MARK}}}': 2,
    f'{{"rating": 2, "score": 2.0, {MARK}}}': 2,
    f'{{"rating": 1, "confidence": {{"level": 5}}, {MARK}}}': 1,
    f'{{"rating": 1, "reason": "I quote {{\\"rating\\": 5}} and <think>", {MARK}}}': 1,
    f'{{"rating": 1, "reason": "I quote </think>", {MARK}}}': 1,
    f'{{"rating": 4, "mark": "[{FENCE.upper()}]"}}': 4,
    f'```json\n{{"rating": 4, {MARK}}}\n```': 4,
    f'```\n{{"rating": 4, {MARK}}}\n```': 4,
    f'<think>5? {{"rating": 5, {MARK}}}</think>{{"rating": 4, {MARK}}}': 4,
    f'{{"rating": 5, {MARK}}}</think>{{"rating": 4, {MARK}}}': 4,
    f'{{"rating": 4, {MARK}}}<|im_end|>': 4,
    f"why\nRating [{FENCE}]: 4": 4,
    f"Rating [{FENCE}]: 4\nwhy": 4,
    f"**Rating [{FENCE}]: 4**": 4,
    f"**Rating [{FENCE}]:** 4.": 4,
    f"- Rating [{FENCE}]: `4`\r\n": 4,
    f"> rating `{FENCE}` : +4.0 ": 4,
    f"Rating: 5\nRating [ffffffffffff]: 5\nRating [{FENCE}]: 2": 2,
    f"Rating [{FENCE}]: 4\nso, once more\nRating [{FENCE}]: 4.0": 4,
    f"I end with Rating [{FENCE}]: N, where N is 1 to 5.\nRating [{FENCE}]: 2": 2,
    f"Between [begin {FENCE}] and [end {FENCE}] I read no verdict.\nRating [{FENCE}]: 2": 2,
    f"<think>Rating [{FENCE}]: 5</think>Rating [{FENCE}]: 2": 2,
    f"Rating [{FENCE}]: 5, or less\n</think>\nRating [{FENCE}]: 2": 2,
    f"[THINK]Rating [{FENCE}]: 5[/THINK]Rating [{FENCE}]: 2": 2,
    f"<seed:think>Rating [{FENCE}]: 5</seed:think>Rating [{FENCE}]: 2": 2,
    f"\u25c1think\u25b7Rating [{FENCE}]: 5\u25c1/think\u25b7Rating [{FENCE}]: 2": 2,
    f"<|START_THINKING|>Rating [{FENCE}]: 5<|END_THINKING|>Rating [{FENCE}]: 2": 2,
    f"<thought>5</thought><reasoning>\nRating [{FENCE}]: 5\n</reasoning>\nRating [{FENCE}]: 2</s>": 2,
    f"<|channel|>analysis<|message|>Rating [{FENCE}]: 5<|end|><|start|>assistant<|channel|>final<|message|>"
    f"why\nRating [{FENCE}]: 2<|return|>": 2,
    f"analysisRating [{FENCE}]: 5.assistantfinalRude.\nRating [{FENCE}]: 2": 2,
    f'{{"rating": 5}}\nRating [{FENCE}]: 2': 2,
    f"Rating [{FENCE}]: 4\nWhat follows <think> is not read.": 4,
}

NO_NUMBERS = (
    *("- 4", "-**4**", "1%", "1 %", "<1", ">4", "\u22655", "\u22644", "~~5~~", "~5", "\u22485", "4/5", "4 / 5", "4-5"),
    *(
        "4\u20135",
        "4,5",
        "\u20134",
        "...5",
        "\u00b15",
        "=5",
        "/5",
        "!5",
        "#5",
        "$5",
        "^5",
        "\u221a4",
        "4!",
        "4?",
        "\u202e5",
    ),
    *("4:5", "4\u00b2", "4\ufe0f\u20e3", "x4", "4e0", "0x4", "4;5", "4 5", "4..", "5\u2212", "5+", "<del>5</del>"),
)
BAD = {
    "": "empty",
    " \n ": "empty",
    "<think>all of it</think>": "empty",
    "<think>never ends": "unfinished thought",
    f"<think>Rating [{FENCE}]: 5": "unfinished thought",
    f"Sure.\n<think>\nRating [{FENCE}]: 5": "unfinished thought",
    f"<|channel|>analysis<|message|>\nRating [{FENCE}]: 5": "unfinished thought",
    f"Rating [{FENCE}]: 4\n<think>\nRating [{FENCE}]: 4.0": "unfinished thought",
    f"Rating [{FENCE}]: 4\nRating [{FENCE}]: 4.0\n<think>\nRating [{FENCE}]: 4.00": "unfinished thought",
    f"Rating [{FENCE}]: 4\n<think>Rating [{FENCE}]: 4": "cannot be read",
    f"Rating [{FENCE}]: 5\n</think>\nI cannot say.": "no verdict",
    f"Rating [{FENCE}]: 2\nand </think>": "empty",
    "Rating: 5": "no verdict",
    "5": "no JSON object",
    "null": "no JSON object",
    '"5"': "no JSON object",
    '[{"rating": 5}]': "no JSON object",
    "{}": "no rating",
    '{"reason": "5"}': "no rating",
    '{"Rating": 5}': "no rating",
    '{"verdict": {"rating": 5}}': "no rating",
    '{"rating": 5} trailing': "no verdict",
    '{"rating": 5}{"rating": 5}': "no verdict",
    '{"rating": 5': "no verdict",
    "{'rating': 5}": "no verdict",
    "[" * 100_000: "no verdict",
    '{"rating": ' + "9" * 5000 + "}": "no verdict",
    '{"rating": 1, "rating": 5}': "twice",
    '{"rating": 5, "rating": 5}': "twice",
    '{"rating": 1, "score": 5}': "2 verdicts",
    '{"rating": 5, "note": {"x": [{"rating": 1}]}}': "2 verdicts",
    '{"rating": NaN}': "no finite number",
    '{"rating": Infinity}': "no finite number",
    '{"rating": 1e999}': "no finite number",
    '{"rating": ' + "9" * 400 + "}": "no finite number",
    '{"rating": true}': "no number",
    '{"rating": null}': "no number",
    '{"rating": "five"}': "no number",
    '{"rating": "4/5"}': "no number",
    '{"rating": [4]}': "no number",
    '{"rating": ""}': "no number",
    '{"rating": 5.001}': "off the scale",
    '{"rating": 0}': "off the scale",
    '{"rating": -3}': "off the scale",
    f"Rating [{FENCE}]: 6": "off the scale",
    f"Rating [{FENCE}]: five": "no verdict",
    f"Rating [{FENCE}]: 4 of 5": "no verdict",
    f"Rating [{FENCE}]: N": "no verdict",
    f"Rating [{FENCE}]:\n5": "no verdict",
    f"Rating\n[{FENCE}]: 5": "no verdict",
    f"I would say Rating [{FENCE}]: 5": "no verdict",
    f"Rating [{FENCE}]: 4\nRating [{FENCE}]: 5": "2 verdicts",
    f"Rating [{FENCE[:-1]}]: 5": "no verdict",
    **{f"Rating [{FENCE}]: {number}": "no verdict" for number in NO_NUMBERS},
    f"~~Rating [{FENCE}]: 5~~": "no verdict",
    **{f"Rating [{FENCE}]: 4\nNo:\nRating [{FENCE}]: {end}": "cannot be read" for end in ("1/5", "1 of 5", "-", "")},
    f"Rating [{FENCE}]: 1/5\nRating [{FENCE}]: 5": "cannot be read",
    f"Rating [{FENCE}]: 4\nRating [{FENCE}]: 4.0\nRating [{FENCE}]: -": "cannot be read",
    f"Rating [{FENCE}]: 4\nFinal rating [{FENCE}]: 2": "cannot be read",
    f"Rating [{FENCE}]: \u22124": "off the scale",
    f"Rating [{FENCE}]: -4": "off the scale",
    f"Rating [{FENCE}]: .5": "off the scale",
    '{"rating": 5}': "does not carry the mark",
    '```json\n{"reason": "flawless", "rating": 5}\n```': "does not carry the mark",
    '{"rating": 5, "mark": ""}': "does not carry the mark",
    '{"rating": 5, "mark": "ffffffffffff"}': "does not carry the mark",
    f'{{"rating": 5, "{FENCE}": "mark"}}': "does not carry the mark",
}


@pytest.mark.parametrize(("text", "rating"), GOOD.items())
def test_a_verdict_that_is_clear_is_read(text, rating):
    assert read(text).rating == rating


@pytest.mark.parametrize(("text", "why"), BAD.items(), ids=[text[:40] for text in BAD])
def test_a_verdict_that_is_not_clear_is_not_guessed(text, why):
    with pytest.raises(Unanswered, match=re.escape(why)) as caught:
        read(text)
    assert caught.value.status == "unparsable"
    assert len(str(caught.value)) < 250


REASONS = {
    "y" * 130: f"the answer holds no verdict: '{'y' * 120}'",
    f"Rating [{FENCE}]: 4\n{FENCE}{'y' * 80}": f"the line of the verdict cannot be read: '{FENCE}{'y' * 68}'",
    "\n".join(f"Rating [{FENCE}]: {number}" for number in ("4", "1/5", "2/5", "3/5")): (
        f"the line of the verdict cannot be read: 'Rating [{FENCE}]: 3/5'"
    ),
    f'"{"y" * 70}"': f"the answer is no JSON object but '{'y' * 60}'",
    f'{{"{"y" * 70}": 1}}': f"the answer has no rating, only {'y' * 60}",
    "{}": "the answer has no rating, only nothing",
    f'{{"rating": "{"y" * 70}"}}': f"the rating is '{'y' * 60}', no number",
    '{"rating": 5, "score": 1.5}': "the answer holds 2 verdicts: 1.5, 5",
    f"Rating [{FENCE}]: 5\nRating [{FENCE}]: 1.5": "the answer holds 2 verdicts: 1.5, 5",
    '{"rating": 9}': "the rating 9 is off the scale 1 to 5",
}


@pytest.mark.parametrize(("text", "why"), REASONS.items(), ids=[text[:20] for text in REASONS])
def test_the_reason_for_no_verdict_quotes_the_answer_up_to_a_limit(text, why):
    with pytest.raises(Unanswered) as caught:
        read(text)
    assert str(caught.value) == why


def test_a_verdict_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(f"Rating [{FENCE}]: 4").rating = 5


def test_the_reason_is_the_judges_own_words():
    assert read(f'{{"reason": "kind", "rating": 4, {MARK}}}').reason == "kind"
    assert read(f"It is kind.\nRating [{FENCE}]: 4\n").reason == "It is kind."
    assert read(f'{{"rating": 4, {MARK}}}').reason == ""


@pytest.mark.parametrize("given", [{"rating": 4, "reason": "x", "mark": FENCE}, {"rating": "4", "mark": FENCE}])
def test_a_tool_call_counts_before_any_text(given):
    assert read('{"rating": 1}', verdict=given).rating == 4


@pytest.mark.parametrize(
    "given",
    [
        {},
        [],
        "4",
        4,
        False,
        {"rating": float("nan")},
        {"rating": 9, "mark": FENCE},
        {"rating": 4},
        {"rating": 4, "x": [{"score": 1}]},
    ],
)
def test_a_tool_call_without_a_verdict_is_not_mended_from_the_text(given):
    with pytest.raises(Unanswered):
        read('{"rating": 1}', verdict=given)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["rating", "score", "reason", "x"]), inner, max_size=4)
    ),
)
WORDS = f'Rating Score [{FENCE}] : 5 -1 0.5 7 \u0665 N NaN 1e400 <think> </think> ** {{ }} [ , " \ud800 \\'.split(" ")
PARTS = ["\n", " ", "```json\n", "\n```", '{"rating": ', '"reason": "', *WORDS]
pieces = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=25).map("".join)


@given(st.text() | pieces | anything.map(json.dumps))
def test_no_text_at_all_raises_anything_else_or_gives_a_number_off_the_scale(text):
    try:
        verdict = read(text)
    except Unanswered:
        return
    assert 1 <= verdict.rating <= 5
    assert isinstance(verdict.reason, str)


@given(anything)
def test_no_tool_call_at_all_raises_anything_else_or_gives_a_number_off_the_scale(given):
    try:
        verdict = read("", verdict=given)
    except Unanswered:
        return
    assert 1 <= verdict.rating <= 5


@given(st.text(), st.text(), st.sampled_from([1, 2.5, 5]))
def test_an_honest_line_survives_whatever_stands_around_it(before, after, rating):
    honest = f"x{before}\nRating [{FENCE}]: {rating}\n{after}"
    assert read(honest).rating == rating


# --- probabilities --------------------------------------------------------------------------------------------


def expected(scale=FIVE, **probabilities):
    return mean_rating(Answer("", first_token={t: math.log(p) for t, p in probabilities.items()}), scale)


def test_expected_ratings_are_those_worked_out_by_hand():
    assert expected(**{"1": 0.5, "5": 0.5}) == pytest.approx(3)
    assert expected(**{"4": 1.0}) == pytest.approx(4)
    assert expected(**{"1": 0.2, "2": 0.2, "3": 0.2, "4": 0.2, "5": 0.2}) == pytest.approx(3)
    assert expected(**{"5": 0.6, " 5": 0.1, "1": 0.1, "x": 0.2}) == pytest.approx((5 * 0.7 + 0.1) / 0.8)
    assert expected(Scale(worst=9, best=0), **{"0": 0.9, "9": 0.1}) == pytest.approx(0.9)


@pytest.mark.parametrize("tokens", [{}, {"x": 1.0}, {"0": 0.9, "5": 0.1}, {"5": 0.49}, {"6": 1.0}, {"55": 1.0}])
def test_probability_that_lies_elsewhere_is_no_verdict(tokens):
    with pytest.raises(Unanswered, match="of the probability"):
        expected(**tokens)


def test_half_of_the_probability_is_enough():
    assert expected(**{"5": 0.5, "x": 0.5}) == 5


def test_a_probability_above_1_counts_only_where_rounding_may_have_made_it():
    assert mean_rating(Answer("", first_token={"2": 0.009, "5": 0.01}), FIVE) == 2


@given(st.dictionaries(st.text(max_size=3) | st.sampled_from("0123456789٣"), st.floats(), max_size=20))
def test_no_probabilities_give_a_number_off_the_scale(logprobs):
    try:
        rating = mean_rating(Answer("", first_token=logprobs), FIVE)
    except Unanswered:
        return
    assert 1 <= rating <= 5


# --- time to wait ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1.2.3"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "-5"}, 0),
    ],
)
def test_a_time_to_wait_is_seconds_or_nothing(headers, seconds):
    assert retry_after(headers) == seconds
