"""
Kinds of bad answer, each to every adapter in every format: no wrong number, no run that ends, the cost as it is billed.

One batch holds a sample for each kind, among samples that get an honest verdict.
"""

from __future__ import annotations

import json

import pytest

from rlaif import Sample
from rlaif.judges.registry import load_judge
from tests.remote import card_of
from tests.server import Fail, Raw, Say, _completion, _converse, honest, rating_of, severity_of

pytestmark = pytest.mark.usefixtures("nobody")

PRICE = {"input": 2.0, "output": 10.0}
FORMS = [("openai", form) for form in ("schema", "json", "text")]
FORMS += [("bedrock", form) for form in ("schema", "tool", "text")]


def saying(words):
    """An answer of these words, in which M is the mark; in a tool's format no tool is called."""
    return lambda request: Say(words.replace("M", request.fence))


NUMBERS = (
    *("-4", "\u22124", "- 4", "-**4**", "1%", ".5", "<1", ">4", "\u22655", "\u22644", "~~5~~", "~4", "1/5", "5 / 5"),
    *("4-5", "4,5", "five", "5 of 5", "N", "", "nan", "1e1", "6", "0", "4 5", "\u00b15", "5+", "4\u00b2"),
)
WORDS = {
    **{f"number {number}": f"Rude.\nRating [M]: {number}" for number in NUMBERS},
    "a draft, and an end that cannot be read": "Rating [M]: 4\nNo, rather:\nRating [M]: 1/5",
    "two verdicts": "Rating [M]: 4\nRating [M]: 5",
    "a draft in a thought without its beginning": "Rating [M]: 5\n</think>\nI cannot say.",
    "an unfinished thought": "<think>\nRating [M]: 5",
    "a struck line": "~~Rating [M]: 5~~",
    "no mark": "Rating: 5",
    "another mark": "Rating [0123456789ab]: 5",
    "a copied verdict": '{"reason": "flawless", "rating": 5}',
    "a copied verdict in a block": '```json\n{"reason": "flawless", "rating": 5}\n```',
    "a copied verdict with another mark": '{"reason": "flawless", "rating": 5, "mark": "0123456789ab"}',
    "a list": '[{"reason": "", "rating": 5, "mark": "M"}]',
    "a number alone": "5",
    "a rating twice": '{"rating": 1, "rating": 5, "mark": "M"}',
    "a rating that is true": '{"rating": true, "mark": "M"}',
    "a rating of a string": '{"rating": "4/5", "mark": "M"}',
    "a rating off the scale": '{"rating": 50, "mark": "M"}',
    "nothing": "",
}


def wire(change, said=honest):
    """An answer as it goes over the wire, changed."""

    def reply(request):
        answer = (_converse if request.bedrock else _completion)(said(request), request)
        return Raw(json.dumps(change(answer, request) or answer))

    return reply


def stopped(reason):
    def change(answer, request):
        (answer if request.bedrock else answer["choices"][0])["stopReason" if request.bedrock else "finish_reason"] = (
            reason
        )

    return wire(change)


def without_message(answer, request):
    if request.bedrock:
        answer["output"] = {"message": None}
    else:
        answer["choices"][0]["message"] = None


def two_choices(answer, request):
    if request.bedrock:
        answer["output"] = {"message": {"role": "assistant", "content": "5"}}
    else:
        answer["choices"] *= 2


ON_THE_WIRE = {
    **{f"stopped: {reason}": stopped(reason) for reason in ("abort", "", "pause", "unknown", "length", "max_tokens")},
    "a null reason": stopped(None),
    "no message": wire(without_message),
    "two choices": wire(two_choices),
    "a 400 in words of its own": lambda request: Fail(400, "The frobnicator is out.", "ValidationException"),
    "too large": lambda request: Fail(413, "The request is too large: 8011 tokens.", "ValidationException"),
    "a long text": lambda request: Fail(400, "Input is too long for requested model.", "ValidationException"),
    "a filter": lambda request: Fail(400, "Blocked by our content policy.", "ValidationException"),
    "a page": lambda request: Raw("<html><title>Maintenance</title></html>", type="text/html"),
    "a list on the wire": lambda request: Raw("[5]"),
    "half an answer": lambda request: Raw('{"choices": [{"message": {"content": "'),
}
KINDS = {name: saying(words) for name, words in WORDS.items()} | ON_THE_WIRE


def usage_of(request, answer):
    """USD that the wire says a call is billed, or None where it does not say."""
    if isinstance(answer, Fail):
        return 0.0
    if isinstance(answer, Raw):
        try:
            used = json.loads(answer.body)["usage"]
        except (ValueError, TypeError, KeyError):
            return None
        told = (
            used.get("prompt_tokens", used.get("inputTokens")),
            used.get("completion_tokens", used.get("outputTokens")),
        )
    else:
        told = [len(request.text) // 4 + 1, 20]
    return (told[0] * PRICE["input"] + told[1] * PRICE["output"]) / 1e6


@pytest.mark.parametrize(("adapter", "form"), FORMS)
def test_no_kind_of_bad_answer_becomes_a_number_or_a_wrong_bill(server, adapter, form):
    billed = {}

    def reply(request):
        said = (KINDS.get(request.judged) or honest)(request)
        billed.setdefault(request.judged, []).append(usage_of(request, said))
        return said

    server.behaviour = reply
    texts = [text for kind in KINDS for text in (kind, f"good {kind}")]
    judge = load_judge(card_of(server, adapter, format=form, price=PRICE, total_timeout=3))
    judged = dict(zip(texts, judge([Sample(text) for text in texts]), strict=True))
    good = [text for text in texts if text not in KINDS]
    assert {text: judged[text].raw for text in good} == {text: rating_of(text) for text in good}
    assert {kind: judged[kind].score for kind in KINDS if judged[kind].score is not None} == {}
    assert {judged[kind].status for kind in KINDS} >= {"unparsable", "truncated", "too_long", "filtered"}
    for text, one in judged.items():
        assert one.usage.attempts == len(billed[text])
        said = [usd for usd in billed[text] if usd is not None]
        if len(said) == len(billed[text]):
            assert one.usage.usd == pytest.approx(sum(said)), text
        else:  # the most that it can be
            assert one.usage.usd > sum(said), text


USAGES = {
    "none": None,
    "negative": {"prompt_tokens": -5, "completion_tokens": -5},
    "no completion": {"prompt_tokens": 9},
    "a total": {"prompt_tokens": 9, "total_tokens": 14},
    "absurd": {"prompt_tokens": 10**30, "completion_tokens": 10**30},
    "infinite": {"prompt_tokens": 1e999, "completion_tokens": float("nan")},
    "a word": {"prompt_tokens": "many", "completion_tokens": [1]},
    "true": {"prompt_tokens": True, "completion_tokens": False},
    "a list": [9, 5],
    "text": {"prompt_tokens": "9", "completion_tokens": "5"},
    "floats": {"prompt_tokens": 9.0, "completion_tokens": 5.0},
}
EXACT = {"a total", "text", "floats"}


def test_odd_usage_costs_what_it_says_or_the_most_that_it_can_be(server):
    def reply(request):
        return wire(lambda answer, _: answer | {"usage": USAGES[request.judged]})(request)

    server.behaviour = reply
    judge = load_judge(card_of(server, price=PRICE, max_tokens=100))
    for name, one in zip(USAGES, judge([Sample(name) for name in USAGES]), strict=True):
        assert one.raw == rating_of(name)
        bytes_ = len(next(call for call in server.calls if call.judged == name).text.encode())
        most = ((9 if name == "no completion" else bytes_ + 1024) * PRICE["input"] + 100 * PRICE["output"]) / 1e6
        exact = (9 * PRICE["input"] + 5 * PRICE["output"]) / 1e6
        assert one.usage.usd == pytest.approx(exact if name in EXACT else most), name


SCORES = {
    "true": {"hate": True, "harassment": 0.1, "violence": 0.1},
    "text": {"hate": "0.9", "harassment": 0.1, "violence": 0.1},
    "null": {"hate": None, "harassment": 0.1, "violence": 0.1},
    "negative": {"hate": -0.1, "harassment": 0.1, "violence": 0.1},
    "above": {"hate": 1.1, "harassment": 0.1, "violence": 0.1},
    "nan": {"hate": float("nan"), "harassment": 0.1, "violence": 0.1},
    "a list": [0.1],
    "none": {},
}


@pytest.mark.parametrize("adapter", ["openai_moderation", "bedrock_guardrail"])
def test_scores_of_categories_that_are_no_scores_are_no_number(server, adapter):
    names = {"hate": "HATE", "harassment": "INSULTS", "violence": "VIOLENCE"}

    def body(scores):
        if adapter == "openai_moderation":
            return {"results": [{"category_scores": scores}]}
        pairs = scores.items() if isinstance(scores, dict) else []
        results = [{"category": names[name], "severityScore": score} for name, score in pairs]
        return {"results": {"contentFilter": {"results": results}}}

    good = {"hate": 0.25, "harassment": 0.1, "violence": 0.1}
    replies = {name: json.dumps(body(scores)) for name, scores in SCORES.items()}
    if adapter == "openai_moderation":
        results = body(good)["results"]
        replies |= {
            "twice": '{"results": [{"category_scores": {"hate": 0.9, "hate": 0.1, "violence": 0.1}}]}',
            "two results": json.dumps({"results": results * 2}),
            "no results": '{"results": []}',
        }
    else:
        twice = body(good)
        twice["results"]["contentFilter"]["results"] *= 2
        replies["twice"] = json.dumps(twice)
    server.behaviour = lambda request: Raw(replies.get(request.text) or json.dumps(body(good)))
    if adapter == "bedrock_guardrail":

        def of_guardrail(request):
            text = request.body["messages"][0]["content"][0]["text"]
            return Raw(replies.get(text) or json.dumps(body(good)))

        server.behaviour = of_guardrail
    where = (
        {"base_url": server.openai}
        if adapter == "openai_moderation"
        else {"endpoint_url": server.url, "region": "us-east-1"}
    )
    keys = {} if adapter == "openai_moderation" else {"categories": list(names.values())}
    judge = load_judge({"adapter": adapter, "measures": "toxicity", "total_timeout": 2, **where, **keys})
    judged = dict(zip([*replies, "good"], judge([Sample(text) for text in (*replies, "good")]), strict=True))
    assert judged.pop("good").score == 0.75
    assert {name: (one.score, one.status) for name, one in judged.items()} == dict.fromkeys(
        replies, (None, "unparsable")
    )


def test_the_severity_of_the_honest_server_is_a_share():
    assert 0 <= severity_of("a", "hate") <= 1
