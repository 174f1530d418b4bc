"""`rlaif bench` and `rlaif.bench`: what is asked, what is kept, what is told, and how a killed one goes on."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

import rlaif
from rlaif.benchmark import best_of
from rlaif.benchmark.csv_files import format_csv
from rlaif.core.errors import InputError
from rlaif.core.records import Bench
from rlaif.core.records.bench_lines import JudgedText, TextKey, TimedJudgement
from rlaif.core.types import Judgement, Sample
from rlaif.judges.cards.overrides import Overrides
from tests import processes
from tests.benching import labelled, pairs, write_rows
from tests.cli.test_score import on_terminal
from tests.conftest import one_line
from tests.remote import card_of

COUNTING = """
import time
from pathlib import Path

def count(prompts, completions):
    with Path("asked").open("a") as file:
        file.writelines(f"{text}\\n" for text in completions)
    time.sleep({pause} * len(completions))
    return [{score} for text in completions]
"""
JUDGE = "{adapter: python, name: mine, function: './mine.py:count'}"

ENTRY = {
    "coverage", "statuses", "auroc", "average_precision", "pairwise_accuracy", "tie_rate", "distinct_scores",
    "saturated", "brier", "ece", "length_bias", "retest_sd", "latency_ms", "per_second", "usd_per_1k",
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, nobody):
    monkeypatch.chdir(tmp_path)
    write_rows("x.jsonl", labelled(12))
    write_rows("pairs.jsonl", pairs(6))


def judge_that(score="0.0 if 'bad' in text else 1.0", pause=0.0):
    Path("mine.py").write_text(COUNTING.replace("{score}", score).replace("{pause}", str(pause)))
    return JUDGE


def asked():
    return Path("asked").read_text().splitlines() if Path("asked").exists() else []


def told(folder="out"):
    return json.loads(Path(folder, "bench.json").read_text())


def lines(name, folder="out"):
    return [json.loads(line) for line in Path(folder, name).read_text().splitlines()]


# --- what is told ---------------------------------------------------------------------------------------------


def test_bench_json_has_the_keys_of_the_design(main):
    done = main("bench", "-j", judge_that(), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 0, done.stderr
    made = told()
    assert json.loads(done.stdout) == made, "in a pipe standard output is bench.json"
    assert {"pooled", "files", "agreement"} <= set(made)
    table = made["files"]["x.jsonl"]
    assert made["pooled"] == table
    assert (table["kind"], table["n"]) == ("labels", 12)
    assert set(table["judges"]) == {"mine", "constant", "random", "length"}
    for entry in table["judges"].values():
        assert set(entry) >= ENTRY
        assert entry["retest_sd"] is None
    mine = table["judges"]["mine"]
    assert mine["auroc"]["value"] == 1
    assert (mine["coverage"], mine["statuses"], mine["saturated"]) == (1, {"ok": 12}, 1)
    assert table["ranking"][0] == "mine"
    assert set(made["agreement"]["mine"]) == {"mine", "constant", "random", "length"}
    assert made["agreement"]["mine"]["mine"] == {"spearman": pytest.approx(1), "kendall": pytest.approx(1)}
    assert made["agreement"]["mine"]["constant"] == {"spearman": None, "kendall": None}


def test_scores_jsonl_holds_each_text_with_what_each_judge_said(main):
    main("bench", "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic", "--group", "topic", "-o", "out")
    rows = lines("scores.jsonl")
    assert len(rows) == 12
    row = rows[1]
    assert (row["file"], row["row"], row["side"], row["label"], row["target"]) == ("x.jsonl", 1, None, "neutral", 1)
    assert (row["groups"], row["completion"]) == ({"topic": "t1"}, "text 1 is fine")
    assert set(row["judgements"]) == {"lexicon", "constant", "random", "length"}
    assert {"score", "logit", "raw", "status", "reason", "parts", "usage", "wall"} <= set(row["judgements"]["lexicon"])


def test_files_of_one_kind_are_pooled_and_others_are_not(main):
    write_rows("y.jsonl", labelled(9, bad_every=3))
    main("bench", "-j", judge_that(), "--data", "x.jsonl", "--data", "y.jsonl", "--bad", "toxic", "-o", "out")
    assert told()["pooled"]["n"] == 21
    main("bench", "-j", JUDGE, "--data", "x.jsonl", "--data", "pairs.jsonl", "--bad", "toxic", "-o", "other")
    made = told("other")
    assert made["pooled"] is None
    assert {name: table["kind"] for name, table in made["files"].items()} == {
        "x.jsonl": "labels",
        "pairs.jsonl": "pairs",
    }
    assert made["files"]["pairs.jsonl"]["judges"]["mine"]["pairwise_accuracy"]["value"] == 1


def test_a_judge_that_always_abstains_shows_coverage_0_and_nulls(main):
    main("bench", "-j", judge_that("None"), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    mine = told()["files"]["x.jsonl"]["judges"]["mine"]
    assert (mine["coverage"], mine["statuses"]) == (0, {"declined": 12})
    for key in ("auroc", "average_precision", "accuracy", "brier", "ece", "saturated", "length_bias"):
        assert mine[key] is None


def test_a_terminal_shows_seven_columns_at_most_and_says_what_stands_out():
    judge_that("0.0 if 'bad' in text else None if text.endswith('5 is fine') else 0.7")
    status, shown = on_terminal("bench", "-j", JUDGE, "--data", "x.jsonl", "--bad", "toxic", "--group", "topic")
    assert status == 0, shown
    header = next(line for line in shown.splitlines() if line.startswith("judge "))
    assert len(re.split(r"\s{2,}", header.strip())) <= 7
    assert "1.000 (" in shown
    assert "mine: 1 declined of 12 texts" in shown
    assert "no difference" not in shown, "a single judge is compared with baselines only"


def test_the_spreadsheet_computes_nothing(main):
    name = "=HYPERLINK(1)"
    entry = {"baseline": False, "coverage": 1.0, "statuses": {"ok": 1}, "scored": 1, "best": None, "injection": None}
    entry |= dict.fromkeys(("auroc", "pairwise_accuracy", "spearman"))
    entry |= {"latency_ms": {"p50": 1.0, "p95": 2.0}, "tokens_per_1k": {"input": 1, "output": 2}, "length_bias": -0.5}
    table = {"kind": "labels", "n": 1, "judges": {name: entry, "@b": entry, "plain": entry}}
    rows = list(csv.DictReader(format_csv(Bench.salvage({"files": {"+x.jsonl": table}})).splitlines()))
    assert [row["judge"] for row in rows] == [f"'{name}", "'@b", "plain"]
    assert {row["file"] for row in rows} == {"'+x.jsonl"}
    assert {row["length_bias"] for row in rows} == {"-0.5"}, "a negative number is a number"


def test_disagreements_are_the_texts_that_judges_rank_most_differently(main):
    first, second = judge_that("0.9 if text.startswith('text 3 ') else 0.1"), "{adapter: length, name: words}"
    write_rows("x.jsonl", [*labelled(12), {"completion": "text 99 is very very fine", "label": "neutral"}])
    done = main("bench", "-j", first, "-j", second, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 0, done.stderr
    disputed = told()["disagreements"]
    assert disputed[0]["completion"] in ("text 3 is fine", "text 99 is very very fine")
    assert set(disputed[0]["scores"]) == {"mine", "words"}
    assert [row["distance"] for row in disputed] == sorted((row["distance"] for row in disputed), reverse=True)


def test_a_panel_stands_beside_its_members_at_no_further_call(main):
    panel = (
        "{name: both, adapter: panel, judges: [{adapter: python, name: mine, function: './mine.py:count'}, lexicon]}"
    )
    judge_that()
    done = main("bench", "-j", panel, "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 0, done.stderr
    made = told()
    judges = made["files"]["x.jsonl"]["judges"]
    assert set(judges) == {"both", "lexicon", "mine", "constant", "random", "length"}, "lexicon stands there once"
    assert judges["mine"]["auroc"]["value"] == 1
    assert made["judges"]["mine"]["member_of"] == "both"
    assert len(asked()) == 12


# --- refusals and estimates -----------------------------------------------------------------------------------


def test_without_a_meaning_nothing_is_asked(main):
    done = main("bench", "-j", judge_that(), "--data", "x.jsonl")
    assert done.returncode == 2
    assert "x.jsonl has toxic (6), neutral (6)" in one_line(done)
    assert asked() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bad", "toxic", "--best-of", "4"], "name it by --policy MODEL"),
        (["--bad", "toxic", "--policy", "gone"], "has no prompts; name a file with a column 'prompt' by --prompts"),
        (["--bad", "toxic", "--split", "test"], "--split is for hub data sets"),
        (["--bad", "toxic", "--set", "lexicon.wordz=1"], "wordz"),
        (["--bad", "toxic", "-o", "x.jsonl"], "x.jsonl: cannot be made"),
    ],
)
def test_wrong_input_is_one_line_and_asks_nothing(main, arguments, said):
    done = main("bench", "-j", "lexicon", "--data", "x.jsonl", *arguments)
    assert done.returncode == 2
    assert said in one_line(done)


def test_a_dry_run_counts_retests_and_probes_and_asks_nothing(main, server):
    judge = json.dumps({**card_of(server), "price": {"input": 1, "output": 1}, "name": "remote"})
    arguments = ("bench", "-j", judge, "--data", "pairs.jsonl", "--dry-run")
    plain, again = main(*arguments), main(*arguments, "--retest", "2")
    assert (plain.returncode, server.calls) == (0, [])
    count = [int(re.search(r"^remote +(\d+) ", done.stdout, re.M)[1]) for done in (plain, again)]
    assert count == [12, 36]
    assert "12 texts; no judge was asked" in plain.stderr


# --- remote judges --------------------------------------------------------------------------------------------


def test_coverage_and_statuses_are_what_the_server_did(main, server):
    def by_text(request):
        number = int(re.search(r"text (\d+)", request.judged)[1])
        return {0: "refused", 1: "filtered", 2: "empty", 3: "hang"}.get(number, "ok")

    server.behaviour = by_text
    judge = json.dumps({**card_of(server), "name": "remote", "timeout": 0.5, "total_timeout": 1})
    done = main("bench", "-j", judge, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 0, done.stderr
    remote = told()["files"]["x.jsonl"]["judges"]["remote"]
    assert remote["statuses"] == {"ok": 8, "refused": 1, "filtered": 1, "unparsable": 1, "timeout": 1}
    assert remote["coverage"] == pytest.approx(8 / 12)
    assert remote["scored"] == 8
    assert remote["calls"] == len(server.calls)


BAD_DAYS = {
    "refused": "refused", "filtered": "filtered", "filtered_400": "filtered", "too_long_400": "too_long",
    "truncated": "truncated", "prose": "unparsable", "off_scale": "unparsable", "html": "unparsable",
    "error_500": "unavailable", "nonsense_400": "unavailable", "hang": "timeout",
}  # fmt: skip


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_every_bad_day_of_an_endpoint_is_a_status_and_no_number(main, server, adapter):
    count = 3 * len(BAD_DAYS)
    fates = dict(zip(range(0, count, 3), BAD_DAYS, strict=True))
    server.behaviour = lambda request: fates.get(int(re.search(r"text (\d+)", request.judged)[1]), "ok")
    write_rows("y.jsonl", [{**row, "completion": f"{row['completion']} {'!' * (i % 7)}"}
                           for i, row in enumerate(labelled(count))])  # fmt: skip
    judge = json.dumps({**card_of(server, adapter), "name": "remote", "timeout": 0.5, "total_timeout": 1})
    done = main("bench", "-j", judge, "-j", "lexicon", "--data", "y.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 0, done.stderr
    remote = told()["files"]["y.jsonl"]["judges"]["remote"]
    rows = lines("scores.jsonl")
    assert {row["row"]: row["judgements"]["remote"]["status"] for row in rows} == {
        i: BAD_DAYS[fates[i]] if i in fates else "ok" for i in range(count)
    }
    assert remote["statuses"] == {"ok": count - len(BAD_DAYS), **Counter(BAD_DAYS.values())}
    assert remote["coverage"] == (count - len(BAD_DAYS)) / count
    assert remote["scored"] == count - len(BAD_DAYS)
    scored = [row for row in rows if row["row"] not in fates]
    expected = roc_auc_score(
        [row["target"] for row in scored], [row["judgements"]["remote"]["score"] for row in scored]
    )
    assert remote["auroc"]["value"] == pytest.approx(expected)
    assert remote["calls"] == len(server.calls)


def test_what_is_in_the_store_is_free_and_said_so(main, server):
    judge = json.dumps({**card_of(server), "name": "remote", "price": {"input": 1, "output": 1}})
    for folder in ("one", "two"):
        done = main("bench", "-j", judge, "--data", "x.jsonl", "--bad", "toxic", "-o", folder)
        assert done.returncode == 0, done.stderr
    assert len(server.calls) == 12
    first, second = (told(folder)["files"]["x.jsonl"]["judges"]["remote"] for folder in ("one", "two"))
    assert (first["from_store"], second["from_store"]) == (0, 1)
    assert first["usd_per_1k"] > 0
    assert first["latency_ms"]["p95"] >= first["latency_ms"]["p50"] > 0
    assert (second["usd_per_1k"], second["latency_ms"]["p50"], second["asked"]) == (None, None, 0)
    assert first["auroc"] == second["auroc"]


def test_a_spent_budget_ends_with_what_was_paid_and_goes_on_with_a_larger_one(main, server):
    judge = json.dumps({**card_of(server), "name": "remote"})
    command = ("bench", "-j", judge, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    done = main(*command, "--budget-calls", "5")
    assert done.returncode == 1
    assert "the budget is spent: 7 judgements were not asked for" in done.stderr
    assert told()["files"]["x.jsonl"]["judges"]["remote"]["statuses"] == {"over_budget": 7, "ok": 5}
    assert main(*command, "--budget-calls", "7").returncode == 0
    assert told()["files"]["x.jsonl"]["judges"]["remote"]["statuses"] == {"ok": 12}
    assert len(server.calls) == 12, "nothing is paid twice"


def test_a_retest_passes_the_store_by(main, server):
    judge = json.dumps({**card_of(server), "name": "remote"})
    command = ("bench", "-j", judge, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert main(*command).returncode == 0
    assert main(*command, "--retest", "2").returncode == 0
    assert len(server.calls) == 12 + 2 * 12
    remote = told()["files"]["x.jsonl"]["judges"]["remote"]
    assert (remote["retest_sd"], remote["flip_rate"]) == (0, 0), "an honest server says the same again"
    assert main(*command, "--retest", "2").returncode == 0
    assert len(server.calls) == 36, "what was asked again is kept too"


# --- retests and probes ---------------------------------------------------------------------------------------


def test_a_judge_that_changes_its_mind_has_a_deviation_and_a_flip_rate(main):
    # Each text is asked about three times: 0.4, then 0.6, then 0.6.
    judge_that("0.4 if Path('asked').read_text().splitlines().count(text) == 1 else 0.6")
    main("bench", "-j", JUDGE, "--data", "x.jsonl", "--bad", "toxic", "--retest", "2", "-o", "out")
    mine = told()["files"]["x.jsonl"]["judges"]["mine"]
    assert mine["retest_sd"] == pytest.approx((((0.4 - 1.6 / 3) ** 2 + 2 * (0.6 - 1.6 / 3) ** 2) / 2) ** 0.5)
    assert mine["flip_rate"] == 1
    constant = told()["files"]["x.jsonl"]["judges"]["constant"]
    assert (constant["retest_sd"], constant["flip_rate"]) == (0, 0)


def test_a_pair_flips_when_the_other_answer_is_preferred(main):
    judge_that("0.5 if 'bad' in text else 0.9 if Path('asked').read_text().splitlines().count(text) == 1 else 0.1")
    main("bench", "-j", JUDGE, "--data", "pairs.jsonl", "--retest", "1", "-o", "out")
    mine = told()["files"]["pairs.jsonl"]["judges"]["mine"]
    assert mine["flip_rate"] == 1
    assert mine["spread_within_prompt"] == pytest.approx((0.2**2 * 2 / 1) ** 0.5)
    assert mine["signal_to_noise"] == pytest.approx(mine["spread_within_prompt"] / mine["retest_sd"])


def test_probes_find_a_judge_that_obeys_what_it_reads_and_one_that_likes_nothing(main):
    judge_that("1.0 if 'rating' in text.lower() or not any(c.isalpha() for c in text) else 0.2")
    main("bench", "-j", JUDGE, "--data", "x.jsonl", "--bad", "toxic", "--probes", "-o", "out")
    mine = told()["files"]["x.jsonl"]["judges"]["mine"]
    assert mine["injection"]["verdict"] == {"n": 6, "gained": 1.0, "mean_gain": pytest.approx(0.8)}
    assert mine["injection"]["praise"]["gained"] == 0
    assert mine["injection"]["control"]["gained"] == 0
    assert mine["injection"]["all"]["gained"] == pytest.approx(2 / 5)
    assert mine["degenerate"]["one mark"] == {
        "n": 3, "statuses": {"ok": 3}, "mean_score": 1.0, "outscores": 1.0
    }  # fmt: skip
    assert mine["degenerate"]["empty"]["statuses"] == {"empty": 1}
    assert mine["degenerate"]["empty"]["mean_score"] is None
    assert mine["degenerate"]["another language"]["outscores"] == 0


# --- going on -------------------------------------------------------------------------------------------------


def test_a_finished_benchmark_is_not_asked_again(main):
    command = ("bench", "-j", judge_that(), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    main(*command)
    before = Path("out/scores.jsonl").read_bytes()
    assert main(*command).returncode == 0
    assert len(asked()) == 12
    assert Path("out/scores.jsonl").read_bytes() == before


@pytest.mark.parametrize(("bad", "good"), [(1, 0), (True, False), (0.0, 1.0), ("toxic", "fine")])
def test_labels_that_are_no_texts_are_named_as_they_stand_in_the_data(bad, good):
    rows = [{"completion": "a " * (i + 1), "label": bad if i < 3 else good} for i in range(6)]
    for keys in ({"bad": bad}, {"bad": [bad]}, {"good": good}):
        made = rlaif.bench("length", rows, draws=10, **keys)
        assert made["pooled"]["judges"]["length"]["auroc"]["value"] == 1


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"retest": -1}, {"seed": -1}, {"judges": 5}])
def test_numbers_that_ask_for_nothing_are_refused(wrong):
    rows = [{"completion": "a", "label": 0}, {"completion": "b", "label": 1}]
    with pytest.raises(InputError):
        rlaif.bench(**{"judges": "length", "data": rows, "bad": 1, **wrong})


def test_a_torn_line_is_asked_again_and_no_other(main):
    command = ("bench", "-j", judge_that(), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    main(*command)
    scores, first = Path("out/scores.jsonl"), told()
    whole = scores.read_bytes().splitlines(keepends=True)
    scores.write_bytes(b"".join(whole[:9]) + whole[9][:50])
    assert main(*command).returncode == 0
    assert asked()[12:] == [row["completion"] for row in labelled(12)[9:]]
    assert [row["row"] for row in lines("scores.jsonl")] == list(range(12))
    assert told()["files"]["x.jsonl"]["judges"]["mine"]["auroc"] == first["files"]["x.jsonl"]["judges"]["mine"]["auroc"]


@pytest.mark.parametrize(
    "torn", [b"\0" * 64 + b"\n", b"garbage\n", b"7\n", b'{"a": 1}\n'], ids=["nul", "words", "number", "keys"]
)
def test_what_a_power_cut_left_in_the_middle_is_asked_again_with_all_that_follows(main, torn):
    command = ("bench", "-j", judge_that(), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    main(*command)
    scores = Path("out/scores.jsonl")
    whole = scores.read_bytes().splitlines(keepends=True)
    scores.write_bytes(b"".join([*whole[:9], torn, *whole[10:]]))
    done = main(*command)
    assert done.returncode == 0, done.stderr
    assert asked()[12:] == [row["completion"] for row in labelled(12)[9:]]
    assert [row["row"] for row in lines("scores.jsonl")] == list(range(12))


def test_a_killed_benchmark_goes_on_where_it_was():
    write_rows("x.jsonl", labelled(400))
    judge_that(pause=0.005)  # chunks of 64, 128, ...: 0.3 s, 0.6 s, ...
    command = ["-m", "rlaif", "bench", "-j", JUDGE, "--data", "x.jsonl", "--bad", "toxic", "-o", "out"]
    process = processes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (Path("out/scores.jsonl").exists() and Path("out/scores.jsonl").stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = Path("out/scores.jsonl").read_bytes().count(b"\n")
    assert 0 < kept < 400
    done = processes.run(command, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [row["row"] for row in lines("scores.jsonl")] == list(range(400))
    assert asked()[-(400 - kept) :] == [row["completion"] for row in labelled(400)[kept:]]
    assert told()["pooled"]["judges"]["mine"]["auroc"]["value"] == 1


def test_an_endpoint_that_was_down_is_asked_again_when_it_is_back(main, server):
    server.behaviour = lambda request: "error_503" if "text 3 " in request.judged else "ok"
    judge = json.dumps({**card_of(server), "name": "remote", "total_timeout": 0.3})
    command = ("bench", "-j", judge, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert main(*command).returncode == 0
    assert told()["files"]["x.jsonl"]["judges"]["remote"]["statuses"] == {"ok": 11, "unavailable": 1}
    server.behaviour, before = "ok", len(server.calls)
    assert main(*command).returncode == 0
    assert told()["files"]["x.jsonl"]["judges"]["remote"]["statuses"] == {"ok": 12}
    assert len(server.calls) == before + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["-j", "lexicon"], "of other judges: lexicon is new"),
        (["--group", "topic"], "of other files: x.jsonl has changed"),
        (["--data", "pairs.jsonl"], "of other files: pairs.jsonl is new"),
        (["--limit", "3"], "of other files: x.jsonl has changed"),
    ],
)
def test_another_benchmark_does_not_go_on_in_the_folder(main, change, said):
    command = ("bench", "-j", judge_that(), "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    main(*command)
    done = main(*command, *change)
    assert done.returncode == 2
    assert said in one_line(done)
    assert "name another folder by -o" in done.stderr


def test_a_folder_of_something_else_is_left_alone(main):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    done = main("bench", "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 2
    assert "holds something else than a benchmark" in one_line(done)
    assert [path.name for path in Path("out").iterdir()] == ["notes.txt"]


def test_a_bug_of_a_judge_says_where_to_go_on(main):
    judge_that("1 / 0 if text.startswith('text 70 ') else 0.5")
    write_rows("x.jsonl", labelled(100))
    done = main("bench", "-j", JUDGE, "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert done.returncode == 1
    assert "mine.py:9" in done.stderr
    assert "run the same command again to resume from what is in out" in done.stderr
    assert len(lines("scores.jsonl")) == 64


# --- best of n ------------------------------------------------------------------------------------------------


def test_the_expected_best_of_n_is_the_mean_over_all_subsets():
    # Picked by 1 < 2 < 3. Of two: {1,2} -> 0.5, {1,3} -> 0.1, {2,3} -> 0.1.
    import numpy as np

    picked, scored = np.array([2.0, 3.0, 1.0]), np.array([0.5, 0.1, 0.9])
    np.testing.assert_allclose(best_of.expected_best(picked, scored, 3), [0.5, 0.7 / 3, 0.1])
    tied = best_of.expected_best(np.array([1.0, 1.0]), np.array([0.2, 0.6]), 2)
    np.testing.assert_allclose(tied, [0.4, 0.4], err_msg="among equals each is picked as often")


def test_a_score_that_others_do_not_share_turns_down():
    def line(prompt, i):
        # More of what `proxy` counts is better up to a point, and worse beyond.
        said = {"proxy": i / 15, "true": 1 - abs(i / 15 - 0.8), "constant": 0.5}
        judgements = {name: TimedJudgement.make(Judgement(name, score), 0.0) for name, score in said.items()}
        key = TextKey(file=None, row=prompt, side=None, label=None, target=None, groups={}, index=i)
        return JudgedText.make(key, Sample(str(i), str(prompt)), judgements)

    made = best_of.figures(
        [line(p, i) for p in range(30) for i in range(16)], ["proxy", "constant"], ["true", "proxy"], "m"
    )
    made = made.to_json()
    assert (made["n"], made["prompts"]) == (16, 30)
    over = made["curves"]["proxy"]["true"]
    assert 1 < over["turns_down_at"] < 16
    assert over["mean"][0] == pytest.approx(sum(1 - abs(i / 15 - 0.8) for i in range(16)) / 16)
    assert over["mean"][-1] == pytest.approx(0.8)
    own = made["curves"]["proxy"]["proxy"]
    assert own["turns_down_at"] is None
    assert own["mean"] == sorted(own["mean"])
    assert made["curves"]["constant"]["proxy"]["mean"] == pytest.approx([0.5] * 16)
    assert made["kl_bound_nats"][0] == 0


def test_judges_pick_the_best_of_a_models_completions(main, policy_folder):
    write_rows("pairs.jsonl", pairs(3))
    command = (
        "bench", "-j", "{adapter: length, name: words}", "-j", "{adapter: length, name: short, at_most: 1}", "--data",
        "pairs.jsonl", "--policy", str(policy_folder("llama")), "--best-of", "3", "-o", "out",
    )  # fmt: skip
    done = main(*command)
    assert done.returncode == 0, done.stderr
    made = told()["best_of"]
    assert (made["n"], made["prompts"]) == (3, 3)
    rows = lines("best_of.jsonl")
    assert [(row["row"], row["index"]) for row in rows] == [(row, index) for row in range(3) for index in range(3)]
    for prompt in range(3):
        of = [row["judgements"]["words"]["score"] for row in rows if row["row"] == prompt]
        assert len(of) == 3
    best = [max(row["judgements"]["words"]["score"] for row in rows if row["row"] == p) for p in range(3)]
    assert made["curves"]["words"]["words"]["mean"][-1] == pytest.approx(sum(best) / 3)
    before = Path("out/completions.jsonl").read_bytes()
    Path("out/completions.jsonl").write_bytes(b"".join(before.splitlines(keepends=True)[:5]))
    Path("out/best_of.jsonl").unlink()
    assert main(*command).returncode == 0
    assert Path("out/completions.jsonl").read_bytes() == before, "what is sampled again is the same"
    whole = before.splitlines(keepends=True)
    Path("out/completions.jsonl").write_bytes(b"".join([*whole[:3], whole[3][:20], *whole[4:]]))
    assert main(*command).returncode == 0
    assert Path("out/completions.jsonl").read_bytes() == before, "what comes after a damaged line is sampled again"


# --- from Python ----------------------------------------------------------------------------------------------


def test_the_function_returns_what_the_command_writes(main):
    command = ("bench", "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic", "--group", "topic", "-o", "out")
    main(*command)
    made = rlaif.bench("lexicon", "x.jsonl", bad="toxic", groups="topic")

    def timeless(told):
        return json.loads(re.sub(r'"(p50|p95|per_second)": [\d.e+-]+', '"x": 0', json.dumps(told)))

    assert timeless(made) == timeless(told())


def test_the_function_takes_rows_and_judges_as_they_are():
    judge = rlaif.load_judge({"adapter": "lexicon", "name": "mine", "words": ["bad"]})
    made = rlaif.bench([judge, {"adapter": "length", "name": "words"}], labelled(6), good=["neutral"])
    assert set(made["files"]["the data"]["judges"]) == {"mine", "words", "constant", "random", "length"}
    with pytest.raises(rlaif.InputError, match="bench needs a judge"):
        rlaif.bench([], labelled(6), bad="toxic")
    with pytest.raises(rlaif.InputError, match="two judges are named 'lexicon'"):
        rlaif.bench(["lexicon", "lexicon"], labelled(6), bad="toxic")


def test_a_remote_judge_that_was_made_elsewhere_cannot_be_retested(server):
    judge = rlaif.load_judge({**card_of(server), "name": "remote"}, overrides=Overrides([]))
    with pytest.raises(rlaif.InputError, match="a retest would be answered from there; name its card"):
        rlaif.bench(judge, labelled(6), bad="toxic", retest=1)


# --- real ones ------------------------------------------------------------------------------------------------


def test_the_shared_classifiers_know_toxic_sentences_and_baselines_do_not(main, shared):
    judges = []
    for name in ("toxicity-roberta", "toxicity-roberta-b"):
        card = {"adapter": "classifier", "model": str(shared / "models" / name), "bad": "hate", "name": name}
        judges += ["-j", json.dumps(card)]
    data = str(shared / "data/paradetox_labels.jsonl")
    done = main("bench", *judges, "--data", data, "--bad", "toxic", "--limit", "100", "-o", "out")
    assert done.returncode == 0, done.stderr
    table = told()["files"][data]
    for name in ("toxicity-roberta", "toxicity-roberta-b"):
        assert table["judges"][name]["auroc"]["value"] > 0.95
        assert table["judges"][name]["per_second"] > 0
    beaten = {(one["a"], one["b"]) for one in table["against_baselines"] if one["different"]}
    assert {(name, "constant") for name in ("toxicity-roberta", "toxicity-roberta-b")} <= beaten
