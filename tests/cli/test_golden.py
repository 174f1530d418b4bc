"""
Recorded completions and recorded judgements, replayed: what is told of them is what was told before.

The texts and judgements are in tests/golden/data, the results in tests/golden/expected. No model takes part and
nothing is sampled, so that they hold on every machine. `RENEW=1 pytest tests/cli/test_golden.py` renews them on
purpose.
"""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from rlaif.core.types import STATUSES
from tests.conftest import ROOT
from tests.kept import TOLERANCE, check_json

GOLDEN = ROOT / "tests" / "golden"

RECORDED = "{adapter: './recorded.py:make', name: recorded, measures: toxicity}"
BOTH = "{adapter: panel, name: both, combine: mean, quorum: 1, judges: [lexicon, %s]}" % RECORDED  # noqa: UP031
JUDGES = ("-j", RECORDED, "-j", "lexicon")

CLOCKS = ("latency_ms", "per_second")


@pytest.fixture
def replay(main, tmp_path):
    """Runs a command beside the recorded data."""
    shutil.copytree(GOLDEN / "data", tmp_path, dirs_exist_ok=True)

    def run(*arguments, status=0):
        done = main(*arguments)
        assert done.returncode == status, done.stderr
        return done

    return run


def without_clocks(value, name=""):
    """Leave out what the machine's speed decides: all clocks but those of recorded judgements."""
    if isinstance(value, list):
        return [without_clocks(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("judge", name)
    measured = CLOCKS if name == "recorded" else (*CLOCKS, "seconds")
    return {key: without_clocks(item, name) for key, item in value.items() if key not in measured}


def lines(path):
    return [without_clocks(json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]


def check(name, found):
    check_json(GOLDEN / "expected" / f"{name}.json", found)


def test_score_writes_the_same_judgements_of_each_status(replay, tmp_path):
    done = replay("score", *JUDGES, "-j", BOTH, "--data", "score.jsonl", "-o", "out.jsonl", status=1)
    assert "the budget is spent" in done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert {row["status"] for row in found} == set(STATUSES), "each status is recorded at least once"
    check("score", found)


def test_evaluate_tells_the_same_of_saved_completions(replay, tmp_path):
    replay("evaluate", "--before", "before.jsonl", "--after", "after.jsonl", *JUDGES, "-o", "out")
    check("evaluation", json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8")))
    check("samples", lines(tmp_path / "out" / "samples.jsonl"))
    check("evaluation-report", tables(tmp_path / "out" / "report.html"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("labels", ["--data", "labels.jsonl", "--data", "labels2.jsonl", "--bad", "toxic", "--group", "script",
                    "--retest", "2", "--probes"]),
        ("graded", ["--data", "grades.jsonl", "--graded"]),
        ("pairs", ["--data", "pairs.jsonl", "--probes"]),
    ],
)  # fmt: skip
def test_bench_tells_the_same_of_labels_grades_and_pairs(replay, tmp_path, name, arguments):
    replay("bench", *JUDGES, "-j", BOTH, *arguments, "-o", "out")
    check(f"bench-{name}", without_clocks(json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))))
    check(f"bench-{name}-report", tables(tmp_path / "out" / "bench.html"))


class Tables(HTMLParser):
    """The texts of the cells of all tables, row by row."""

    def __init__(self):
        super().__init__()
        self.tables, self._inside = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.tables[-1][-1][-1] += data


def tables(page):
    """Return the tables of a page, but for the versions of packages and columns of clocks."""
    parser = Tables()
    parser.feed(page.read_text(encoding="utf-8"))
    found = []
    for rows in filter(None, parser.tables):  # one that scripts fill is empty
        head = rows[0]
        kept = [i for i, name in enumerate(head) if not re.search(r"seconds per|ms a text|a second", name)]
        if head[0] != "What":
            found.append([[" ".join(row[i].split()) for i in kept] for row in rows])
    return found


@pytest.mark.parametrize(
    ("changed", "difference"),
    [({"n": 4}, ".n: 4 instead of 3"), ({"n": 3.0}, ".n: 3.0 instead of 3"), ({"mean": None}, ".mean: None instead"),
     ({"mean": 0.5 + 4 * TOLERANCE}, ".mean: 0.5"), ({"status": "empty"}, "'empty' instead of 'ok'"),
     ({"more": 1}, "the keys")],
)  # fmt: skip
def test_a_count_a_status_a_key_and_a_number_that_moved_are_told(tmp_path, monkeypatch, changed, difference):
    monkeypatch.delenv("RENEW", raising=False)
    kept = {"n": 3, "mean": 0.5, "status": "ok"}
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    check_json(tmp_path / "kept.json", {**kept, "mean": 0.5 + TOLERANCE / 4})
    with pytest.raises(AssertionError, match=re.escape(difference)):
        check_json(tmp_path / "kept.json", {**kept, **changed})
