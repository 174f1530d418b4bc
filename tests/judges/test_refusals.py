"""Endpoints that fail in words of their own: whose mistake it is, what is tried again, and what it costs."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from pathlib import Path

import pytest

import rlaif
from rlaif import Sample
from rlaif.judges.registry import load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from tests.remote import SECRET, card_of
from tests.server import Fail, Raw, Server, honest, rating_of

pytestmark = pytest.mark.usefixtures("nobody")

PRICE = {"input": 2.0, "output": 10.0}


def judge_of(server, adapter="openai", session=None, **keys):
    return load_judge(card_of(server, adapter, **{"total_timeout": 3, **keys}), session=session)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "too many tokens", "code": "context_length_exceeded"}, "too_long"),
        ({"message": "blocked", "code": "content_filter"}, "filtered"),
        ({"message": "you are out of credit", "code": "insufficient_quota"}, "unavailable"),
    ],
)
def test_a_refusal_inside_a_200_is_read_by_its_code_and_not_tried_again(server, error, status):
    server.behaviour = lambda _: Raw(json.dumps({"error": error}))
    (judged,) = judge_of(server)([Sample("a")])
    assert (judged.score, judged.status, judged.usage.attempts) == (None, status, 1)


def test_a_model_that_a_200_says_is_not_there_is_refused_in_one_line(server):
    server.behaviour = lambda _: Raw(json.dumps({"error": {"message": "no such model", "code": "model_not_found"}}))
    with pytest.raises(rlaif.InputError, match="has no model"):
        judge_of(server)([Sample("a")])


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "the provider failed", "code": 502}},
        {"error": "upstream gone"},
        {"choices": [], "usage": {}},
        {"choices": None},
        {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502}}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "error"}]},
    ],
)
def test_a_failure_inside_a_200_is_tried_again(server, body):
    answers = iter([Raw(json.dumps(body))])
    server.behaviour = lambda request: next(answers, None) or honest(request)
    (judged,) = judge_of(server)([Sample("a")])
    assert (judged.raw, judged.status, judged.usage.attempts) == (rating_of("a"), "ok", 2)
    server.behaviour = lambda request: Raw(json.dumps(body))
    (judged,) = judge_of(server, total_timeout=0.3)([Sample("b")])
    assert (judged.score, judged.status) == (None, "unavailable")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("there is no model named m here; /v1/models lists them", "has no model"),
        ("m is not a valid model ID", "has no model"),
        ("The model `m` does not exist or you do not have access to it.", "has no model"),
        ("max_tokens may be 256 at most", "max_tokens"),
        ("max_tokens is too large: 512. This model supports at most 256 completion tokens.", "max_tokens"),
    ],
)
@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_a_mistake_of_the_card_is_refused_in_one_line(server, adapter, said, words):
    server.behaviour = lambda _: Fail(400, said, "ValidationException")
    with pytest.raises(rlaif.InputError, match=words) as caught:
        judge_of(server, adapter)([Sample("a")])
    assert said in str(caught.value)


def test_a_request_that_is_too_large_belongs_to_its_sample(server):
    server.behaviour = lambda _: Fail(
        413, "the request is too large: 6000 tokens a minute, 8011 asked", "rate_limit_exceeded"
    )
    (judged,) = judge_of(server)([Sample("a")])
    assert (judged.score, judged.status, judged.usage.attempts) == (None, "too_long", 1)


def test_json_that_the_model_did_not_make_is_asked_for_in_text(server):
    said = Fail(400, "the model made no valid JSON; change the prompt", "json_validate_failed")
    server.behaviour = lambda request: said if request.format in ("schema", "json") else honest(request)
    (judged,) = judge_of(server)([Sample("a")])
    assert (judged.raw, judged.status) == (rating_of("a"), "ok")
    server.behaviour = lambda _: said
    (judged,) = judge_of(server)([Sample("b")])
    assert (judged.score, judged.status) == (None, "unparsable")


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
@pytest.mark.parametrize(
    "refused",
    [
        lambda call: call.format == "schema",
        lambda call: call.format in ("schema", "json", "tool"),
        lambda call: "temperature" in call.body.get("inferenceConfig", call.body),
    ],
)
def test_a_refusal_in_words_of_its_own_steps_down_once_and_is_said(server, adapter, refused, caplog):
    server.behaviour = lambda call: Fail(422, "Nope: E1234.", "ValidationException") if refused(call) else honest(call)
    judge = judge_of(server, adapter, concurrency=1)
    assert [one.raw for one in judge([Sample(text) for text in "abc"])] == [rating_of(text) for text in "abc"]
    said = [record.message for record in caplog.records if "left out from now on" in record.message]
    assert said
    assert all("E1234" in line for line in said)
    calls = len(server.calls)
    assert judge([Sample("d")])[0].status == "ok"
    assert len(server.calls) == calls + 1


def test_a_page_is_quoted_with_the_name_of_the_proxy(server, monkeypatch):
    with Server(lambda _: Raw("<html><title>Access denied</title></html>", 403, type="text/html")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(rlaif.InputError, match="Access denied") as caught:
            judge_of(server)([Sample("a")])
    assert proxy.url in str(caught.value)
    assert "HTTP_PROXY" in str(caught.value)
    assert server.calls == []


def test_an_endpoint_behind_a_proxy_is_looked_for_at_the_proxy(monkeypatch):
    with Server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        judge = judge_of(proxy, base_url="http://judge.corp.invalid/v1")
        assert judge([]) == []
        assert judge([Sample("a")])[0].raw == rating_of("a")


def test_a_proxy_where_nobody_listens_is_refused_at_once_and_costs_nothing(server, monkeypatch):
    with Server() as gone:
        pass
    monkeypatch.setenv("http_proxy", gone.url)
    budget = Budget(usd=1.0)
    with pytest.raises(rlaif.InputError, match="http_proxy"):
        judge_of(server, price=PRICE, session=Session(budget))([Sample("a")])
    assert (budget.spent, server.calls) == (0, [])


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9"])
def test_a_proxy_that_the_client_cannot_use_is_named(server, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(rlaif.InputError, match=r"ALL_PROXY: socks.*httpx\[socks\].*unset ALL_PROXY"):
        judge_of(server)


def test_a_name_that_is_not_known_is_refused_at_once(server):
    with pytest.raises(rlaif.InputError, match=r"judge\.invalid"):
        judge_of(server, base_url="http://judge.invalid/v1")([Sample("a")])


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_a_connection_that_is_not_made_costs_nothing(adapter):
    with Server() as gone:
        judge = judge_of(gone, adapter, price=PRICE, total_timeout=0.3)
    (judged,) = judge([Sample("a")])
    assert (judged.score, judged.status, judged.usage.usd) == (None, "unavailable", 0)


def test_a_query_of_the_address_and_headers_go_with_every_call(server):
    keys = {"base_url": f"{server.openai}/x?api-version=1", "extra_headers": {"X-Team": "judges"}}
    assert judge_of(server, **keys)([Sample("a")])[0].raw == rating_of("a")
    assert server.calls[0].path == "/v1/x/chat/completions?api-version=1"
    assert server.calls[0].headers["x-team"] == "judges"
    for wrong in (
        {"extra_headers": {"api-key": "x"}},
        {"base_url": f"{server.openai}?key=x"},
        {"extra_headers": {"a b": ""}},
    ):
        with pytest.raises(rlaif.InputError):
            judge_of(server, **wrong)


@pytest.mark.parametrize("end", ["\n", " ", "\r\n", "\t"])
def test_blanks_around_a_key_are_not_sent(server, monkeypatch, end):
    monkeypatch.setenv("MY_KEY", SECRET + end)
    assert judge_of(server, api_key_env="MY_KEY")([Sample("a")])[0].status == "ok"
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKIDNOBODY{end}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET + end)
    assert judge_of(server, "bedrock")([Sample("a")])[0].status == "ok"


@pytest.mark.parametrize("middle", ["\n", "\0", " ", "\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(server, monkeypatch, middle):
    monkeypatch.setenv("MY_KEY", f"{SECRET}{middle}more" if middle != "\0" else f"{SECRET}\x01more")
    with pytest.raises(rlaif.InputError, match="MY_KEY") as caught:
        judge_of(server, api_key_env="MY_KEY")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("escape", [str, lambda t: t.replace("-", "\\u002d"), lambda t: t.replace("-", "%2D")])
def test_a_key_that_an_endpoint_repeats_is_masked_in_any_escaping(server, monkeypatch, escape):
    monkeypatch.setenv("MY_KEY", SECRET)
    server.behaviour = lambda _: Raw(f'{{"error": {{"message": "bad {escape(SECRET)}"}}}}', 400)
    (judged,) = judge_of(server, api_key_env="MY_KEY")([Sample("a")])
    assert "0123456789" not in judged.reason


def test_what_was_billed_and_cannot_be_read_counts_against_the_budget(server):
    used = {"prompt_tokens": 1000, "completion_tokens": 1000}
    server.behaviour = lambda _: Raw(json.dumps({"choices": [{"message": None}], "usage": used}))
    budget = Budget(usd=0.1)
    judge_of(server, price=PRICE, session=Session(budget))([Sample(f"text {n}") for n in range(60)])
    billed = len(server.calls) * (1000 * 2 + 1000 * 10) / 1e6
    assert budget.spent == pytest.approx(billed)
    assert billed < 0.1 + 16 * 0.012


def test_an_endpoint_that_counts_more_than_was_reserved_passes_the_cap_once(server, caplog):
    """The first call goes alone; what it costs is set aside for each that follows."""
    beside_the_first = []

    def dear(request):
        if len(server.calls) == 1:
            time.sleep(0.2)
            beside_the_first.append(len(server.calls) - 1)
        message = {"role": "assistant", "content": honest(request).text}
        used = {"prompt_tokens": 300, "completion_tokens": 5000}
        return Raw(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": used}))

    server.behaviour = dear
    budget = Budget(usd=0.5)
    each = (300 * 2 + 5000 * 10) / 1e6
    judged = judge_of(server, price=PRICE, max_tokens=100, session=Session(budget))(
        [Sample(f"t {n}") for n in range(60)]
    )
    assert budget.spent == pytest.approx(len(server.calls) * each)
    assert beside_the_first == [0]
    assert budget.spent <= 0.5
    assert {one.status for one in judged} == {"ok", "over_budget"}
    assert len([r for r in caplog.records if "is set aside" in r.message]) == 1


@pytest.mark.parametrize(
    "character", list("\u200b\u2800\u3164\ufeff\u00ad\u2060\u115f\u034f\ufe0f\u202e\u180e\x00 \t\u3000")
)
def test_a_text_of_what_cannot_be_seen_is_empty(server, character):
    (judged,) = judge_of(server)([Sample(character * 3)])
    assert (judged.score, judged.status) == (None, "empty")
    assert server.calls == []
    assert judge_of(server)([Sample(f"{character}a")])[0].status == "ok"


@pytest.mark.parametrize("rating", [0, 9, -3, True, "4", None, math.inf])
def test_a_stored_rating_that_is_damaged_is_asked_for_again(server, rating):
    judge = judge_of(server)
    assert judge([Sample("a")])[0].raw == rating_of("a")
    with sqlite3.connect(Path(os.environ["RLAIF_HOME"]) / "verdicts.sqlite") as store:
        store.execute("UPDATE verdicts SET verdict = ?", [json.dumps({"rating": rating, "reason": ""})])
    (again,) = judge([Sample("a")])
    assert (again.raw, again.usage.from_store) == (rating_of("a"), False)
    assert judge([Sample("a")])[0].usage.from_store


def test_true_of_a_function_is_no_number(tmp_path):
    (tmp_path / "mine.py").write_text("def f(completions, **_): return [True] * len(completions)\n")
    with pytest.raises(rlaif.JudgeBug, match="True, which is no number"):
        load_judge({"adapter": "python", "function": f"{tmp_path}/mine.py:f"})([Sample("a")])
