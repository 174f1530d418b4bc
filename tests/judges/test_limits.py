"""How many calls at once, how often, how long, how dear: by hand, and by the server's own count."""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import tenacity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlaif import Sample, load_judge
from rlaif.core.errors import InputError
from rlaif.judges.remote import limits
from rlaif.judges.remote.limits import Budget, Gate, OverBudget, Rates, Transient
from rlaif.judges.remote.rates import Slots
from rlaif.judges.session import Session
from tests.conftest import one_line
from tests.remote import SECRET, card_of, ended, environment, started
from tests.server import Server, first

ADAPTERS = ["openai", "bedrock"]

_numbers = itertools.count()


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    limits.slots.cache_clear()
    yield tmp_path / "home"
    limits.slots.cache_clear()


# --- money ----------------------------------------------------------------------------------------------------


def test_a_call_whose_worst_cost_does_not_fit_waits_for_those_in_flight():
    budget = Budget(usd=1.0)
    budget.reserve(0.6)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(budget.reserve, 0.6)
        time.sleep(0.1)
        assert not second.done()
        budget.settle(0.6, 0.1)  # cheaper than feared: the second fits
        second.result(timeout=5)
    assert budget.spent == 0.1


def test_a_call_that_does_not_fit_when_all_have_settled_is_refused():
    budget = Budget(usd=1.0)
    budget.reserve(0.6)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(budget.reserve, 0.6)
        budget.settle(0.6, 0.6)
        with pytest.raises(OverBudget, match=r"the budget of 1 USD is spent but for 0\.4$"):
            second.result(timeout=5)
    budget.reserve(0.4)  # a smaller one still fits


def test_a_reservation_that_was_never_sent_gives_its_call_back():
    budget = Budget(calls=1)
    budget.reserve(0.0)
    budget.settle(0.0, 0.0, sent=False)
    budget.reserve(0.0)
    with pytest.raises(OverBudget, match="the budget of 1 calls is spent"):
        budget.reserve(0.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cap=st.floats(0.5, 20), calls=st.one_of(st.none(), st.integers(0, 150)))
def test_neither_cap_is_passed_by_64_threads_and_neither_is_left_unused(seed, cap, calls):
    budget = Budget(usd=cap, calls=calls)
    draw = random.Random(seed)
    costs = [(worst := draw.uniform(0.01, 0.5), worst * draw.random()) for _ in range(200)]
    out: list[float] = []  # what calls in flight and done could have cost at most, at every moment
    lock, flying, spent, refused = threading.Lock(), [0.0], [0.0], [0]

    def call(worst_and_cost):
        worst, cost = worst_and_cost
        try:
            budget.reserve(worst)
        except OverBudget:
            refused[0] += 1
            return
        with lock:
            flying[0] += worst
            out.append(flying[0] + spent[0])
        time.sleep(0.0005 * draw.random())
        with lock:
            flying[0] -= worst
            spent[0] += cost
        budget.settle(worst, cost)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(call, costs))
    assert max(out, default=0.0) <= cap + 1e-9
    assert budget.spent == pytest.approx(spent[0])
    assert budget.made == 200 - refused[0]
    if calls is not None:
        assert budget.made <= calls
    if refused[0] and budget.made != calls:
        assert cap - budget.spent < 0.5  # no refusal while the dearest call would have fitted


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_budget_of_calls_is_used_to_the_last_call_and_no_further(server, adapter, concurrency):
    session = Session(Budget(calls=7))
    judge = load_judge(card_of(server, adapter, concurrency=concurrency), session=session)
    judgements = judge([Sample(f"text {i}") for i in range(20)])
    statuses = [judgement.status for judgement in judgements]
    assert (statuses.count("ok"), statuses.count("over_budget")) == (7, 13)
    assert len(server.calls) == 7
    refused = next(judgement for judgement in judgements if judgement.status == "over_budget")
    assert refused.score is None
    assert refused.usage.attempts == 0


def test_attempts_that_fail_count_as_calls(server, quick_backoff):
    server.behaviour = first(2, "error_500")
    judge = load_judge(card_of(server, concurrency=1), session=Session(Budget(calls=3)))
    judgements = judge([Sample("a"), Sample("b")])
    assert [(j.status, j.usage.attempts) for j in judgements] == [("ok", 3), ("over_budget", 0)]
    assert len(server.calls) == 3


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_budget_in_usd_holds_at_any_concurrency_by_the_servers_count(server, adapter):
    server.delay = 0.01
    price = {"input": 1000.0, "output": 2000.0}
    card = card_of(server, adapter, price=price, concurrency=32, max_tokens=40)
    session = Session(Budget(usd=10.0))
    judgements = load_judge(card, session=session)([Sample(f"text {i}") for i in range(100)])
    spent = sum((len(c.text) // 4 + 1) * 1e-3 + 20 * 2e-3 for c in server.calls)  # what the server says it used
    worst = max((len(c.text.encode()) + 1024) * 1e-3 + 40 * 2e-3 for c in server.calls)
    assert 10.0 - worst < spent <= 10.0
    assert session.budget.spent == pytest.approx(spent)
    assert sum(j.usage.usd for j in judgements) == pytest.approx(spent)
    assert {j.status for j in judgements} == {"ok", "over_budget"}


def test_an_endpoint_that_does_not_say_what_it_used_is_charged_the_most(server):
    server.behaviour = "no_usage"
    session = Session(Budget(usd=10.0))
    card = card_of(server, price={"input": 1000.0, "output": 2000.0}, max_tokens=40)
    load_judge(card, session=session)([Sample("a text")])
    assert session.budget.spent == pytest.approx((len(server.calls[0].text.encode()) + 1024) * 1e-3 + 40 * 2e-3)


def test_a_budget_in_usd_for_a_judge_without_a_price_is_refused_in_one_line_before_any_call(server, main, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text(json.dumps(card_of(server)))
    done = main("score", "-j", str(card), "--text", "hello", "--budget-usd", "1")
    assert done.returncode == 2
    assert "a budget in USD needs a price" in one_line(done)
    assert not server.calls


# --- rates, by hand -------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def taken(slots, count, *, rpm=math.inf, tpm=math.inf, tokens=0, gate="g"):
    return [slots.take(gate, rpm, tpm, tokens) for _ in range(count)]


@pytest.mark.parametrize(
    ("rpm", "times"),
    [
        # ceil(rpm / 60) calls in 1.1 seconds, spread over them
        (60, [0, 1.1, 2.2, 3.3]),
        (600, [0, 0.11, 0.22, 0.33]),
        (90, [0, 0.55, 1.1, 1.65]),
        # so few that the minute binds
        (1, [0, 60, 120, 180]),
        (2, [0, 1.1, 60, 61.1, 120]),
    ],
)
def test_calls_a_minute_are_spread_over_its_seconds(clock, rpm, times):
    assert taken(Slots(clock), len(times), rpm=rpm) == pytest.approx([1000 + t for t in times])


def test_a_minute_that_is_full_is_waited_for(clock):
    at = taken(Slots(clock), 92, rpm=90)  # two in 1.1 s would be 109 a minute
    assert at[89] == pytest.approx(1000 + 89 * 0.55)
    assert at[90] == pytest.approx(1060)
    assert at[91] == pytest.approx(1060.55)


@pytest.mark.parametrize(
    ("tokens", "times"),
    [
        (400, [0, 0, 60, 60, 120]),  # two fit into a minute of 1,000, three do not
        (1000, [0, 60, 120]),
        (5000, [0, 60, 120]),  # more than a minute holds: alone in its minute, but never blocked for good
    ],
)
def test_tokens_a_minute_are_waited_for(clock, tokens, times):
    assert taken(Slots(clock), len(times), tpm=1000, tokens=tokens) == pytest.approx([1000 + t for t in times])


def test_after_a_pause_a_call_starts_at_once(clock):
    slots = Slots(clock)
    taken(slots, 5, rpm=60)
    clock.now += 10
    assert taken(slots, 1, rpm=60) == [1010.0]


def test_models_have_rates_of_their_own(clock):
    slots = Slots(clock)
    assert taken(slots, 1, rpm=60, gate="a") + taken(slots, 1, rpm=60, gate="b") == [1000.0, 1000.0]


def test_processes_share_a_rate_and_the_lowest_holds_until_two_minutes_after_it_was_stated(clock):
    fast, slow = Slots(clock), Slots(clock)  # each has a connection of its own, as two processes have
    assert taken(fast, 2, rpm=600) == pytest.approx([1000, 1000.11])
    assert taken(slow, 1, rpm=60) == pytest.approx([1001.21])
    assert taken(fast, 1, rpm=600) == pytest.approx([1002.31])
    clock.now += 125
    assert taken(fast, 2, rpm=600) == pytest.approx([1125, 1125.11])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rpm=st.integers(1, 700), pauses=st.lists(st.floats(0, 3), min_size=30, max_size=200), start=st.integers(0, 10**9)
)
def test_no_second_and_no_minute_holds_more_than_it_may(rpm, pauses, start):
    clock, gate = Clock(float(start)), f"g{next(_numbers)}"
    slots, at = Slots(clock), []
    for pause in pauses:
        clock.now += pause
        at += taken(slots, 1, rpm=rpm, gate=gate)
        assert at[-1] >= clock.now
    assert at == sorted(at)
    for window, most in ((1.0, math.ceil(rpm / 60)), (60.0, rpm)):
        assert all(later - sooner >= window - 1e-6 for sooner, later in zip(at, at[most:], strict=False))


def test_many_calls_a_minute_cost_little_time_to_pace(clock):
    slots = Slots(clock)
    taken(slots, 3000, rpm=30_000)
    start = time.perf_counter()
    taken(slots, 200, rpm=30_000)
    assert (time.perf_counter() - start) / 200 < 60 / 30_000


@pytest.mark.parametrize("how", ["garbage at the start", "full at work"])
def test_a_file_of_rates_that_fails_is_warned_of_and_rates_hold_all_the_same(clock, home, caplog, databases, how):
    home.mkdir()
    if how == "garbage at the start":
        (home / "rates.sqlite").write_bytes(b"no database " * 500)
    slots = Slots(clock)
    if how == "full at work":
        (connection,) = databases
        connection.execute("PRAGMA query_only = 1")
    assert taken(slots, 3, rpm=60) == pytest.approx([1000, 1001.1, 1002.2])
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "rates hold for this process alone" in warning


# --- the gate -------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_backoff(monkeypatch):
    slow = tenacity.wait_random_exponential
    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: slow(multiplier=0.005, max=0.02))


def gate_of(**rates) -> Gate:
    gate = Gate(f"gate {next(_numbers)}")
    gate.narrow(Rates(**rates))
    return gate


def doing(action=lambda: None):
    """An attempt that does something when its turn has come."""

    def attempt(turn):
        with turn():
            return action()

    return attempt


def failing(error, times=math.inf):
    """An attempt that fails so many times, and keeps when it was sent."""
    sent: list[float] = []

    def action():
        sent.append(time.monotonic())
        if len(sent) <= times:
            raise error
        return "answer"

    return doing(action), sent


def most_at_once(gate, calls, expected, linger=0.01) -> int:
    """Make calls from 32 threads, each of which stays out until as many as expected have been out at once."""
    inside, most, changed = 0, 0, threading.Condition()

    def action():
        nonlocal inside, most
        with changed:
            inside += 1
            most = max(most, inside)
            changed.notify_all()
            changed.wait_for(lambda: most >= expected, timeout=10)
        time.sleep(linger)  # were one more let in, it would meet the others
        with changed:
            inside -= 1

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: gate.call(doing(action)), range(calls)))
    return most


def test_no_more_calls_are_out_than_the_lowest_concurrency_of_the_cards():
    gate = gate_of(concurrency=16)
    assert most_at_once(gate, 32, 16) == 16
    gate.narrow(Rates(concurrency=5))
    gate.narrow(Rates(concurrency=20))
    assert most_at_once(gate, 32, 5) == 5


def test_rates_of_cards_that_disagree_are_the_lowest():
    gate = gate_of(rpm=None, tpm=1000, total_timeout=30)
    gate.narrow(Rates(rpm=60, tpm=500, total_timeout=60))
    gate.narrow(Rates(rpm=90, tpm=None))
    assert gate.rates == Rates(concurrency=16, rpm=60, tpm=500, total_timeout=30)


def test_a_throttle_halves_the_calls_at_once_and_answers_bring_them_back(quick_backoff):
    gate = gate_of(concurrency=16)
    attempt, _ = failing(Transient("429", throttled=True), times=1)
    gate.call(attempt)
    assert 8 <= most_at_once(gate, 16, 8) <= 9  # 8, and one more after 8 answers
    for _ in range(100):  # 8 + 9 + ... + 15 answers, less those from before
        gate.call(doing(lambda: "answer"))
    assert most_at_once(gate, 32, 16) == 16


def test_a_wave_of_throttles_halves_the_calls_at_once_only_once(quick_backoff):
    gate = gate_of(concurrency=16)
    refused = itertools.count()

    def action():
        if next(refused) < 16:
            raise Transient("429", throttled=True)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: gate.call(doing(action)), range(16)))
    # 16 / 2, and one more after the first 8 of 16 answers; halved 16 times it would be 1, and after 16 answers 5.
    assert most_at_once(gate, 9, 9) == 9


def test_throttles_that_last_end_at_one_call_at_a_time(quick_backoff, monkeypatch):
    gate = gate_of(concurrency=16, total_timeout=200)
    now = itertools.count(10, 2)  # each throttle comes two seconds and more after the one before
    with monkeypatch.context() as patch:
        patch.setattr("rlaif.judges.remote.limits.time", SimpleNamespace(monotonic=lambda: next(now), sleep=time.sleep))
        attempt, sent = failing(Transient("429", throttled=True))
        with pytest.raises(Transient):
            gate.call(attempt)
    assert len(sent) >= 5  # 16, 8, 4, 2, 1
    assert most_at_once(gate, 2, 1, linger=0.3) == 1


def test_other_failures_do_not_lower_the_calls_at_once(quick_backoff):
    gate = gate_of(concurrency=16)
    attempt, _ = failing(Transient("500"), times=3)
    gate.call(attempt)
    assert most_at_once(gate, 32, 16) == 16


@pytest.mark.parametrize("rpm", [None, 60_000])
def test_retry_after_holds_all_calls_back(quick_backoff, rpm):
    gate = gate_of(concurrency=16, rpm=rpm)
    attempt, sent = failing(Transient("429", throttled=True, retry_after=0.5), times=1)
    with ThreadPoolExecutor(8) as pool:
        pending = pool.submit(gate.call, attempt)
        while not sent:
            time.sleep(0.005)
        time.sleep(0.05)
        others = [pool.submit(gate.call, doing(time.monotonic)) for _ in range(5)]
        assert pending.result() == "answer"
        assert sent[1] - sent[0] >= 0.5
        assert min(other.result() for other in others) - sent[0] >= 0.5


def test_calls_that_retry_after_held_back_start_no_faster_than_their_rate(quick_backoff):
    gate = gate_of(concurrency=16, rpm=1200)  # one in 55 ms
    attempt, sent = failing(Transient("429", throttled=True, retry_after=0.4), times=1)
    with ThreadPoolExecutor(16) as pool:
        pending = pool.submit(gate.call, attempt)
        while not sent:
            time.sleep(0.005)
        others = [pool.submit(gate.call, doing(time.monotonic)) for _ in range(8)]
        pending.result()
        at = sorted([sent[1], *(other.result() for other in others)])
    assert at[0] - sent[0] >= 0.4
    assert at[-1] - at[0] >= 0.055 * 8 - 0.03


def test_retry_after_longer_than_the_total_time_ends_all_calls_at_once():
    gate = gate_of(total_timeout=5)
    attempt, sent = failing(Transient("429", throttled=True, retry_after=3600))
    start = time.monotonic()
    with pytest.raises(Transient, match="429"):
        gate.call(attempt)
    with pytest.raises(Transient, match="takes no calls for another 3600 s"):
        gate.call(doing())
    assert time.monotonic() - start < 1
    assert len(sent) == 1


def test_the_total_time_ends_the_retries_with_the_last_error(quick_backoff):
    attempt, sent = failing(Transient("HTTP 500: out of order"))
    start = time.monotonic()
    with pytest.raises(Transient, match="HTTP 500: out of order"):
        gate_of(total_timeout=0.3).call(attempt)
    assert 0.2 < time.monotonic() - start <= 0.4
    assert len(sent) > 5


def test_waiting_for_ones_turn_takes_nothing_from_the_time_for_retries(quick_backoff):
    gate = gate_of(concurrency=1, total_timeout=0.3)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(gate.call, doing(lambda: time.sleep(0.6)))
        time.sleep(0.05)
        attempt, sent = failing(Transient("500"), times=2)
        assert pool.submit(gate.call, attempt).result() == "answer"
        slow.result()
    assert len(sent) == 3


def test_what_is_not_transient_is_not_tried_again():
    attempt, sent = failing(InputError("the key is wrong"))
    with pytest.raises(InputError, match="the key is wrong"):
        gate_of().call(attempt)
    assert len(sent) == 1


def test_backoff_is_jittered_grows_and_stays_below_half_a_minute(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=slept.append))
    runs = []
    for _ in range(20):
        slept.clear()
        attempt, _ = failing(Transient("500"), times=10)
        gate_of(total_timeout=10_000).call(attempt)
        runs.append(list(slept))
    for n, waits in enumerate(zip(*runs, strict=True)):
        bound = min(30.0, 0.5 * 2**n)
        assert all(0 <= wait <= bound for wait in waits)
        assert len(set(waits)) > 10
        assert max(waits) > bound / 2


def test_a_wait_that_the_endpoint_asks_for_is_kept(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=slept.append))
    attempt, _ = failing(Transient("503", retry_after=40.0), times=2)
    gate_of(total_timeout=10_000).call(attempt)
    assert slept == [40.0, 40.0]


def test_of_the_calls_that_wait_for_the_rate_only_one_has_a_time_that_a_killed_process_would_leave(home):
    gate = gate_of(concurrency=16, rpm=60)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(gate.call, doing()) for _ in range(3)]
        time.sleep(0.3)
        connection = sqlite3.connect(home / "rates.sqlite")
        ahead = connection.execute("SELECT count(*) FROM slots WHERE at > ?", (time.time(),)).fetchone()
        connection.close()
    assert ahead == (1,)
    assert all(call.result() is None for call in waiting)


# --- by the server's count ------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_there_is_one_layer_of_retries(server, adapter, quick_backoff):
    server.behaviour = "error_500"
    (judgement,) = load_judge(card_of(server, adapter, total_timeout=0.3))([Sample("a text")])
    assert judgement.status == "unavailable"
    assert judgement.usage.attempts == len(server.calls) > 2


def windows(server) -> int:
    """The most calls that arrived in any one second."""
    at = sorted(call.at for call in server.calls)
    return max(sum(start <= time < start + 1.0 for time in at) for start in at)


CARDS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from rlaif import Sample, load_judge
judges = [load_judge(card) for card in json.loads(sys.argv[1])]
samples = [Sample(f"{sys.argv[2]} {i}", "a prompt") for i in range(5)]
with ThreadPoolExecutor(3) as pool:
    for judgements in pool.map(lambda judge: judge(samples), judges):
        print(sum(judgement.status == "ok" for judgement in judgements))
"""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_three_cards_on_one_model_in_two_processes_never_pass_ten_calls_a_second(server, adapter, home):
    server.delay = 0.2
    model = card_of(server)["model"]
    prompts = ("judge/toxicity", "judge/helpfulness", "judge/conciseness")
    cards = [card_of(server, adapter, model=model, prompt=p, name=p.replace("/", "_"), rpm=600) for p in prompts]
    for process in [started(CARDS, json.dumps(cards), f"process {n}", home=home) for n in range(2)]:
        out, _ = ended(process)
        assert out.split() == ["5"] * 3
    at = sorted(call.at for call in server.calls)
    assert len(at) == 30
    assert windows(server) <= 10
    assert at[-1] - at[0] < 29 * 0.11 + 0.5  # and what is allowed is used


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_an_endpoint_understands_is_found_out_within_the_rate(server, adapter):
    server.refuses = {"json_schema", "json_object", "temperature", "outputConfig", "toolChoice"}
    judge = load_judge(card_of(server, adapter, rpm=600, concurrency=8))
    assert {j.status for j in judge([Sample(f"text {i}") for i in range(8)])} == {"ok"}
    assert len(server.calls) > 10
    assert windows(server) <= 10


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_key_that_is_wrong_stops_the_batch_while_an_earlier_call_still_hangs(server, adapter):
    release = threading.Event()

    def behaviour(request):
        if "slow" in request.judged:
            release.wait(10)
            return "ok"
        return "wrong_key"

    server.behaviour = behaviour
    judge = load_judge(card_of(server, adapter, concurrency=4))
    with pytest.raises(InputError):
        judge([Sample("slow"), *(Sample(f"text {i}") for i in range(200))])
    assert not release.is_set()
    assert len(server.calls) < 20
    release.set()


@pytest.mark.parametrize("behaviour", ["ok", "wrong_key", "error_500", "throttled", "prose", "hang"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_key_appears_nowhere(server, adapter, behaviour, tmp_path, home, main, monkeypatch, caplog):
    """Not in what is printed, not in a file, not in the log of any library at its most talkative."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", SECRET)
    server.behaviour = behaviour
    keys = {"api_key_env": "SOME_KEY"} if adapter == "openai" else {}
    card = card_of(server, adapter, timeout=0.3, total_timeout=0.3, **keys)
    (tmp_path / "card.yaml").write_text(json.dumps(card))
    done = main("score", "-j", "./card.yaml", "--text", "hello", "-o", "out.jsonl")
    assert len(server.calls) >= 1
    if adapter == "openai":
        assert SECRET in server.calls[0].headers["authorization"]
    assert done.returncode == (2 if behaviour == "wrong_key" else 0)
    assert SECRET not in done.stdout + done.stderr + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"out.jsonl", "verdicts.sqlite"} <= {path.name for path in files} or behaviour == "wrong_key"
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
