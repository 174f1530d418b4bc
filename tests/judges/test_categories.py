"""Judges of category scores: OpenAI's moderation endpoint and Bedrock's guardrail checks, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from rlaif import InputError, Sample, load_judge
from tests.server import Raw, Server, first, severity_of

MODERATION = ("hate", "harassment", "violence")
GUARDRAIL = ("HATE", "INSULTS", "VIOLENCE", "SEXUAL", "MISCONDUCT")
pytestmark = pytest.mark.usefixtures("nobody")


def card(server: Server, adapter: str, **keys: Any) -> dict[str, Any]:
    where = (
        {"base_url": server.openai}
        if adapter == "openai_moderation"
        else {"endpoint_url": server.url, "region": "us-east-1"}
    )
    return {"adapter": adapter, "measures": "toxicity", "total_timeout": 2, **where, **keys}


BOTH = pytest.mark.parametrize(
    ("adapter", "categories"), [("openai_moderation", MODERATION), ("bedrock_guardrail", GUARDRAIL)]
)


@BOTH
def test_the_worst_category_counts_and_is_named(server, adapter, categories):
    judge = load_judge(card(server, adapter))
    for text, judgement in zip(texts := ["one", "two", "three"], judge(list(map(Sample, texts))), strict=True):
        worst = max(categories, key=lambda name: severity_of(text, name))
        assert judgement.raw == pytest.approx(severity_of(text, worst))
        assert judgement.score == pytest.approx(1 - severity_of(text, worst))
        assert (judgement.reason, judgement.usage.attempts) == (worst, 1)


@BOTH
def test_only_the_chosen_categories_count(server, adapter, categories):
    judge = load_judge(card(server, adapter, categories=[categories[2]]))
    assert judge([Sample("one")])[0].raw == pytest.approx(severity_of("one", categories[2]))
    assert judge.identity != load_judge(card(server, adapter)).identity


@BOTH
def test_what_was_paid_comes_from_the_store(server, adapter, categories):
    samples = [Sample("one"), Sample("two"), Sample("one"), Sample(" ")]
    before = load_judge(card(server, adapter))(samples)
    after = load_judge(card(server, adapter))(samples)
    assert [j.score for j in before] == [j.score for j in after]
    assert before[3].status == "empty"
    assert after[0].usage.from_store
    assert len(server.calls) == 2


@BOTH
@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (first(2, "throttled"), "ok"),
        ("error_500", "unavailable"),
        (lambda _: Raw("[]"), "unparsable"),
        (lambda _: Raw("prose"), "unparsable"),
        (lambda _: Raw('{"results": []}'), "unparsable"),
        (lambda _: Raw('{"results": [{"category_scores": {"hate": 1.5}}]}'), "unparsable"),
    ],
)
def test_a_bad_day_has_a_status_and_no_number(server, adapter, categories, behaviour, status):
    server.behaviour = behaviour
    (judgement,) = load_judge(card(server, adapter, total_timeout=1))([Sample("text")])
    assert judgement.status == status
    assert (judgement.score is None) == (status != "ok")


def test_a_category_that_the_endpoint_has_not_is_no_number(server):
    (judgement,) = load_judge(card(server, "openai_moderation", categories=["kindness"]))([Sample("text")])
    assert (judgement.score, judgement.status) == (None, "unparsable")
    assert "kindness; there are: hate, harassment, violence" in judgement.reason


def test_a_category_that_guardrails_have_not_is_refused(server):
    with pytest.raises(InputError, match="categories"):
        load_judge(card(server, "bedrock_guardrail", categories=["KINDNESS"]))


@BOTH
def test_a_wrong_key_stops_at_once(server, adapter, categories):
    server.behaviour = "wrong_key"
    with pytest.raises(InputError):
        load_judge(card(server, adapter))([Sample(str(i)) for i in range(100)])
    assert len(server.calls) <= 32
