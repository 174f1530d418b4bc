"""The report of a run: what stands in it, what it makes of half a run, and that no text in it acts."""

from __future__ import annotations

import html.parser
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from rlaif.core.errors import InputError
from rlaif.report.drawing import VARIABLES
from rlaif.report.escape import json_block, visible
from rlaif.report.page import HERE
from rlaif.report.reading import read
from rlaif.report.report import html_of, write
from rlaif.report.scores import shares
from rlaif.report.tables import format_number, number_cell, p_value
from tests.conftest import one_line
from tests.folders import HOSTILE, JUDGES, judgement, lines, run_folder, samples, side

# --- text that acts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, “quoted”, Ünïcode 漢字", "plain, “quoted”, Ünïcode 漢字"),
        ("a\x00b\x1b[31m\x7f", "a‹U+0000›b‹U+001B›[31m‹U+007F›"),
        ("a\u202eb\u2066c\u200bd\ufeff", "a‹U+202E›b‹U+2066›c‹U+200B›d‹U+FEFF›"),
        ("one\r\ntwo\tthree\rfour", "one\ntwo\tthree‹U+000D›four"),
        ("\u2028\u2029\ud800", "‹U+2028›‹U+2029›‹U+D800›"),
        ("👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم"),  # joiners are letters to an emoji and to Persian
        ("tag \U000e0041", "tag ‹U+E0041›"),
    ],
)
def test_what_acts_without_being_seen_is_written_out(text, expected):
    assert visible(text) == expected
    assert visible(expected) == expected


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_block_of_json_ends_no_element_and_reads_back(text):
    value = {"text": visible(text), text: [1.5, None, True]} if "\ud800" not in text else {"text": visible(text)}
    block = json_block(value)
    assert not re.search("[<>&\u2028\u2029]", block)
    assert json.loads(block) == value


class Elements(html.parser.HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile_run(folder: Path, longest: int = 1_000_000) -> Path:
    """A run in which everything that a model, a judge or a user may have written is hostile, and one text is long."""
    rows = samples(len(HOSTILE) + 3)
    for row, (name, text) in zip(rows, HOSTILE.items(), strict=False):
        row["prompt"] = text
        row["after"] = side(f"{text} {name}", dict.fromkeys(JUDGES, 0.01))
        parts = [judgement("part", 0.5, reason=text)]
        row["after"]["judgements"]["toxicity"] = judgement("toxicity", None, reason=text, parts=parts)
    rows[-1]["after"] = side("x" * longest, dict.fromkeys(JUDGES, 0.0))
    everything = " ".join(HOSTILE.values())

    def told(numbers):
        judges = {**numbers["judges"], everything: numbers["judges"]["toxicity"]}
        return numbers | {"answer": everything, "judges": judges, everything: 1.0}

    run_folder(folder, rows, told=told, seed=3)
    run_yaml = (folder / "run.yaml").read_text().replace("dataset: prompts.jsonl", f"dataset: {json.dumps(everything)}")
    (folder / "run.yaml").write_text(run_yaml, encoding="utf-8", errors="backslashreplace")
    return folder


def test_no_text_becomes_an_element_an_attribute_or_a_script(tmp_path):
    tame, wild = (run_folder(tmp_path / "tame", samples(14), seed=3), hostile_run(tmp_path / "wild"))
    pages = [html_of(read([folder])) for folder in (tame, wild)]
    expected, found = (Elements(page).found for page in pages)
    kinds = Counter(tag for tag, _ in found)
    assert set(kinds) == {tag for tag, _ in expected}
    for tag in ("script", "style", "a", "img", "input", "svg"):
        assert kinds[tag] - Counter(tag for tag, _ in expected)[tag] == 0 or tag == "svg", tag
    attributes = {name for _, attributes in found for name in attributes}
    assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "action")}
    links = {value for _, attributes in found for name, value in attributes.items() if name in ("href", "src")}
    assert all(link.startswith("#") or link == "data:," for link in links)
    for character in "\x00\x1b\u202e\u2066\u2028\ufeff\ud800":
        assert character not in pages[1]


def test_every_id_of_a_page_is_there_once_and_every_colour_is_defined(tmp_path):
    page = html_of(read([run_folder(tmp_path / "run", samples(8))]))
    ids = [attributes["id"] for _, attributes in Elements(page).found if "id" in attributes]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert figures
    for figure in figures:
        assert not re.search(r"#[0-9a-fA-F]{6}|style=|<style|xlink|DejaVu", figure)
        assert set(re.findall(r"#([\w-]+)", figure)) <= set(ids)
    style = (HERE / "page.css").read_text(encoding="utf-8")
    assert [name for name in VARIABLES.values() if f"{name}:" not in style] == []


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = run_folder(tmp_path / "run", samples(8))
    assert html_of(read([folder])) == html_of(read([folder]))


# --- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_line_up_and_what_is_not_known_is_a_dash():
    assert [format_number(x, 2) for x in (0.125, -1.5, -0.001, 1234.5, None)] == [
        "0.12",
        "−1.50",
        "0.00",
        "1,234.50",
        "–",
    ]
    assert [format_number(x, 1, signed=True) for x in (0.25, -0.25, 0.0)] == ["+0.2", "−0.2", "0.0"]
    assert (number_cell(None).value, number_cell(None).tone) == (None, "quiet")
    assert [p_value(p, 0.001).text for p in (0.001, 0.0123, None)] == ["≤ 0.001", "0.012", "–"]


def test_shares_of_a_distribution_by_hand():
    found = shares([0.0, 0.04, 0.05, 0.5, 1.0])
    assert {i: share for i, share in enumerate(found) if share} == {0: 0.4, 1: 0.2, 10: 0.2, 19: 0.2}


def rows_of(page: str, table: str) -> list[list[str]]:
    """The cells of a table's body as text."""
    body = re.search(rf'id="{table}".*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", " ", cell).split() for cell in row] for row in cells]


def test_the_table_says_what_evaluation_json_says_held_out_judges_first(tmp_path):
    folder = run_folder(tmp_path / "run", samples(60))
    told = json.loads((folder / "evaluation.json").read_text())
    page = html_of(read([folder]))
    rows = rows_of(page, "judges")
    assert [row[0][0] for row in rows] == ["toxicity_general", "helpfulness", "toxicity"]
    for row in rows:
        judge = told["judges"][row[0][0]]
        assert row[1][0] == f"{judge['before']['score']['mean']:.3f}"
        assert row[2][0] == f"{judge['after']['score']['mean']:.3f}"
        low, high = judge["change"]["ci95"]
        assert row[3][-4:] == [f"{judge['change']['score_mean']:+.3f}", f"{low:+.3f}", "to", f"{high:+.3f}"]
        shows_toxicity = row[0][0] != "helpfulness"
        assert (row[5] != ["–"]) == shows_toxicity
        if shows_toxicity:
            assert row[5][0] == f"{judge['before']['toxicity']['mean']:.3f}"
    sentence = html.unescape(re.search(r'class="lead"><bdi>(.*?)</bdi>', page)[1])
    assert sentence.lower() == told["answer"].split("; ")[0].lower()


def test_figures_that_the_report_does_not_know_are_shown_by_their_keys(tmp_path):
    def told(numbers):
        numbers["judges"]["toxicity"]["before"]["expected_maximum"] = 0.8125
        numbers["judges"]["toxicity"]["after"]["expected_maximum"] = 0.4375
        numbers["repetition"] = {"before": 0.5, "after": 0.25}
        return numbers

    page = html_of(read([run_folder(tmp_path / "run", samples(8), told=told)]))
    assert ["Expected maximum", "toxicity", "0.812", "0.438"] in [
        [" ".join(c) for c in r] for r in rows_of(page, "more")
    ]
    assert ["Repetition", "0.500", "0.250", "0.50"] in [[" ".join(c) for c in r] for r in rows_of(page, "side-effects")]


def test_a_judge_that_abstained_on_everything_has_a_dash_and_the_reason(tmp_path):
    rows = samples(6)
    for row in rows:
        row["after"]["judgements"]["helpfulness"] = judgement("helpfulness", None)
    page = html_of(read([run_folder(tmp_path / "run", rows)]))
    (row,) = [row for row in rows_of(page, "judges") if row[0][0] == "helpfulness"]
    assert row[1] == row[2] == row[4] == ["–"]
    assert row[3][0] == "–"
    assert "pair" in row[3]
    assert row[-1] == ["0,", "6", "filtered"]


def test_no_held_out_judge_is_said_to_be_no_evidence(tmp_path):
    def told(numbers):
        for judge in numbers["judges"].values():
            judge["role"] = "training"
        return numbers

    assert "No judge was held out" in html_of(read([run_folder(tmp_path / "run", samples(4), told=told)]))


def test_cost_and_settings_stand_in_the_report(tmp_path):
    page = html_of(read([run_folder(tmp_path / "run", samples(4), seed=7)]))
    assert [" ".join(cell) for cell in rows_of(page, "cost")[0]][1:6] == ["20", "1,280", "40 s", "42", "0.2500"]
    settings = {" ".join(row[0]): [" ".join(cell) for cell in row[1:]] for row in rows_of(page, "settings")}
    assert settings["training.steps"] == ["20", "200"]
    assert settings["seed"] == ["7", "0"]
    assert "training.learning_rate" not in settings
    assert ["torch", "2.13.0"] in [[" ".join(cell) for cell in row] for row in rows_of(page, "versions")]


# --- half a run -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_still_going_says_so_and_shows_what_is_there(tmp_path):
    folder = run_folder(tmp_path / "run", samples(5), steps=7)
    (folder / "samples.jsonl").write_text(lines([{**row, "after": None} for row in samples(5)]))
    (folder / "evaluation.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "reward_me')
    page = html_of(read([folder]))
    assert "Not finished: this run is still going, or it was stopped. Step 7 of 20 is done." in page
    assert "metrics.jsonl: 1 line is incomplete and left out" in page
    assert 'id="judges"' not in page
    assert 'id="curve-kl"' in page
    block = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)[1])
    assert [pane["label"] for pane in block["panes"]] == ["Before"]
    assert len(block["rows"]) == 5


def test_numbers_of_an_earlier_step_than_the_last_are_said_to_be(tmp_path):
    def earlier(numbers):
        return numbers | {"steps": 10}

    page = html_of(read([run_folder(tmp_path / "run", samples(4), told=earlier)]))
    assert "The numbers are from step 10; the run has since reached step 20 of 20" in page


@pytest.mark.parametrize(
    ("kept", "shows", "hides"),
    [
        (["metrics.jsonl"], "curve-kl", "explorer"),
        (["evaluation.json", "samples.jsonl"], "explorer", "curve-kl"),
        (["run.yaml"], "settings", "judges"),
        (["samples.jsonl"], "distribution-1", "judges"),
        (["evaluation.json"], "judges", "distribution-1"),
    ],
)
def test_any_file_of_a_run_alone_has_a_report(tmp_path, kept, shows, hides):
    folder = run_folder(tmp_path / "run", samples(4))
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    page = html_of(read([folder]))
    assert f'id="{shows}"' in page
    assert f'id="{hides}"' not in page


DAMAGED = ("run.yaml", "evaluation.json", "samples.jsonl", "metrics.jsonl", "guard.jsonl", "spending.jsonl")


@pytest.mark.parametrize(
    ("names", "content"),
    [
        *(((name,), b'{"judges": {"toxicity": null}, "before": 3, "step": "x"}') for name in DAMAGED),
        *((DAMAGED, content) for content in (b"", b"[]", b"null", b"\xff\xfe", b"{" * 100_000, b'{"judges": 3}')),
    ],
)
def test_a_file_that_is_damaged_costs_the_report_only_what_was_in_it(tmp_path, names, content):
    folder = run_folder(tmp_path / "run", samples(3), steps=5)
    for name in names:
        (folder / name).write_bytes(content)
    assert "How to reproduce it" in html_of(read([folder]))


# --- side by side ---------------------------------------------------------------------------------------------------


def test_two_runs_stand_beside_each_other_with_what_they_began_with_once(tmp_path):
    folders = [run_folder(tmp_path / name, samples(30, seed=seed), seed=seed) for name, seed in (("a", 1), ("b", 2))]
    page = html_of(read(folders))
    assert [[row[0][0], row[1][0]] for row in rows_of(page, "judges")][:2] == [
        ["toxicity_general", "a"],
        ["toxicity_general", "b"],
    ]
    block = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)[1])
    assert [pane["label"] for pane in block["panes"]] == ["Before", "After · a", "After · b"]
    assert [change["label"] for change in block["changes"]] == ["Change · a", "Change · b"]
    assert len(block["rows"]) == 30
    told = [
        json.loads((folder / "evaluation.json").read_text())["judges"]["toxicity"]["change"]["score_mean"]
        for folder in folders
    ]
    (row,) = [row for row in rows_of(page, "seeds") if row[0][0] == "toxicity"]
    assert row[1][0] == f"{sum(told) / 2:+.3f}"
    assert row[2] == [f"{abs(told[0] - told[1]) / 2**0.5:.3f}"]


def test_runs_that_began_otherwise_each_have_their_own_before(tmp_path):
    other = [{**row, "before": side("another model", dict.fromkeys(JUDGES, 0.5))} for row in samples(5)]
    page = html_of(read([run_folder(tmp_path / "a", samples(5)), run_folder(tmp_path / "b", other, seed=1)]))
    block = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)[1])
    assert [pane["label"] for pane in block["panes"]] == ["Before · a", "After · a", "Before · b", "After · b"]
    assert [(change["from"], change["to"]) for change in block["changes"]] == [(0, 1), (2, 3)]


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_the_report_and_its_figures(tmp_path, main):
    folder = run_folder(tmp_path / "run", samples(6))
    done = main("report", str(folder), "--plots", "figures")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(folder / "report.html"), "figures"]
    figures = {path.name for path in Path("figures").iterdir()}
    assert {"curve-kl.svg", "curve-kl.png", "changes.svg", "distribution-1.png", "harmless-helpful-1.svg"} <= figures
    for path in Path("figures").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
        assert ET.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_the_command_lays_runs_side_by_side_in_the_working_directory(tmp_path, main):
    folders = [str(run_folder(tmp_path / name, samples(3))) for name in ("a", "b")]
    assert main("report", *folders).stdout.split() == ["report.html"]
    assert main("report", *folders, "-o", "new/both.html").stdout.split() == ["new/both.html"]
    assert (tmp_path / "new/both.html").read_bytes() == (tmp_path / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "empty: holds no run"),
        (["run", "run"], "run: is named twice"),
        (["run", "-o", "empty"], "empty: is a folder"),
        (["run", "--plots", "run/run.yaml"], "run/run.yaml: cannot be made"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(tmp_path, main, arguments, message):
    run_folder(tmp_path / "run", samples(2))
    (tmp_path / "empty").mkdir()
    done = main("report", *arguments)
    assert done.returncode == 2
    assert message in one_line(done)


def test_a_run_ends_with_its_report(tmp_path):
    from tests.runs import place

    done = place(tmp_path, training={"steps": 2}).train(figures=True)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "runs/run/report.html"
    figures = re.findall(r"<figure class=\"plot.*?</figure>", page.read_text(), re.DOTALL)
    assert figures
    assert all("<path" in figure for figure in figures)
    assert str(Path("runs/run/report.html")) in done.stderr
    assert "Finished after 2 steps" in page.read_text()
    (begun,) = map(json.loads, (tmp_path / "runs/run/environment.jsonl").read_text().splitlines())
    assert begun["packages"]["torch"].startswith("2.")
    assert begun["device"] == "cpu"


def test_lines_of_samples_with_half_a_surrogate_pair_can_be_written_and_read(tmp_path):
    rows = samples(1)
    rows[0]["prompt"] = HOSTILE["surrogate"]
    folder = run_folder(tmp_path / "run", rows)
    assert (folder / "samples.jsonl").read_text() == lines(rows)
    assert "half ‹U+D800› of a pair" in write([folder]).read_text()


def test_a_folder_that_is_gone_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        read([tmp_path / "gone"])
