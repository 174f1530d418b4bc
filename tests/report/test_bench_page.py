"""bench.html: what stands in it, what it makes of damage, that it is made again, and that no text in it acts."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import rlaif
from rlaif.benchmark import findings
from rlaif.core.records.bench import BenchTable
from rlaif.report.bench.page import html_of
from rlaif.report.bench.reading import read
from tests.benching import Scripted, labelled, pairs, write_rows
from tests.conftest import one_line
from tests.folders import HOSTILE, run_folder, samples
from tests.report.test_report import Elements, rows_of


def number_in(text: str) -> int:
    return int(re.search(r"\d+", text)[0])


def good(text: str) -> float:
    """Right of most texts, and unsure of a few."""
    i = number_in(text)
    return (0.1 if "bad" in text else 0.9) + (i % 7) / 100 if i % 10 else 0.5


def gaps(text: str) -> float | None:
    """Abstains on each fifth text, and knows little of the others."""
    i = number_in(text)
    return None if i % 5 == 0 else (i * 37 % 101) / 100


JUDGES = (Scripted("good", good, lambda text: f"good says of {text}"), Scripted("gaps", gaps))


def folder_of(folder: Path, rows=None, judges=JUDGES, **keys) -> Path:
    """A benchmark that is done, of judges that say what they are told to."""
    keys = {"bad": "toxic", "groups": "topic", "draws": 200, **keys}
    rlaif.bench(list(judges), rows if rows is not None else labelled(90), output=folder, **keys)
    return folder


def page_of(folder: Path) -> str:
    return html_of(read(folder))


def words_of(cell: list[str]) -> str:
    return " ".join(cell)


def table_of(page: str, name: str) -> list[list[str]]:
    return [[words_of(cell) for cell in row] for row in rows_of(page, name)]


def told(folder: Path) -> dict:
    return json.loads((folder / "bench.json").read_text())


# --- numbers --------------------------------------------------------------------------------------------------------


def test_the_page_says_what_bench_json_says(tmp_path):
    folder = folder_of(tmp_path / "out")
    made, page = told(folder), page_of(folder)
    table = made["pooled"]
    assert html.unescape(re.search(r'class="lead"><bdi>(.*?)</bdi>', page)[1]) == table["answer"][0]
    assert table["answer"][0].startswith("good is the best judge, ahead of gaps by ")
    rows = table_of(page, "ranking-table-1")
    assert [row[0].removesuffix(" baseline") for row in rows] == table["ranking"]
    for row in rows:
        entry = table["judges"][row[0].removesuffix(" baseline")]
        low, high = entry["auroc"]["ci95"]
        assert row[1] == f"{entry['auroc']['value']:.3f} {low:.3f} to {high:.3f}"
        assert row[6] == f"{entry['ece']:.3f}"
        assert row[7] == str(entry["scored"])
    (one,) = table["comparisons"]
    (row,) = table_of(page, "comparisons")
    assert row[:2] == [one["a"], one["b"]]
    assert row[2].startswith(f"{one['difference']:.3f} ")
    assert row[5] == "different"
    assert len(table_of(page, "against-baselines")) == 6


def test_coverage_comes_first_and_tells_each_status(tmp_path):
    page = page_of(folder_of(tmp_path / "out"))
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections == ["answer", "coverage", "ranking", "calibration", "reward", "between", "cost", "texts", "about"]
    assert table_of(page, "coverage-table") == [
        ["good", "100.0 %", "90", "90", "0"],
        ["gaps", "80.0 %", "90", "72", "18"],
    ]
    heads = re.search(r'id="coverage-table".*?</thead>', page, re.DOTALL)[0]
    assert [heads.index(name) for name in (">Ok<", ">Filtered<")] == sorted(
        heads.index(name) for name in (">Ok<", ">Filtered<")
    )


def test_a_judge_that_always_abstains_has_dashes_and_is_said_to_be_in_no_ranking(tmp_path):
    silent = Scripted("silent", lambda text: None)
    page = page_of(folder_of(tmp_path / "out", judges=[*JUDGES, silent]))
    assert "silent cannot be ranked: it has too few scores" in page
    (row,) = [row for row in table_of(page, "ranking-table-1") if row[0] == "silent"]
    assert row[1:] == ["–", "–", "–", "–", "–", "–", "0"]
    (row,) = [row for row in table_of(page, "coverage-table") if row[0] == "silent"]
    assert row[1] == "0.0 %"
    alone = page_of(folder_of(tmp_path / "alone", judges=[silent]))
    assert "No judge can be ranked" in alone
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", alone.lower())


def test_groups_show_false_alarms_and_misses(tmp_path):
    folder = folder_of(tmp_path / "out")
    page, groups = page_of(folder), told(folder)["pooled"]["judges"]["good"]["groups"]["topic"]
    rows = {row[0]: row for row in table_of(page, "group-table-1")}
    assert set(rows) == {"t0", "t1", "t2"}
    for name, row in rows.items():
        alarms, misses = (100 * groups[name][key] for key in ("good_called_bad", "bad_called_good"))
        assert row[3] == f"{alarms:.1f} % bad called good {misses:.0f} %"
        assert row[1:3] == [str(groups[name]["n"]), str(groups[name]["good"])]
    assert 'id="groups-1"' in page


def test_cost_is_drawn_in_usd_where_a_judge_costs_some(tmp_path):
    page = page_of(folder_of(tmp_path / "out"))
    assert "seconds per 1,000 texts" not in page
    assert [row[:2] for row in table_of(page, "cost-1-table")] == [["good", "4.0000"], ["gaps", "4.0000"]]
    row = table_of(page, "cost-table")[0]
    assert (row[1], row[4]) == ("90", "10.0")
    assert row[-3:] == ["10,000", "2,000", "4.0000"]
    free = Scripted("free", good, usage=rlaif.Usage())
    assert "seconds per 1,000 texts" in page_of(folder_of(tmp_path / "free", judges=[free]))


def test_files_of_two_kinds_each_have_their_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = [write_rows("labels.jsonl", labelled(60)), write_rows("pairs.jsonl", pairs(60))]
    page = page_of(folder_of(tmp_path / "out", data))
    assert len(re.findall('class="lead"', page)) == 2
    assert {"ranking-1", "ranking-2", "reliability-1", "cost-2", "agreement"} <= set(re.findall(r'id="([\w-]+)"', page))
    assert 'id="reliability-2"' not in page
    assert [row[0] for row in table_of(page, "coverage-table")] == ["labels.jsonl"] * 2 + ["pairs.jsonl"] * 2
    assert table_of(page, "data")[1][:3] == ["pairs.jsonl", "pairs", "60"]


def test_files_of_one_kind_are_told_together_and_one_by_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = [write_rows(f"{name}/x.jsonl", labelled(40)) for name in "ab"]
    page = page_of(folder_of(tmp_path / "out", data, groups=()))
    assert re.findall(r'class="whose"><bdi>(.*?)</bdi>', page)[:3] == ["all files together", "a/x.jsonl", "b/x.jsonl"]


def test_retests_probes_and_best_of_n_stand_there_where_they_were_asked_for(tmp_path, policy_folder):
    plain = folder_of(tmp_path / "plain")
    assert not re.search(r'id="probes-1"|>Retest<|id="best-of-n"', page_of(plain))
    folder = folder_of(
        tmp_path / "out", [{**row, "prompt": "Tell me"} for row in labelled(12)], judges=[Scripted("words", len_of)],
        retest=1, probes=True, policy=policy_folder("llama"), best_of=2, groups=(),
    )  # fmt: skip
    page, made = page_of(folder), told(folder)
    entry = made["pooled"]["judges"]["words"]
    gained = f"{100 * entry['injection']['all']['gained']:.0f} %"
    assert table_of(page, "probes-1")[0][1].startswith(gained)
    assert table_of(page, "probes-2")[0][1] == f"{entry['degenerate']['empty']['mean_score']:.2f} above 0 %"
    assert ">Retest<" in page
    curve = made["best_of"]["curves"]["words"]["words"]["mean"]
    assert [row[1] for row in table_of(page, "best-of-1-table")] == [f"{mean:.3f}" for mean in curve]


def len_of(text: str) -> float:
    return min(1.0, len(text) / 1000)


def test_the_texts_to_read_are_those_of_bench_json(tmp_path):
    folder = folder_of(tmp_path / "out")
    block = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page_of(folder), re.DOTALL)[1])
    disputed = told(folder)["disagreements"]
    assert [judge["name"] for judge in block["judges"]] == ["good", "gaps"]
    assert len(block["rows"]) == len(disputed) > 20
    for row, line in zip(block["rows"], disputed, strict=True):
        assert row["t"] == [line["completion"]]
        assert row["n"] == [pytest.approx(line["distance"], abs=1e-6)]
        assert [said[0] for said in row["j"][0]] == [pytest.approx(line["scores"][name]) for name in ("good", "gaps")]
        assert row["j"][0][0][2] == f"good says of {line['completion']}"
        assert f"people: {line['label']}" in row["a"]
        assert f"topic: {line['groups']['topic']}" in row["a"]


def test_with_one_judge_there_is_nothing_to_disagree_on(tmp_path):
    page = page_of(folder_of(tmp_path / "out", judges=JUDGES[:1]))
    assert 'id="texts"' not in page
    assert "good agrees with people: AUROC" in page


def test_a_spent_budget_is_said_first(tmp_path):
    folder = folder_of(tmp_path / "out")
    made = {**told(folder), "over_budget": 1234}
    (folder / "bench.json").write_text(json.dumps(made))
    assert "The budget is spent: 1,234 judgements were not asked for." in page_of(folder)


def test_the_same_folder_gives_the_same_bytes_and_every_id_once(tmp_path):
    folder = folder_of(tmp_path / "out")
    page = page_of(folder)
    assert page == page_of(folder)
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    for figure in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert not re.search(r"#[0-9a-fA-F]{6}|style=|<style|xlink|DejaVu", figure)
        assert set(re.findall(r"#([\w-]+)", figure)) <= set(ids)


# --- in words -------------------------------------------------------------------------------------------------------


def compared(a, b, difference, p, different):
    return {"a": a, "b": b, "difference": difference, "ci95": [difference - 0.01, difference + 0.01], "p_adjusted": p,
            "different": different}  # fmt: skip


def words_table(values, comparisons=(), baselines=(), coverage=1.0):
    entry = {
        name: {"baseline": name == "length", "coverage": coverage, "auroc": {"value": value, "ci95": [0.1, 0.9]}}
        for name, value in values.items()
    }
    ranking = sorted(values, key=lambda name: -values[name])
    return BenchTable.salvage({"judges": entry, "measure": "auroc", "ranking": ranking,
                               "comparisons": list(comparisons), "against_baselines": list(baselines)})  # fmt: skip


def test_only_what_is_shown_is_called_better():
    sure, unsure = compared("a", "b", 0.1, 0.0004, True), compared("a", "c", 0.02, 0.3, False)
    values = {"a": 0.9, "b": 0.8, "c": 0.88}
    assert findings.answer(words_table({"a": 0.9, "b": 0.8}, [sure])) == [
        "a is the best judge, ahead of b by 0.100 (0.090 to 0.110), p < 0.001", "Its AUROC is 0.900 (0.100 to 0.900)",
    ]  # fmt: skip
    assert findings.answer(words_table(values, [sure, unsure]))[0] == (
        "a is ahead, but is not shown to be better than c: a difference of 0.020 (0.010 to 0.030), p = 0.3"
    )
    assert findings.answer(words_table(values, [unsure, compared("b", "a", 0.1, 0.2, False)]))[0] == (
        "a is ahead, but is not shown to be better than c and b"
    )


def test_judges_that_are_level_are_not_called_ahead():
    level = compared("a", "b", 0.0, 1.0, False)
    assert findings.answer(words_table({"a": 0.9, "b": 0.9}, [level]))[0] == (
        "a is not shown to be better than b: a difference of 0.000 (-0.010 to 0.010), p = 1"
    )


def test_a_judge_that_is_worth_no_more_than_a_baseline_is_told_so_first():
    equal, worse = compared("a", "length", 0.01, 0.5, False), compared("length", "a", 0.2, 0.001, True)
    beaten = compared("a", "length", 0.2, 0.001, True)
    values = {"a": 0.6, "length": 0.5}
    first = findings.answer(words_table(values, baselines=[equal]))[0]
    assert first == "The best judge, a, is not shown to be better than the baseline length"
    assert findings.answer(words_table(values, baselines=[worse]))[0] == (
        "No judge is worth a baseline: the best, a, is worse than length"
    )
    assert findings.answer(words_table(values, baselines=[beaten]))[-1] == "a beats every baseline: length"


def test_what_the_best_judge_left_out_is_said():
    said = findings.answer(words_table({"a": 0.6}, coverage=0.75))
    assert said[-1] == "a has no score of 25.0 % of the texts, which are in no number"


# --- hostile texts --------------------------------------------------------------------------------------------------


def hostile_bench(folder: Path) -> Path:
    """A benchmark in which all that a file, a model or a judge may have written is hostile."""
    everything = " ".join(HOSTILE.values()).replace("\ud800", "")
    hostile = [*HOSTILE.values(), "x" * 5000]
    rows = [
        {"completion": f"{i} bad" if i % 2 else f"{i} {hostile[i // 2 % len(hostile)]}", "prompt": everything,
         "label": "toxic" if i % 2 else everything, "topic": hostile[i % 3]}
        for i in range(60)
    ]  # fmt: skip
    judges = [Scripted(everything, good, lambda text: everything), Scripted("gaps </script>", gaps, lambda _: "<b>x")]
    return folder_of(folder, rows, judges)


def test_no_text_becomes_an_element_an_attribute_or_a_script(tmp_path):
    tame = folder_of(tmp_path / "tame", [{**row, "prompt": "p"} for row in labelled(60)])
    pages = [page_of(tame), page_of(hostile_bench(tmp_path / "wild"))]
    expected, found = (Elements(page).found for page in pages)
    kinds, tame_kinds = (Counter(tag for tag, _ in elements) for elements in (found, expected))
    assert set(kinds) == set(tame_kinds)
    for tag in ("script", "style", "a", "input", "section"):
        assert kinds[tag] == tame_kinds[tag], tag
    attributes = {name for _, attributes in found for name in attributes}
    assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "action")}
    links = {value for _, attributes in found for name, value in attributes.items() if name in ("href", "src")}
    assert all(link.startswith("#") or link == "data:," for link in links)
    for character in "\x00\x1b\u202e\u2066\u2028\ufeff\ud800":
        assert character not in pages[1]


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def done(tmp_path, main):
    write_rows(tmp_path / "x.jsonl", labelled(12))
    made = main("bench", "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic", "-o", "out")
    assert made.returncode == 0, made.stderr
    return made


def test_bench_writes_its_page_beside_its_numbers_and_report_writes_it_again(done, main):
    assert "to open in a browser: out/bench.html" in done.stderr
    page = Path("out/bench.html").read_bytes()
    Path("out/bench.html").unlink()
    again = main("report", "out", "--plots", "figures")
    assert again.stdout.split() == ["out/bench.html", "figures"]
    assert Path("out/bench.html").read_bytes() == page
    assert {"ranking-1.svg", "ranking-1.png", "agreement.svg"} <= {path.name for path in Path("figures").iterdir()}
    assert main("report", "out", "-o", "else/page.html").returncode == 0
    assert Path("else/page.html").read_bytes() == page


def test_without_a_folder_there_is_no_page(tmp_path, main):
    write_rows(tmp_path / "x.jsonl", labelled(12))
    assert main("bench", "-j", "lexicon", "--data", "x.jsonl", "--bad", "toxic").returncode == 0
    assert list(tmp_path.rglob("*.html")) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "out: this benchmark has no bench.json yet"),
        (b"{" * 100_000, "out/bench.json: cannot be read"),
        (b"\xff\xfe", "out/bench.json: cannot be read"),
        (b"[]", "out/bench.json: holds no benchmark"),
    ],
)
def test_a_benchmark_without_numbers_is_refused_in_one_line(done, main, content, said):
    path = Path("out/bench.json")
    path.unlink() if content is None else path.write_bytes(content)
    refused = main("report", "out")
    assert refused.returncode == 2
    assert said in one_line(refused)


def test_a_benchmark_and_a_run_do_not_stand_side_by_side(tmp_path, done, main):
    run_folder(tmp_path / "run", samples(2))
    refused = main("report", "run", "out")
    assert refused.returncode == 2
    assert "out: is a benchmark, which has a report of its own" in one_line(refused)


@pytest.mark.parametrize("key", ["judges", "agreement", "disagreements", "best_of", "draws", "pooled"])
@pytest.mark.parametrize("value", [3, None, [], {}, "x", [3], {"x": 3}, {"lexicon": {"curves": 1}}])
def test_a_part_of_the_numbers_that_is_damaged_costs_the_page_only_that(tmp_path, key, value):
    (tmp_path / "bench.json").write_text(json.dumps({**SMALL, key: value}))
    assert "How to reproduce this page" in page_of(tmp_path)


@pytest.mark.parametrize("value", [3, None, [], {"judges": 3}, {"judges": {"a": 3}}, {"judges": {"a": {"groups": 1}}}])
def test_a_table_that_is_damaged_costs_the_page_only_that(tmp_path, value):
    (tmp_path / "bench.json").write_text(json.dumps({**SMALL, "files": {"x": value, "y": {}}}))
    assert "How to reproduce this page" in page_of(tmp_path)


SMALL = {"files": {"x": {"kind": "labels"}}, "judges": {"a": {}}, "agreement": {}, "disagreements": [], "best_of": None}
