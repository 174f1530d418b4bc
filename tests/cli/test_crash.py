"""
A process that is killed in the middle of its calls loses nothing that it had stored, and pays for none of it again.

What is guaranteed, by the server's own count: of the calls that a kill leaves behind, at most those in flight (no
more than the card's concurrency) are sent again; what was stored is never asked again; every verdict is there at
the end.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter

import pytest

from rlaif import Sample, load_judge
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from tests.remote import card_of, ended, environment, started
from tests.server import Request, Server, rating_of

CALLS, KILLS, CONCURRENCY = 300, 10, 16
TEXTS = [f"text {i}" for i in range(CALLS)]

COMMAND = """
import json, sys
from rlaif import Sample, load_judge
for judgement in load_judge(json.loads(sys.argv[1]))([Sample(text) for text in json.loads(sys.argv[2])]):
    print(judgement.raw)
"""


def whole(server: Server) -> list[Request]:
    """The calls that arrived whole: a process may be killed with half of a question out."""
    return [call for call in server.calls if call.body]


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_a_killed_process_repeats_no_call_whose_verdict_it_had_stored(adapter, tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    draw = random.Random(f"{adapter} 0")
    with Server(delay=0.03) as server:
        card = card_of(server, adapter, concurrency=CONCURRENCY)

        def stored() -> set[str]:
            """What a new process would find: a judge that may not call says so."""
            judge = load_judge(card, session=Session(Budget(calls=0)))
            judgements = judge([Sample(text) for text in TEXTS])
            return {text for text, judgement in zip(TEXTS, judgements, strict=True) if judgement.score is not None}

        in_flight = 0
        for kill in range(KILLS):
            known, before = stored(), len(whole(server))
            process = started(COMMAND, json.dumps(card), json.dumps(TEXTS), home=tmp_path)
            calls = before + draw.randint(1, 40)
            while len(whole(server)) < calls:
                assert process.poll() is None, process.communicate()
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.03))
            process.kill()
            process.communicate()
            time.sleep(0.1)  # what was sent has arrived
            sent = Counter(call.judged for call in whole(server)[before:])
            assert not known & set(sent), f"after kill {kill}"
            assert max(sent.values()) == 1
            lost = set(sent) - stored()
            assert len(lost) <= CONCURRENCY
            in_flight += len(lost)

        known, before = stored(), len(whole(server))
        assert before > KILLS
        assert 0 < len(known) < CALLS
        out, _ = ended(started(COMMAND, json.dumps(card), json.dumps(TEXTS), home=tmp_path))
        assert [float(line) for line in out.split()] == [rating_of(text) for text in TEXTS]
        assert not known & {call.judged for call in whole(server)[before:]}
        assert stored() == set(TEXTS)
        assert 0 < in_flight <= KILLS * CONCURRENCY
        assert len(whole(server)) == CALLS + in_flight
