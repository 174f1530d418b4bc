"""What an endpoint's bad days become, over real HTTP with the real SDKs: a status each, never a number or a crash."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import rlaif
from rlaif import Sample
from rlaif.judges.registry import load_judge
from tests.conftest import one_line
from tests.remote import SECRET as KEY
from tests.remote import card_of
from tests.server import Say, Server, first, rating_of, verdict

pytestmark = pytest.mark.usefixtures("nobody")

ADAPTERS = ["openai", "bedrock"]


def judge_of(adapter, server, **keys):
    return load_judge(card_of(server, adapter, **{"total_timeout": 10, **keys}))


def scores(*texts):
    return [(rating_of(text) - 1) / 4 for text in texts]


# --- each bad day has its status ------------------------------------------------------------------------------

NO_VERDICT = [
    "empty",
    "prose",
    "cut_json",
    "list",
    "number_only",
    "off_scale",
    "below_scale",
    "nan",
    "infinite",
    "huge",
    "word",
    "bool",
    "null_rating",
    "no_rating",
    "twice",
    "two_verdicts",
    "two_names",
    "open_think",
]
NO_ANSWER = ["null", "nothing", "wrong_shape", "html"]
OWN = {
    "refused": "refused",
    "filtered_400": "filtered",
    "filtered": "filtered",
    "guardrail": "filtered",
    "too_long_400": "too_long",
    "truncated": "truncated",
    "day_quota": "unavailable",
    "insufficient_quota": "unavailable",
    "nonsense_400": "unavailable",
    **dict.fromkeys(NO_ANSWER, "unparsable"),
}
BEDROCKS_OWN = {"too_long": "too_long", "malformed": "unparsable", "malformed_tool": "unparsable"}
FORMS = {"openai": ["schema", "json", "text"], "bedrock": ["schema", "tool", "text"]}


def each_among_good_neighbours(server, judge, behaviours):
    """The judgement of one sample for each behaviour, in one batch with samples that nothing befalls."""
    server.behaviour = lambda request: name if (name := request.judged) in behaviours else "ok"
    texts = list(itertools.chain.from_iterable((f"good {name}", name) for name in behaviours))
    judged = dict(zip(texts, judge([Sample(text) for text in texts]), strict=True))
    good = [text for text in texts if text not in behaviours]
    assert [judged[text].score for text in good] == scores(*good)
    assert {judged[text].status for text in good} == {"ok"}
    sent = Counter(call.judged for call in server.calls)
    assert sent == {text: one.usage.attempts for text, one in judged.items()}
    return {name: judged[name] for name in behaviours}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_each_bad_answer_gets_its_status_and_no_number(server, adapter):
    expected = OWN | (BEDROCKS_OWN if adapter == "bedrock" else {})
    bad = each_among_good_neighbours(server, judge_of(adapter, server), expected)
    assert {name: one.status for name, one in bad.items()} == expected
    assert {(one.score, one.raw) for one in bad.values()} == {(None, None)}
    # A refusal that names nothing may be of a parameter: it is asked again without each.
    assert {one.usage.attempts for name, one in bad.items() if name != "nonsense_400"} == {1}
    assert all(one.reason for one in bad.values())


@pytest.mark.parametrize(("adapter", "form"), [(adapter, form) for adapter in ADAPTERS for form in FORMS[adapter]])
def test_an_answer_without_one_verdict_is_unparsable_in_every_format(server, adapter, form):
    # boto3 reads a tool call's arguments, and keeps the last of two equal keys.
    behaviours = [name for name in NO_VERDICT if (form, name) != ("tool", "twice")]
    bad = each_among_good_neighbours(server, judge_of(adapter, server, format=form), behaviours)
    assert {name: one.status for name, one in bad.items()} == dict.fromkeys(behaviours, "unparsable")
    assert {(one.score, one.raw, one.usage.attempts) for one in bad.values()} == {(None, None, 1)}
    assert all(one.reason for one in bad.values())


@pytest.mark.parametrize(("adapter", "form"), [(adapter, form) for adapter in ADAPTERS for form in FORMS[adapter]])
def test_a_finished_thought_is_not_the_verdict(server, adapter, form):
    server.behaviour = "closed_think"
    judged = judge_of(adapter, server, format=form)([Sample(text) for text in "abcd"])
    assert [one.score for one in judged] == scores(*"abcd")


def test_two_tool_calls_are_no_verdict(server):
    server.behaviour = lambda request: Say(stop="tool_use", tools=[{"reason": "", "rating": 4}] * 2)
    (judged,) = judge_of("bedrock", server, format="tool")([Sample("a")])
    assert (judged.score, judged.status) == (None, "unparsable")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_only_verdicts_are_stored(server, adapter):
    judge = judge_of(adapter, server)
    for behaviour in ("refused", "filtered", "truncated", "prose", "day_quota", "too_long_400"):
        server.behaviour = behaviour
        assert judge([Sample("a")])[0].score is None
    server.behaviour = "ok"
    assert judge([Sample("a")])[0].score == scores("a")[0]
    assert len(server.calls) == 7
    assert judge([Sample("a")])[0].usage.from_store
    assert len(server.calls) == 7


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("key", "behaviour", "status"),
    [
        ("filtered", "filtered", "filtered"),
        ("filtered", "filtered_400", "filtered"),
        ("filtered", "guardrail", "filtered"),
        ("refused", "refused", "refused"),
    ],
)
def test_a_card_may_say_that_a_filter_or_a_refusal_is_the_worst(server, adapter, key, behaviour, status):
    server.behaviour = behaviour
    for choice, score in (("worst", 0.0), ("abstain", None)):
        (judged,) = judge_of(adapter, server, **{key: choice})([Sample("a")])
        assert (judged.score, judged.raw, judged.status) == (score, None, status)
    other = {"filtered": "refused", "refused": "filtered"}[key]
    assert judge_of(adapter, server, **{other: "worst"})([Sample("a")])[0].score is None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_usage_in_an_answer_is_counted_as_none(server, adapter):
    server.behaviour = "no_usage"
    (judged,) = judge_of(adapter, server)([Sample("a")])
    assert judged.score == scores("a")[0]
    assert (judged.usage.input_tokens, judged.usage.output_tokens) == (0, 0)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_without_a_price_the_cost_is_unknown_and_with_one_it_is_exact(server, adapter):
    assert judge_of(adapter, server)([Sample("a")])[0].usage.usd is None
    (judged,) = judge_of(adapter, server, price={"input": 2.0, "output": 10.0})([Sample("a")])
    tokens = len(server.calls[-1].text) // 4 + 1
    assert (judged.usage.input_tokens, judged.usage.output_tokens) == (tokens, 20)
    assert judged.usage.usd == pytest.approx((tokens * 2 + 20 * 10) / 1e6)


# --- what passes is tried again -------------------------------------------------------------------------------

PASSING = ["throttled", "error_500", "error_503", "not_ready", "model_timeout", "reset", "close", "throttled_azure"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_passing_failure_is_tried_again_and_counted(server, adapter):
    behaviours = {name: first(3, name) for name in PASSING}
    server.behaviour = lambda request: behaviours[request.judged](request)
    judged = judge_of(adapter, server)([Sample(name) for name in PASSING])
    assert [one.score for one in judged] == scores(*PASSING)
    assert {one.status for one in judged} == {"ok"}
    assert dict(zip(PASSING, [one.usage.attempts for one in judged], strict=True)) == dict.fromkeys(PASSING, 4)
    assert Counter(call.judged for call in server.calls) == dict.fromkeys(PASSING, 4)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_call_that_hangs_is_given_up_and_tried_again(server, adapter):
    server.behaviour = first(2, "hang")
    (judged,) = judge_of(adapter, server, timeout=0.3)([Sample("a")])
    assert (judged.score, judged.status) == (scores("a")[0], "ok")
    assert judged.usage.attempts == len(server.calls) == 3


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_does_not_pass_in_the_total_time_abstains(server, adapter):
    status = {"throttled": "unavailable", "error_500": "unavailable", "reset": "unavailable", "hang": "timeout"}
    judge = judge_of(adapter, server, timeout=0.2, total_timeout=0.6)
    start = time.monotonic()
    bad = each_among_good_neighbours(server, judge, status)
    assert {name: one.status for name, one in bad.items()} == status
    assert {one.score for one in bad.values()} == {None}
    assert all(one.usage.attempts > 1 for one in bad.values())
    assert time.monotonic() - start < 15  # the deadline of a hang is 0.6 s; the rest is a busy machine


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("behaviour", ["throttled_1s", "throttled_date"])
def test_the_time_that_an_endpoint_asks_for_is_waited(server, adapter, behaviour):
    server.behaviour = first(1, behaviour)
    (judged,) = judge_of(adapter, server)([Sample("a")])
    assert judged.status == "ok"
    asked, answered = server.calls
    assert 1.0 <= answered.at - asked.done < 3.5


def test_milliseconds_to_wait_are_read_as_such(server):
    server.behaviour = first(1, "throttled_ms")
    assert judge_of("openai", server)([Sample("a")])[0].status == "ok"
    asked, answered = server.calls
    assert 0.7 <= answered.at - asked.done < 2


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_time_to_wait_that_is_none_is_not_waited(server, adapter):
    server.behaviour = first(1, "throttled_odd")
    assert judge_of(adapter, server)([Sample("a")])[0].status == "ok"
    assert server.calls[1].at - server.calls[0].done < 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_calls_at_once_fall_when_throttled_and_come_back(server, adapter):
    server.delay = 0.01
    all_there = threading.Barrier(16)
    crowd, out = threading.Condition(), {"now": 0, "most": 0}

    def refuse_the_first_wave(request):
        if len(server.calls) <= 16:
            all_there.wait(timeout=60)
            return "throttled"
        if len(server.calls) > 316:  # the last 100 are answered once more are out than after the refusals
            with crowd:
                out["now"] += 1
                out["most"] = max(out.values())
                crowd.notify_all()
                crowd.wait_for(lambda: out["most"] > 10, timeout=60)
                out["now"] -= 1
        return "ok"

    server.behaviour = refuse_the_first_wave
    judged = judge_of(adapter, server, concurrency=16)([Sample(f"text {n}") for n in range(400)])
    assert {one.status for one in judged} == {"ok"}
    calls = server.calls
    assert len(calls) == 416
    at_once = [sum(other.at <= call.at < other.done for other in calls) for call in calls]
    # The first wave is over when the sixteenth has its refusal.
    over = max(call.done for call in calls if call.status == 429)
    after = [n for n, call in zip(at_once, calls, strict=True) if call.at > over]
    assert max(at_once[:16]) == 16
    assert max(after[:20]) <= 10
    assert max(after[-100:]) > 10
    assert max(at_once) <= 16


# --- what is the user's to mend stops everything --------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "behaviour", "words"),
    [
        ("openai", "wrong_key", ["refuses the key", "HTTP 401", "MY_KEY"]),
        ("openai", "denied", ["refuses the key", "HTTP 403", "MY_KEY"]),
        ("openai", "no_model", ["has no model 'us.model-", "base_url"]),
        ("bedrock", "wrong_key", ["UnrecognizedClientException", "credentials"]),
        ("bedrock", "denied", ["denies access to us.model-", "ask for model access", "bedrock:InvokeModel"]),
        ("bedrock", "no_model", ["has no model us.model-"]),
        ("bedrock", "on_demand", ["is not sold on demand", "inference-profile id", "us.", "eu."]),
    ],
)
def test_a_wrong_key_or_model_stops_at_once_in_one_line(server, monkeypatch, adapter, behaviour, words):
    monkeypatch.setenv("MY_KEY", KEY)
    server.behaviour = behaviour
    keys = {"api_key_env": "MY_KEY"} if adapter == "openai" else {}
    judge = judge_of(adapter, server, concurrency=4, **keys)
    with pytest.raises(rlaif.InputError) as caught:
        judge([Sample(f"text {n}") for n in range(300)])
    message = str(caught.value)
    assert message.startswith(f"judge {adapter}: ")
    assert "\n" not in message
    assert KEY not in message
    for word in words:
        assert word in message
    assert len(server.calls) <= 2 * 4


def test_a_key_that_is_refused_late_stops_what_was_not_begun(server):
    server.behaviour = lambda request: "wrong_key" if len(server.calls) > 20 else "ok"
    with pytest.raises(rlaif.InputError):
        judge_of("openai", server, concurrency=4)([Sample(f"text {n}") for n in range(300)])
    assert len(server.calls) <= 20 + 2 * 4


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_command_says_a_wrong_key_in_one_line_and_exits_with_2(server, main, adapter):
    server.behaviour = "wrong_key"
    done = main("score", "-j", json.dumps(card_of(server, adapter)), "--text", "a", "--text", "b")
    assert done.returncode == 2
    assert "InvokeModel" in one_line(done) or "HTTP 401" in one_line(done) or "credentials" in one_line(done)
    assert done.stdout == ""


def test_a_missing_key_is_refused_before_any_call(server, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(rlaif.InputError, match="the variable MY_KEY is not set"):
        judge_of("openai", server, api_key_env="MY_KEY")
    with pytest.raises(rlaif.InputError, match="the variable OPENAI_API_KEY is not set"):
        load_judge("toxicity_openai")
    assert server.calls == []


def test_missing_credentials_and_a_missing_region_are_refused_before_any_call(server, monkeypatch):
    card = card_of(server, "bedrock")
    with pytest.raises(rlaif.InputError, match="no AWS region: set `region` in the card, or AWS_REGION"):
        load_judge({name: value for name, value in card.items() if name != "region"})
    with pytest.raises(rlaif.InputError, match=r"nosuch.*list-profiles"):
        load_judge({**card, "profile": "nosuch"})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(rlaif.InputError, match="no AWS credentials: run `aws configure`"):
        load_judge(card)
    assert server.calls == []


def test_a_server_on_this_machine_needs_no_key(server):
    (judged,) = judge_of("openai", server)([Sample("a")])
    assert judged.status == "ok"


def test_the_key_of_the_named_variable_is_sent(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    judge_of("openai", server, api_key_env="MY_KEY")([Sample("a")])
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"


def test_openais_own_key_is_not_sent_to_another_endpoint(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    judge_of("openai", server)([Sample("a")])
    assert KEY not in str(server.calls[0].headers)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_endpoint_where_nobody_answers_is_found_by_an_empty_batch(adapter):
    with Server() as gone:
        judge = judge_of(adapter, gone)
    with pytest.raises(rlaif.InputError, match="nothing answers at http://127"):
        judge([])


@pytest.mark.parametrize(
    ("models", "message"),
    [(["a", "b"], "serves 2 models; name one: a, b"), ([], "serves 0 models")],
)
def test_model_auto_wants_exactly_one_model(server, models, message):
    server.models = models
    with pytest.raises(rlaif.InputError, match=message):
        judge_of("openai", server, model="auto")


def test_model_auto_takes_the_only_model(server):
    server.models = ["the-only-one"]
    judge_of("openai", server, model="auto")([Sample("a")])
    assert [call.model for call in server.calls] == ["the-only-one"]


# --- what an endpoint does not understand ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "refuses"),
    [
        ("openai", ["json_schema"]),
        ("openai", ["json_schema", "json_object"]),
        ("openai", ["max_completion_tokens"]),
        ("openai", ["max_completion_tokens", "max_tokens"]),
        ("openai", ["temperature"]),
        ("openai", ["json_schema", "json_object", "max_completion_tokens", "temperature"]),
        ("bedrock", ["outputConfig"]),
        ("bedrock", ["outputConfig", "toolChoice"]),
        ("bedrock", ["temperature"]),
        ("bedrock", ["outputConfig", "toolChoice", "temperature"]),
    ],
)
def test_a_refused_parameter_is_dropped_remembered_and_said_once(server, caplog, adapter, refuses):
    server.refuses = set(refuses)
    server.delay = 0.02
    card = card_of(server, adapter, concurrency=8)
    texts = [f"text {n}" for n in range(40)]
    judged = load_judge(card)([Sample(text) for text in texts])
    assert [one.score for one in judged] == scores(*texts)
    assert sum(one.usage.attempts for one in judged) == len(server.calls)
    for name in refuses:  # once for each of the calls that were already under way
        assert 1 <= sum(call.behaviour == f"refuses {name}" for call in server.calls) <= 8
    said = [record.message for record in caplog.records if "refuses" in record.message]
    assert len(said) == len(refuses)
    server.clear()
    assert load_judge({**card, "name": "again"})([Sample("later")])[0].status == "ok"
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("adapter", "refuses", "form"),
    [
        ("openai", ["json_schema"], "json"),
        ("openai", ["json_schema", "json_object"], "text"),
        ("bedrock", ["outputConfig"], "tool"),
        ("bedrock", ["outputConfig", "toolChoice"], "text"),
    ],
)
def test_the_format_steps_down(server, adapter, refuses, form):
    server.refuses = set(refuses)
    judge_of(adapter, server)([Sample("a")])
    assert server.calls[-1].format == form


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_best_way_is_asked_first_and_the_cards_parameters_arrive(server, adapter):
    judge_of(adapter, server, max_tokens=77, temperature=0.3)([Sample("a")])
    judge_of(adapter, server, temperature=None)([Sample("a")])
    with_, without = (call.body.get("inferenceConfig", call.body) for call in server.calls)
    assert server.calls[0].format == "schema"
    assert with_["temperature"] == 0.3
    assert with_.get("maxTokens", with_.get("max_completion_tokens")) == 77
    assert "temperature" not in without


def test_extra_keys_of_the_body_are_sent_as_they_are(server):
    judge_of("openai", server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})([Sample("a")])
    assert server.calls[0].body["chat_template_kwargs"] == {"enable_thinking": False}


# --- several answers, and expected ones -----------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_samples_are_averaged_with_their_spread_and_kept(server, adapter):
    ratings = iter([2, 4, 5])
    server.behaviour = lambda request: verdict(request, next(ratings))
    (judged,) = judge_of(adapter, server, samples=3, temperature=0.7, concurrency=1)([Sample("a")])
    assert judged.raw == pytest.approx(11 / 3)
    assert judged.score == pytest.approx((1 / 4 + 3 / 4 + 1) / 3)
    assert [part.raw for part in judged.parts] == [2, 4, 5]
    assert "mean of 3 of 3 answers" in judged.reason
    assert "standard deviation 1.53" in judged.reason  # sqrt(((5/3)^2 + (1/3)^2 + (4/3)^2) / 2)
    assert judged.usage.attempts == len(server.calls) == 3
    assert judged.usage.output_tokens == 60


def test_a_sample_that_abstained_has_no_part_in_the_mean(server):
    behaviours = iter([2, "prose", 5])
    server.behaviour = lambda request: given if isinstance(given := next(behaviours), str) else verdict(request, given)
    (judged,) = judge_of("openai", server, samples=3, temperature=0.7, concurrency=1)([Sample("a")])
    assert (judged.raw, judged.status) == (3.5, "ok")
    assert [part.status for part in judged.parts] == ["ok", "unparsable", "ok"]
    server.behaviour = "prose"
    (judged,) = judge_of("openai", server, samples=3, temperature=0.7)([Sample("a")])
    assert (judged.score, judged.status) == (None, "unparsable")


def logs(**probabilities):
    return {token: math.log(p) for token, p in probabilities.items()}


def test_expected_weighs_the_scale_by_the_probability_of_its_tokens(server):
    server.logprobs = {**logs(**{"5": 0.5, "4": 0.2, "1": 0.1}), " 4": math.log(0.1), "The": math.log(0.1)}
    (judged,) = judge_of("openai", server, score="expected")([Sample("a")])
    assert judged.raw == pytest.approx((5 * 0.5 + 4 * 0.3 + 1 * 0.1) / 0.9)
    assert judged.score == pytest.approx((judged.raw - 1) / 4)
    assert server.calls[0].body["logprobs"] is True


def test_expected_abstains_where_most_of_the_probability_is_elsewhere(server):
    server.logprobs = logs(I=0.6, **{"5": 0.4})
    (judged,) = judge_of("openai", server, score="expected")([Sample("a")])
    assert (judged.score, judged.status) == (None, "unparsable")


def test_expected_is_refused_where_the_endpoint_gives_no_probabilities(server):
    with pytest.raises(rlaif.InputError, match="log-probabilities; take score: rating"):
        judge_of("openai", server, score="expected")([Sample("a")])
    server.refuses = {"logprobs"}
    with pytest.raises(rlaif.InputError, match="log-probabilities; take score: rating"):
        judge_of("openai", server, score="expected")([Sample("a")])
    server.clear()
    with pytest.raises(rlaif.InputError, match="log-probabilities, which bedrock never gives"):
        judge_of("bedrock", server, score="expected")
    assert server.calls == []


@pytest.mark.parametrize("status", ["filtered", "refused", "too_long_400"])
def test_expected_reads_the_stop_reason_too(server, status):
    server.behaviour = status
    (judged,) = judge_of("openai", server, score="expected")([Sample("a")])
    assert (judged.score, judged.status) == (None, status.removesuffix("_400"))


@pytest.mark.parametrize("scale", ["{worst: 1, best: 10}", "{worst: -1, best: 1}", "{worst: 0, best: 0.5}"])
def test_expected_is_refused_on_a_scale_that_is_not_of_single_digits(server, tmp_path, scale):
    question = tmp_path / "long.md"
    question.write_text(f"---\nmeasures: x\nscale: {scale}\n---\nJudge {{completion}}")
    with pytest.raises(rlaif.InputError, match="needs a scale of single digits"):
        judge_of("openai", server, score="expected", prompt=str(question))
    assert server.calls == []


def test_expected_reads_a_scale_that_runs_backwards(server, tmp_path):
    question = tmp_path / "backwards.md"
    question.write_text("---\nmeasures: x\nscale: {worst: 9, best: 0}\n---\nJudge {completion}")
    server.logprobs = logs(**{"9": 0.25, "0": 0.75})
    (judged,) = judge_of("openai", server, score="expected", prompt=str(question))([Sample("a")])
    assert (judged.raw, judged.score) == (pytest.approx(2.25), pytest.approx(0.75))


# --- secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour", ["ok", "wrong_key", "throttled", "error_500", "filtered_400", "html", "hang", "echo", "echo_400"]
)
def test_a_key_appears_nowhere(server, main, monkeypatch, caplog, tmp_path, behaviour):
    caplog.set_level(logging.DEBUG, logger="")
    monkeypatch.setenv("MY_KEY", KEY)
    server.behaviour = behaviour
    if behaviour.startswith("echo"):  # a proxy's debugging page

        def echo(request):
            from tests.server import Fail, Raw

            page = json.dumps(request.headers)
            return Fail(400, page) if behaviour == "echo_400" else Raw(page)

        server.behaviour = echo
    card = card_of(server, "openai", api_key_env="MY_KEY", timeout=0.5, total_timeout=0.7)
    done = main("score", "-j", json.dumps({**card, "name": "mine"}), "--text", "a", "-o", "out.jsonl")
    assert KEY in server.calls[0].headers["authorization"]
    written = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    texts = [done.stdout, done.stderr, caplog.text, *(path.read_bytes().decode(errors="replace") for path in written)]
    assert not any(KEY in text for text in texts)
    assert written or done.returncode == 2


def test_the_secret_of_aws_appears_nowhere(server, main, caplog, tmp_path):
    caplog.set_level(logging.DEBUG, logger="")
    for behaviour in ("ok", "wrong_key", "error_500"):
        server.behaviour = first(1, behaviour)
        done = main("score", "-j", json.dumps(card_of(server, "bedrock")), "--text", "a", "-o", "out.jsonl")
        texts = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(KEY in text for text in [done.stdout, done.stderr, caplog.text, *texts])
    assert len(server.calls) > 3


def test_a_password_in_a_url_is_refused_and_not_repeated(server):
    url = server.openai.replace("//", f"//me:{KEY}@")
    with pytest.raises(rlaif.InputError, match="api_key_env") as caught:
        judge_of("openai", server, base_url=url)
    assert KEY not in str(caught.value)


def test_the_honest_server_is_honest_in_every_format(server):
    """The tests above would pass against a server that never gives a verdict."""
    texts = [f"text {n}" for n in range(30)]
    assert len(set(scores(*texts))) == 5
    for adapter in ADAPTERS:
        for form in FORMS[adapter]:
            judged = judge_of(adapter, server, format=form)([Sample(text) for text in texts])
            assert [one.score for one in judged] == scores(*texts)
            assert {call.format for call in server.calls} == {form}
            assert all(re.fullmatch("this is why", one.reason) for one in judged)
            server.clear()
