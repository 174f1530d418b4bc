"""What bad input gets: an exit status and one line that says what, where, and what to do. Never a traceback."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tiny
from tests.conftest import one_line

FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(done, status, *words):
    """Assert the exit status and that the one line of the error holds the words."""
    message = one_line(done)
    assert done.returncode == status, message
    for word in words:
        assert word in message
    return message


# --- cards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("adapter: classifer", ["unknown adapter 'classifer'", "did you mean 'classifier'?", "there are: classifier,"]),
        ("adapter: 5", ["the key 'adapter' is missing or not text"]),
        ("measures: toxicity", ["the key 'adapter' is missing or not text"]),
        ("adapter: constant\nvalu: 1", ["unknown key 'valu'", "did you mean 'value'?", "allowed: ", "value"]),
        ("adapter: constant\nvalue: high", ["value: should be a number, not 'high'"]),
        ("adapter: constant\nvalue: 2", ["value: should be less than or equal to 1, not 2"]),
        ("adapter: constant\nvalue: .nan", ["value: should be"]),
        ("adapter: constant\nvalue: 1\nvalue: 0", ["line 3", "the key 'value' appears twice"]),
        ("adapter: constant\nname: other", ["a card's name is its file's (mine)"]),
        ("adapter: classifier\nbad: hate", ["the key 'model' is missing"]),
        ("adapter: classifier\nmodel: ./missing\nbad: hate", ["model: there is no model folder", "missing"]),
        ("adapter: classifier\nmodel: a b\nbad: hate", ["neither a folder that exists nor a hub id"]),
        ("adapter: python", ["the key 'function' is missing"]),
        ("adapter: python\nfunction: ./missing.py:f", ["mine", "there is no file", "missing.py"]),
        ("adapter: python\nfunction: ./mine.yaml", ["should be ./FILE.py:NAME or MODULE:NAME"]),
        ("adapter: python\nfunction: nosuchmodule:f", ["cannot import nosuchmodule", "is it installed?"]),
        ("adapter: python\nfunction: json:nosuch", ["json has no 'nosuch'"]),
        ("adapter: python\nfunction: json:__name__", ["is not a function but 'json'"]),
        ("adapter: panel", ["the key 'judges' is missing"]),
        ("adapter: panel\njudges: []", ["a panel needs a member"]),
        ("adapter: panel\njudges: [nosuch]", ["no judge named 'nosuch'"]),
        ("adapter: panel\njudges: [length, length]", ["two judges are named 'length'"]),
        ("adapter: panel\njudges: [./mine.yaml]", ["the panel is a member of itself"]),
        ("adapter: panel\njudges: [{judge: length, wait: 2}]", ["judges.0", "unknown key 'wait'"]),
        ("adapter: lexicon", ["name either `words` (a list) or `file`"]),
        ("adapter: lexicon\nfile: ./missing.txt", ["missing.txt: cannot be read: No such file or directory"]),
        ("- a\n- list", ["a card is a mapping of keys to values"]),
        ("just text", ["a card is a mapping of keys to values"]),
        ("", ["a card is a mapping of keys to values"]),
        ("adapter: [", ["line 1", "not valid YAML"]),
        ("adapter: !!python/object/apply:os.system [id]", ["not valid YAML"]),
        ("adapter: &a [*a]", ["mine.yaml"]),
        ("1: 2\nadapter: constant", ["the key 1 should be text"]),
    ],
)
def test_a_wrong_card_names_card_and_key(main, here, card, words):
    Path("mine.yaml").write_text(card)
    done = main("score", "-j", "./mine.yaml", "--text", "a")
    assert "mine" in refused(done, 2, *words)
    assert done.stdout == ""


@pytest.mark.parametrize("content", [b"\xff\xfe", b"adapter: \x00", b'adapter: "\\ud800"'])
def test_a_card_that_is_no_text_is_refused(main, here, content):
    Path("mine.yaml").write_bytes(content)
    refused(main("score", "-j", "./mine.yaml", "--text", "a"), 2, "mine.yaml")


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("toxicty", ["no judge named 'toxicty'", "did you mean 'toxicity'?", "`rlaif judges` lists them"]),
        ("./missing.yaml", ["missing.yaml: no such judge file"]),
        ("{adapter: length", ["the inline card", "not valid YAML"]),
        ("{name: x}", ["the inline card", "'adapter' is missing"]),
        ("{adapter: length, midpoint: 0}", ["midpoint: should be greater than 0"]),
        ("", ["a judge is named by"]),
        ("\0", ["no judge named"]),
        ("a" * 5000, ["no judge named"]),
        ("../../etc/passwd", ["no such judge file"]),
        ("./folder.yaml", ["no such judge file"]),
    ],
)
def test_a_judge_that_is_not_there_is_refused(main, here, judge, words):
    Path("folder.yaml").mkdir()
    refused(main("score", "-j", judge, "--text", "a"), 2, *words)


def test_a_hub_id_without_a_network_says_what_to_do(main):
    card = "{name: far, adapter: classifier, model: nobody/nothing-of-this-name, bad: hate}"
    refused(main("score", "-j", card, "--text", "a"), 2, "nobody/nothing-of-this-name", "far", "name a local one")


def test_a_model_without_the_named_label_lists_those_it_has(main, shared):
    model = shared / "models" / "toxicity-roberta"
    card = f"{{name: mine, adapter: classifier, model: {model}, bad: hatred}}"
    labels = json.loads((model / "config.json").read_text())["id2label"].values()
    refused(main("score", "-j", card, "--text", "a"), 2, "mine: bad: ", "no label 'hatred'", "it has: ", *labels)


def test_a_folder_that_is_no_model_is_refused(main, here):
    Path("empty").mkdir()
    card = "{name: mine, adapter: classifier, model: ./empty, bad: hate}"
    refused(main("score", "-j", card, "--text", "a"), 2, "mine", "empty")


# --- data -----------------------------------------------------------------------------------------------------


def test_data_without_the_column_lists_those_it_has(main, here):
    Path("x.jsonl").write_text('{"tweet": "a"}\n')
    refused(
        main("score", "-j", "length", "--data", "x.jsonl"),
        2, "x.jsonl, line 1", "neither 'completion' nor 'text'", "there are: tweet", "--column completion=NAME",
    )  # fmt: skip


def test_a_judge_that_reads_the_prompt_refuses_data_without_one(main, here):
    tiny.classifier(here / "model")
    card = "{adapter: classifier, model: ./model, bad: hate, text: prompt_and_completion}"
    Path("x.jsonl").write_text('{"text": "a"}\n')
    refused(main("score", "-j", card, "--data", "x.jsonl"), 2, "x.jsonl, line 1: the judge needs the column 'prompt'")
    refused(main("score", "-j", card, "--text", "a"), 2, "'prompt'", "--text cannot give; use --data FILE")


def test_malformed_json_in_line_17_is_refused_with_the_line(main, here):
    Path("x.jsonl").write_text('{"text": "a"}\n' * 16 + '{"text": "a"\n')
    refused(main("score", "-j", "length", "--data", "x.jsonl"), 2, "x.jsonl, line 17: malformed JSON")


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.txt"])
def test_an_empty_file_is_refused(main, here, name):
    Path(name).touch()
    refused(main("score", "-j", "length", "--data", name), 2, f"{name}: has no rows")


def test_empty_text_is_an_abstention(main, here):
    Path("x.txt").write_text("\n \n\u2003\n")
    done = main("score", "-j", "lexicon", "--data", "x.txt")
    assert done.returncode == 0
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["empty"] * 3


@pytest.mark.parametrize("text", ["word " * 20_000, "\ud800 and \udfff", "a\0b", "\x1b[31m"])
@pytest.mark.parametrize("judge", ["length", "lexicon", "random", "constant", "function", "model"])
def test_odd_text_is_scored_and_given_back(main, here, shared, judge, text):
    Path("f.py").write_text("def f(completions): return [0.5] * len(completions)")
    cards = {
        "function": "{name: function, adapter: python, function: './f.py:f'}",
        "model": f"{{name: model, adapter: classifier, model: {shared / 'models' / 'toxicity-roberta'}, bad: hate}}",
    }
    Path("x.jsonl").write_text(json.dumps({"text": text}))
    done = main("score", "-j", cards.get(judge, judge), "--data", "x.jsonl")
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["completion"] == text
    assert line["status"] == "ok"
    assert line["shortened"] == (judge == "model" and len(text) > 10_000)


# --- functions ------------------------------------------------------------------------------------------------


def judged_by(main, body, *options):
    Path("f.py").write_text(f"def f(completions):\n    {body}\n")
    card = "{name: mine, adapter: python, function: './f.py:f'}"
    return main("score", "-j", card, "--text", "a", "--text", "b", *options)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return [1 / 0]", ["raised at", "f.py:2: ZeroDivisionError: division by zero"]),
        ("raise RuntimeError('first\\nsecond')", ["f.py:2: RuntimeError: first"]),
        ("raise KeyError", ["f.py:2: KeyError"]),
        ("import sys; sys.exit(0)", ["SystemExit"]),
        ("raise RecursionError('deep')", ["f.py:2: RecursionError: deep"]),
        ("return [0.5]", ["f.py:1", "returned 1 rewards for 2 completions; return one for each"]),
        ("return [0.5] * 3", ["f.py:1", "returned 3 rewards for 2 completions"]),
        ("return None", ["f.py:1) returned None", "return a list"]),
        ("return [0.5, float('nan')]", ["f.py:1", "returned nan; return a finite number, or None to abstain"]),
        ("return [0.5, float('-inf')]", ["f.py:1", "returned -inf"]),
        ("return [0.5, 1.5]", ["f.py:1", "returned 1.5, off its scale 0 to 1", "`scale: {worst, best}` sets it"]),
        ("return [0.5, 'high']", ["f.py:1", "returned 'high', which is no number"]),
        ("return [0.5, [0.5]]", ["f.py:1", "returned [0.5], which is no number"]),
    ],
)
def test_a_bug_of_a_function_stops_the_command_with_file_and_line(main, here, body, words):
    done = judged_by(main, body)
    assert "mine" in refused(done, 1, *words)
    assert done.stdout == ""


def test_none_from_a_function_is_an_abstention(main, here):
    done = judged_by(main, "return [None, 0.5]")
    assert done.returncode == 0
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["declined", "ok"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(completions: return", ["f.py:1: SyntaxError"]),
        ("import nosuchmodule", ["f.py:1: ModuleNotFoundError: No module named 'nosuchmodule'"]),
        ("raise SystemExit(0)", ["f.py:1: SystemExit"]),
        ("def g(completions): pass", ["has no 'f'"]),
        ("f = 5", ["is not a function but 5"]),
        ("async def f(completions): pass", ["is async"]),
        ("def f(completions, /): pass", ["takes positional arguments"]),
    ],
)
def test_a_function_that_cannot_be_had_is_the_users_input(main, here, source, words):
    Path("f.py").write_text(source)
    refused(main("score", "-j", "{name: m, adapter: python, function: './f.py:f'}", "--text", "a"), 2, *words)


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("lambda samples: []", ["judge mine: returned 0 judgements for 2 samples"]),
        ("lambda samples: 1 / 0", ["judge mine raised at", "odd.py:3: ZeroDivisionError"]),
        ("lambda samples: [Judgement('mine', 2.0)] * 2", ["judge mine raised", "the score 2.0 is not in [0, 1]"]),
        ("lambda samples: [Judgement('mine', None)] * 2", ["judge mine raised", "a status other than ok"]),
        ("None", ["returned no judge but None"]),
    ],
)  # fmt: skip
def test_a_bug_of_a_strangers_adapter_is_told_as_the_judges(main, here, judge, words):
    Path("odd.py").write_text(f"from rlaif import Judgement\ndef make(card, *, load):\n    return {judge}\n")
    done = main("score", "-j", "{name: mine, adapter: './odd.py:make'}", "--text", "a", "--text", "b")
    refused(done, 2 if judge == "None" else 1, *words)


def test_debug_shows_the_traceback(main, here, monkeypatch):
    monkeypatch.setenv("RLAIF_DEBUG", "1")
    done = judged_by(main, "raise RuntimeError('oh')")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert 'f.py", line 2, in f' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("rlaif: ")


def test_a_bug_after_the_first_chunk_says_what_is_kept(main, here):
    Path("x.jsonl").write_text('{"text": "a"}\n' * 5000)
    Path("f.py").write_text("def f(completions): return [0.5] * 4096")
    card = "{name: mine, adapter: python, function: './f.py:f'}"
    done = main("score", "-j", card, "--data", "x.jsonl", "-o", "out.jsonl")
    refused(done, 1, "returned 4096 rewards for 904 completions", "; 4096 texts were scored before, their lines are in")
    assert len(Path("out.jsonl").read_text().splitlines()) == 4096


# --- the command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scor"], ["No such command 'scor'", "`rlaif --help`"]),
        (["score"], ["Missing option '-j' / '--judge'", "`rlaif score --help`"]),
        (["score", "-j"], ["requires an argument"]),
        (["score", "-j", "length", "--txt", "a"], ["No such option", "--txt", "--text"]),
        (["score", "-j", "length", "--data", "x", "--limit", "ten"], ["--limit", "'ten'"]),
        (["score", "-j", "length", "extra"], ["extra"]),
    ],
)
def test_a_wrong_command_line_is_one_line(main, arguments, words):
    refused(main(*arguments), 2, *words)


def test_the_bare_command_prints_its_help(main):
    done = main()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: rlaif")
    assert len(done.stderr.splitlines()) > 10


def test_an_error_of_a_megabyte_stays_readable(main, here):
    done = main("score", "-j", "length", "--data", "x" * 100_000 + ".jsonl")
    assert len(refused(done, 2)) < 2500


def test_hostile_names_are_made_harmless_in_errors(main, here):
    Path("x.jsonl").write_text(json.dumps({"\x1b[2J\u202e\nevil\ud800": 1}))
    message = refused(main("score", "-j", "length", "--data", "x.jsonl"), 2, r"\x1b[2J\u202e")
    assert message.isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_refused(main, here):
    Path("closed").mkdir(mode=0o500)
    done = main("score", "-j", "length", "--text", "a", "-o", "closed/out.jsonl")
    refused(done, 2, "closed/out.jsonl: cannot be written: Permission denied")


# --- fuzz -----------------------------------------------------------------------------------------------------

KNOWN_KEYS = [
    "adapter", "name", "measures", "model", "bad", "good", "head", "text", "max_tokens", "device", "dtype", "function",
    "scale", "judges", "combine", "quorum", "value", "seed", "unit", "midpoint", "at_least", "at_most", "words", "file",
    "weight", "judge", "veto_below", "worst", "best",
]  # fmt: skip
KNOWN_VALUES = [
    "classifier", "python", "panel", "constant", "random", "length", "lexicon", "mean", "min", "median", "product",
    "all", "json:dumps", "./f.py:f", "./card.yaml", "words", ".", "./", "~", "~nobody/x", "/dev/null", "a:b", ":",
]  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=10)
    | st.sampled_from(KNOWN_VALUES)
)  # fmt: skip
KEYS = st.sampled_from(KNOWN_KEYS) | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
ADAPTERS = st.sampled_from(["constant", "random", "length", "lexicon", "panel", "python", "classifier"])


def reasonable(done):
    """Whatever came in: a status of the contract, and one line where it is not 0."""
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "a bug of rlaif" not in done.stderr
    if done.returncode:
        one_line(done)


@given(card=st.dictionaries(KEYS, VALUES, max_size=4), adapter=ADAPTERS)
@FUZZ
def test_no_card_makes_a_traceback(main, card, adapter):
    Path("card.yaml").write_text(yaml.safe_dump({**card, "adapter": card.get("adapter", adapter)}), errors="replace")
    reasonable(main("score", "-j", "./card.yaml", "--text", "some text"))
    reasonable(main("judges", "./card.yaml"))


BYTES = (
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.from_regex(rb"(adapter: [\w:./]{1,9}\n)?([-{\[&*!|>'\"?%@` \n:a]{1,9}){1,5}")
)


@given(st.lists(BYTES, min_size=10, max_size=10))
@settings(FUZZ, max_examples=15)
def test_no_bytes_for_a_card_make_a_traceback(main, contents):
    """Ten cards at a time: the list reads all that are shipped, too, which takes longer than ten scores."""
    Path("judges").mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        Path(f"judges/card{number}.yaml").write_bytes(content)
        reasonable(main("score", "-j", f"card{number}", "--text", "some text"))
    listed = main("judges")
    assert listed.returncode == 0, listed.stderr


@given(
    st.text(st.characters(exclude_characters="\0"), max_size=30),
    st.sampled_from(["-j", "--set", "--data", "--column", "-o"]),
)
@FUZZ
def test_no_word_of_the_command_line_makes_a_traceback(main, word, option):
    word = re.sub(r"[/~]", "_", word)  # nothing outside the test's folder
    given_ = ["--data", "x.txt"] if option in ("--column", "-o") else [] if option == "--data" else ["--text", "a"]
    Path("x.txt").write_text("a\n")
    judge = [] if option == "-j" else ["-j", "length"]
    if option == "--data" and re.fullmatch(r"[\w.-]+", word):
        word += "?"  # not a name to ask the hub for
    if not (option == "-o" and Path(word).exists()):
        reasonable(main("score", *judge, *given_, f"{option}={word}" if option.startswith("--") else f"{option}{word}"))


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from(["jsonl", "csv", "txt", "parquet"])
)
@FUZZ
def test_no_bytes_for_data_make_a_traceback(main, content, suffix):
    Path(f"x.{suffix}").write_bytes(content)
    reasonable(main("score", "-j", "lexicon", "--data", f"x.{suffix}"))
    Path(f"x.{suffix}").write_bytes(b"text\n" + content)
    reasonable(main("score", "-j", "lexicon", "--data", f"x.{suffix}"))


MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "name"]), SCALARS | st.lists(st.dictionaries(st.just("text"), SCALARS))
    )
)


COLUMNS = st.sampled_from(["completion", "prompt", "text", "gold", "prompts", "completions", "self", ""])


@given(st.lists(st.dictionaries(COLUMNS, VALUES | MESSAGES), min_size=1, max_size=4))
@FUZZ
def test_no_row_makes_a_traceback(main, rows):
    Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("f.py").write_text("def f(prompts, completions, **columns): return [0.5] * len(completions)")
    function = "{name: function, adapter: python, function: './f.py:f'}"
    reasonable(main("score", "-j", "length", "-j", "lexicon", "-j", "random", "-j", function, "--data", "x.jsonl"))
