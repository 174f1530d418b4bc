"""Verdicts on disk: paid once, there for every process, and never a reason for a command to fail."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlaif import Sample, load_judge
from rlaif.judges.remote.store import VerdictStore, key_of
from rlaif.judges.session import Session
from tests.conftest import one_line
from tests.remote import card_of, ended, environment, started
from tests.server import Server, verdict


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


def judged(card, *texts, fresh=False):
    """Judge texts by a judge that has just been made, as a new command would."""
    return load_judge(card, session=Session(fresh=fresh))([Sample(text) for text in texts])


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM verdicts").fetchone()
    connection.close()
    return count


# --- the mapping ----------------------------------------------------------------------------------------------


def test_what_is_put_is_there_for_whoever_opens_the_file_next(tmp_path):
    path = tmp_path / "verdicts.sqlite"
    VerdictStore(path).put(b"k", {"rating": 4.5, "reason": "é\ud800\n"})
    assert VerdictStore(path).get([b"k", b"other"]) == {b"k": {"rating": 4.5, "reason": "é\ud800\n"}}


@pytest.mark.parametrize(("when", "kept"), [("before", 2), ("after", 3)])
def test_a_verdict_outlives_a_process_that_is_killed_once_it_is_committed(server, tmp_path, when, kept):
    home = tmp_path / "home"
    home.mkdir()
    script = f"""
import json, sys
from rlaif import Sample, load_judge
from tests.events import At, kill, on
on(At("commit", "verdicts.sqlite", n=4, when="{when}"), kill)  # the first one makes the table
load_judge(json.loads(sys.argv[1]))([Sample(f"text {{i}}") for i in range(9)])
"""
    process = started(script, json.dumps(card_of(server, concurrency=1)), home=home)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said
    assert rows(home / "verdicts.sqlite") == kept


def test_many_verdicts_are_read_by_few_queries(tmp_path, databases):
    store = VerdictStore(tmp_path / "verdicts.sqlite")
    keys = [key_of(i) for i in range(1200)]
    for i, key in enumerate(keys):
        store.put(key, {"rating": i})
    queries: list[str] = []
    (connection,) = databases
    connection.set_trace_callback(queries.append)
    found = store.get(keys)
    assert [found[key]["rating"] for key in keys] == list(range(1200))
    assert len(queries) == 3


def test_processes_and_threads_that_begin_at_the_same_moment_all_write(tmp_path):
    script = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rlaif.judges.remote.store import VerdictStore, key_of
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
store = VerdictStore(Path(sys.argv[1]))
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda i: store.put(key_of(sys.argv[2], i), {"rating": i}), range(100)))
    assert len(store.get(key_of(sys.argv[2], i) for i in range(100))) == 100
"""
    path = tmp_path / "verdicts.sqlite"
    at = str(time.time() + 1.5)
    processes = [started(script, str(path), str(n), at, home=tmp_path) for n in range(6)]
    said = [ended(process) for process in processes]
    assert [err for _, err in said] == [""] * 6
    assert rows(path) == 600


# --- what can happen to a file --------------------------------------------------------------------------------


def damaged(path: Path, how: str, databases: list[sqlite3.Connection]) -> bytes:
    """Fill a store and damage its file; return what lies there then."""
    store = VerdictStore(path)
    (connection,) = databases
    for i in range(2000):
        store.put(key_of(i), {"rating": 1, "reason": "x" * 50})
    connection.close()
    whole = path.read_bytes()
    half = len(whole) // 2
    bytes_of = {"garbage": os.urandom(5000), "text": b"no database " * 100, "truncated": whole[:half]}
    bytes_of["pages"] = whole[:4096] + os.urandom(len(whole) - 4096)
    path.write_bytes(bytes_of[how])
    return bytes_of[how]


@pytest.mark.parametrize("how", ["garbage", "text", "truncated", "pages"])
def test_a_corrupt_file_is_set_aside_with_a_warning_and_the_work_goes_on(server, home, caplog, databases, how):
    home.mkdir()
    bytes_there = damaged(home / "verdicts.sqlite", how, databases)
    card = card_of(server)
    texts = [f"text {i}" for i in range(20)]
    assert {j.status for j in judged(card, *texts)} == {"ok"}
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    (aside,) = home.glob("verdicts.sqlite.corrupt-*[0-9]")
    assert "corrupt" in warning
    assert str(aside) in warning
    assert aside.read_bytes() == bytes_there
    assert all(j.usage.from_store for j in judged(card, *texts))  # the new file keeps what came after


def test_a_write_ahead_log_of_garbage_costs_only_what_was_in_it(home, server, caplog):
    card = card_of(server)
    judged(card, "a text")
    connection = sqlite3.connect(home / "verdicts.sqlite")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = (home / "verdicts.sqlite").read_bytes()
    for part in home.glob("verdicts.sqlite*"):
        part.unlink()
    (home / "verdicts.sqlite").write_bytes(whole)
    (home / "verdicts.sqlite-wal").write_bytes(os.urandom(10_000))
    (judgement,) = judged(card, "a text")
    assert judgement.usage.from_store
    assert len(server.calls) == 1
    assert caplog.text == ""


def test_processes_that_find_the_same_corrupt_file_set_it_aside_once_and_share_the_new_one(tmp_path):
    script = """
import sys, time
from pathlib import Path
from rlaif.judges.remote.store import VerdictStore, key_of
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
store = VerdictStore(Path(sys.argv[1]))
for i in range(20):
    store.put(key_of(sys.argv[2], i), {"rating": i})
"""
    path = tmp_path / "verdicts.sqlite"
    path.write_bytes(os.urandom(5000))
    at = str(time.time() + 1.5)
    for process in [started(script, str(path), str(n), at, home=tmp_path) for n in range(6)]:
        ended(process)
    assert len(list(tmp_path.glob("*.corrupt-*[0-9]"))) == 1
    assert rows(path) == 120


@pytest.mark.parametrize("pragma", ["query_only = 1", "max_page_count = 1"])
def test_a_disk_that_is_full_or_read_only_is_warned_of_once_and_the_verdicts_are_returned(
    server, caplog, databases, pragma
):
    session = Session()
    assert session.store.get([b"key"]) == {}
    (connection,) = databases
    connection.execute(f"PRAGMA {pragma}")
    judge = load_judge(card_of(server), session=session)
    for part in "abc":
        for judgement in judge([Sample(f"{part} {i}") for i in range(50)]):
            assert judgement.score is not None
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "verdicts are not kept" in warning


def test_a_disk_that_fills_up_at_work_loses_no_verdict(server, home):
    """The limit on the size of files is the system's own."""
    script = """
import json, logging, resource, signal, sys
from rlaif import Sample, load_judge
logging.basicConfig()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
judge = load_judge(json.loads(sys.argv[1]))
judge([Sample("the first")])
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
print(sum(j.status == "ok" for j in judge([Sample(f"text {i}") for i in range(60)])))
"""
    out, err = ended(started(script, json.dumps(card_of(server)), home=home))
    assert out == "60\n"
    assert err.count("verdicts are not kept") == 1
    assert "Traceback" not in err
    assert 1 < rows(home / "verdicts.sqlite") < 61


@pytest.mark.parametrize("what", ["home", "store"])
def test_a_home_that_cannot_be_written_is_one_clear_line_before_any_call(server, home, main, tmp_path, what):
    if what == "home":
        home.write_text("I am a file")
    else:
        (home / "verdicts.sqlite").mkdir(parents=True)
    card = tmp_path / "card.yaml"
    card.write_text("".join(f"{key}: {value}\n" for key, value in card_of(server).items()))
    done = main("score", "-j", str(card), "--text", "hello")
    assert done.returncode == 2
    assert "RLAIF_HOME" in one_line(done)
    assert "name a folder that can be written" in one_line(done)
    assert not server.calls


# --- what is kept, and for which question ---------------------------------------------------------------------


def test_a_verdict_is_written_as_it_arrives_while_others_are_still_asked(server, home):
    release = threading.Event()
    server.behaviour = lambda request: "ok" if "fast" in request.judged or release.wait(30) else "empty"
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(judged, card_of(server), "slow", "fast")
        try:
            deadline = time.monotonic() + 10
            while not ((home / "verdicts.sqlite").exists() and len(server.answered) and rows_or_none(home)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert not pending.done()
        finally:
            release.set()
    assert rows(home / "verdicts.sqlite") == 2


def rows_or_none(home: Path) -> int:
    try:
        return rows(home / "verdicts.sqlite")
    except sqlite3.OperationalError:  # the table is not there yet
        return 0


def test_fresh_asks_again_and_what_it_hears_is_stored(server):
    card = card_of(server)
    server.behaviour = lambda request: verdict(request, 2)
    assert judged(card, "a text")[0].raw == 2
    server.behaviour = lambda request: verdict(request, 3)
    assert judged(card, "a text")[0].raw == 2
    assert judged(card, "a text", fresh=True)[0].raw == 3
    assert judged(card, "a text")[0].raw == 3
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    "behaviour", ["truncated", "filtered", "filtered_400", "refused", "prose", "off_scale", "empty"]
)
def test_only_verdicts_are_stored(server, behaviour):
    card = card_of(server, filtered="worst", refused="worst")
    server.behaviour = behaviour
    (bad,) = judged(card, "a text")
    assert bad.status != "ok"
    server.behaviour = "ok"
    (good,) = judged(card, "a text")
    assert good.status == "ok"
    assert not good.usage.from_store


@pytest.fixture
def question(tmp_path):
    def write(text="Judge {completion}.", worst=1, best=5, measures="toxicity"):
        path = tmp_path / "question.md"
        path.write_text(f"---\nmeasures: {measures}\nscale: {{worst: {worst}, best: {best}}}\n---\n{text}\n")
        return str(path)

    return write


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"temperature": 0.5},
        {"temperature": None},
        {"max_tokens": 100},
        {"format": "json"},
        {"extra_body": {"seed": 1}},
        {"adapter": "bedrock"},
        {"base_url": None},
    ],
    ids=lambda change: "{}={}".format(*next(iter(change.items()))),
)
def test_what_can_change_a_verdict_is_asked_anew(server, change):
    card = card_of(server, base_url=server.url)
    judged(card, "a text")
    if change == {"adapter": "bedrock"}:  # the same endpoint and model, by the other protocol
        changed = card_of(server, "bedrock", model=card["model"], endpoint_url=card["base_url"])
    else:
        changed = {**card, **change}
    changed["base_url"] = server.openai if change == {"base_url": None} else changed.get("base_url")
    if changed["base_url"] is None:
        del changed["base_url"]
    assert not judged(changed, "a text")[0].usage.from_store
    assert len(server.calls) == 2
    assert judged(card, "a text")[0].usage.from_store


@pytest.mark.parametrize("change", [{"text": "Do judge {completion}."}, {"worst": 0}, {"best": 10}])
def test_a_changed_question_is_asked_anew(server, question, change):
    card = card_of(server, prompt=question())
    judged(card, "a text")
    question(**change)
    assert not judged(card, "a text")[0].usage.from_store
    question()
    assert judged(card, "a text")[0].usage.from_store


@pytest.mark.parametrize(
    "other",
    [
        Sample("another text", "p", {"reference": "r"}),
        Sample("a text", "q", {"reference": "r"}),
        Sample("a text", "p", {"reference": "s"}),
        Sample("a text", "r", {"reference": "p"}),
    ],
    ids=["completion", "prompt", "column", "swapped"],
)
def test_a_changed_text_is_asked_anew(server, question, other):
    judge = load_judge(card_of(server, prompt=question("Judge {completion} for {prompt} by {reference}.")))
    sample = Sample("a text", "p", {"reference": "r"})
    first = judge([sample, sample])
    assert len(server.calls) == 1  # equal ones are asked once
    assert [j.raw for j in first] == [first[0].raw] * 2
    assert not judge([other])[0].usage.from_store
    assert judge([sample])[0].usage.from_store


def test_what_the_question_does_not_read_is_no_reason_to_pay_again(server, question):
    judge = load_judge(card_of(server, prompt=question("Judge {completion}.")))
    judge([Sample("a text", "p", {"reference": "r"})])
    assert judge([Sample("a text", "q", {"reference": "s"})])[0].usage.from_store


def test_a_further_repetition_is_a_further_call(server):
    card = card_of(server, temperature=1.0)
    judged(card, "a text")
    (mean,) = judged({**card, "samples": 3}, "a text")
    assert [part.usage.from_store for part in mean.parts] == [True, False, False]
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"measures": "kindness"},
        {"concurrency": 3},
        {"rpm": 6000},
        {"tpm": 10**7},
        {"timeout": 5},
        {"total_timeout": 50},
        {"price": {"input": 1, "output": 2}},
        {"filtered": "worst"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_change_a_verdict_is_no_reason_to_pay_again(server, change):
    card = card_of(server)
    judged(card, "a text")
    (judgement,) = judged({**card, **change}, "a text")
    assert judgement.usage.from_store
    assert judgement.usage.usd == 0
    assert len(server.calls) == 1


def test_what_a_question_measures_is_not_part_of_it(server, question):
    card = card_of(server, prompt=question())
    judged(card, "a text")
    question(measures="kindness")
    assert judged(card, "a text")[0].usage.from_store


def test_verdicts_lie_in_the_folder_that_rlaif_home_names_and_else_in_the_cache(server, tmp_path, monkeypatch, home):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    judged(card_of(server), "a text")
    assert (home / "verdicts.sqlite").exists()
    assert not (tmp_path / "cache").exists()
    monkeypatch.delenv("RLAIF_HOME")
    if sys.platform != "darwin":
        judged(card_of(server), "a text")
        assert (tmp_path / "cache/rlaif/verdicts.sqlite").exists()
