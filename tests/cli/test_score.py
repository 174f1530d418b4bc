"""`rlaif score`, `rlaif judges` and `rlaif check -j`: what is written where, in processes and terminals as they are."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlaif.core.system.terminal import harmless
from rlaif.core.types import STATUSES
from rlaif.judges.scoring import CHUNK_ROWS
from tests.conftest import one_line

KEYS = ["prompt", "completion", "judge", "score", "logit", "raw", "status", "reason", "shortened", "parts", "usage"]
USAGE = ["input_tokens", "output_tokens", "cached_tokens", "usd", "seconds", "attempts", "from_store"]
COMMAND = [sys.executable, "-m", "rlaif"]

HOSTILE = [
    "\x1b[2J\x1b]0;title\x07red", "a\u202edcba", "nul\0nul", "\ud800 lone \udfff", "two\r\nlines\u2028here", "\x9b31m"
]  # fmt: skip
PRINTING = [
    ["score", "-j", "length", "--data", "x.jsonl"], ["judges"], ["judges", "lexicon"], ["check", "-j", "length"],
    ["--help"],
]  # fmt: skip

ODD_ADAPTER = """
from rlaif import Judgement

STATUSES = {"empty", "declined", "refused"}

def make(card, *, load):
    def judge(samples):
        return [
            Judgement("odd", None, status=s.completion, reason="so it is") if s.completion in STATUSES
            else Judgement("odd", 0.25, shortened=len(s.completion) > 9) for s in samples
        ]
    return judge
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def write_rows(path, rows):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def numbered(path, count):
    return write_rows(path, ({"text": f"text {i}"} for i in range(count)))


def on_terminal(*arguments, columns=120, **env):
    """Run the command with standard output and error on a terminal; return exit status and what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **env},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            piece = b""
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[01]m", "", shown.decode())  # rich's bold


# --- lines ----------------------------------------------------------------------------------------------------


def test_a_line_has_the_keys_of_the_design(main):
    done = main("score", "-j", "lexicon", "--text", "You idiot.")
    (line,) = lines(done.stdout)
    assert done.returncode == 0
    assert list(line) == KEYS
    assert list(line["usage"]) == USAGE
    assert line | {"usage": None} == {
        "prompt": "", "completion": "You idiot.", "judge": "lexicon", "score": 0.5, "logit": None, "raw": 1,
        "status": "ok", "reason": "", "shortened": False, "parts": [], "usage": None,
    }  # fmt: skip


def test_an_abstention_has_null_for_a_score_and_says_why(main):
    (line,) = lines(main("score", "-j", "lexicon", "--text", "  ").stdout)
    assert (line["score"], line["raw"], line["status"]) == (None, None, "empty")
    assert line["reason"] == "the completion is blank"
    assert line["status"] in STATUSES


def test_a_panel_shows_its_members(main):
    panel = "{name: both, adapter: panel, judges: [lexicon, length]}"
    (line,) = lines(main("score", "-j", panel, "--text", "You idiot.").stdout)
    assert [part["judge"] for part in line["parts"]] == ["lexicon", "length"]
    assert list(line["parts"][0]) == KEYS[2:]


def test_lines_come_in_the_order_of_the_texts_and_then_of_the_judges(main, here):
    rows = [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(5)]
    done = main("score", "-j", "length", "-j", "lexicon", "--data", write_rows("x.jsonl", rows))
    told = [(line["prompt"], line["completion"], line["judge"]) for line in lines(done.stdout)]
    assert told == [(f"q{i}", f"a{i}", judge) for i in range(5) for judge in ("length", "lexicon")]


def test_the_output_file_holds_what_a_pipe_gets(main, here):
    data = write_rows("x.jsonl", [{"text": "a"}, {"text": "you idiot"}])
    piped = main("score", "-j", "lexicon", "--data", data)
    filed = main("score", "-j", "lexicon", "--data", data, "-o", "out.jsonl")
    assert filed.stdout == ""

    def without_seconds(text):
        return [{**line, "usage": {**line["usage"], "seconds": 0}} for line in lines(text)]

    assert without_seconds(Path("out.jsonl").read_text()) == without_seconds(piped.stdout)


def test_output_overwrites(main, here):
    Path("out.jsonl").write_text("older and longer\n" * 100)
    main("score", "-j", "length", "--text", "a", "-o", "out.jsonl")
    assert len(lines(Path("out.jsonl").read_text())) == 1


def test_a_dash_means_standard_output(main, here):
    assert len(lines(main("score", "-j", "length", "--text", "a", "-o", "-").stdout)) == 1
    assert not Path("-").exists()


def test_a_refused_command_leaves_the_older_output_alone(main, here):
    Path("out.jsonl").write_text("older\n")
    Path("x.jsonl").write_text('{"text": "a"}\nnonsense\n')
    assert main("score", "-j", "length", "--data", "x.jsonl", "-o", "out.jsonl").returncode == 2
    assert main("score", "-j", "nosuch", "--text", "a", "-o", "out.jsonl").returncode == 2
    assert Path("out.jsonl").read_text() == "older\n"


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_went_in(main, texts):
    write_rows("x.jsonl", [{"prompt": text, "completion": text} for text in texts])
    done = main("score", "-j", "length", "--data", "x.jsonl")
    given_back = [(line["prompt"], line["completion"]) for line in lines(done.stdout.replace("\x85", "\\u0085"))]
    expected = [json.loads(line)["completion"] for line in Path("x.jsonl").read_text().splitlines()]
    assert given_back == [(text, text) for text in expected]


@pytest.mark.parametrize("count", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1])
def test_no_row_is_lost_at_the_edge_of_a_chunk(main, here, count):
    main("score", "-j", "length", "--data", numbered("x.jsonl", count), "-o", "out.jsonl")
    assert [line["completion"] for line in lines(Path("out.jsonl").read_text())] == [f"text {i}" for i in range(count)]


def test_a_column_of_the_data_reaches_a_function(main, here):
    Path("f.py").write_text("def f(completions, gold): return [float(c == g) for c, g in zip(completions, gold)]")
    data = write_rows("x.jsonl", [{"tweet": "a", "gold": "a"}, {"tweet": "a", "gold": "b"}])
    card = "{adapter: python, function: './f.py:f'}"
    done = main("score", "-j", card, "--data", data, "--column", "completion=tweet")
    assert [line["score"] for line in lines(done.stdout)] == [1, 0]


# --- the table and the summary --------------------------------------------------------------------------------


def test_a_terminal_shows_score_and_toxicity_beside_each_other(here):
    status, shown = on_terminal("score", "-j", "lexicon", "-j", "length", "--text", "You idiot, you fool.")
    assert status == 0
    header, lexicon, length = shown.splitlines()[:3]
    assert header.split("  ")[0] == "text"
    assert [word.strip() for word in header.split("  ") if word] == ["text", "judge", "score ↑", "toxicity ↓", "status"]
    assert lexicon.split() == ["You", "idiot,", "you", "fool.", "lexicon", "0.333", "0.667", "ok"]
    assert length.split() == ["length", "0.074", "ok"]
    assert "{" not in shown


def test_a_terminal_shows_no_toxicity_where_no_judge_measures_harm(here):
    _, shown = on_terminal("score", "-j", "length", "--text", "You idiot.")
    assert shown.splitlines()[0].split() == ["text", "judge", "score", "↑", "status"]


def test_a_terminal_shows_no_number_where_a_judge_abstained(here):
    _, shown = on_terminal("score", "-j", "lexicon", "--text", " ")
    assert shown.splitlines()[1].split() == ["lexicon", "–", "–", "empty", "(the", "completion", "is", "blank)"]


def test_hostile_text_cannot_steer_the_terminal_and_stays_exact_in_the_file(here):
    data = write_rows("x.jsonl", [{"text": text} for text in HOSTILE])
    status, shown = on_terminal("score", "-j", "length", "--data", data, columns=200)
    assert status == 0
    assert all(c.isprintable() for c in shown.replace("\r\n", ""))
    for escaped in (r"\x1b[2J\x1b]0;title\x07red", r"a\u202edcba", r"nul\x00nul", r"\ud800 lone \udfff", r"\x9b31m"):
        assert escaped in shown
    on_terminal("score", "-j", "length", "--data", data, "-o", "out.jsonl")
    assert [line["completion"] for line in map(json.loads, Path("out.jsonl").read_bytes().split(b"\n")[:-1])] == HOSTILE


def test_a_long_table_is_cut_and_says_how_to_get_the_rest(here):
    _, shown = on_terminal("score", "-j", "length", "--data", numbered("x.jsonl", 60))
    assert "text 49" in shown
    assert "text 50" not in shown
    assert "… and 10 more; -o FILE keeps them all" in shown


def test_a_narrow_terminal_still_names_the_judge(here):
    _, shown = on_terminal("score", "-j", "length", "--text", "word " * 100, columns=60)
    assert "length" in shown
    assert all(len(line) <= 60 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("plain", None, "plain"),
        ("two\nlines\t\u2028here", None, "two lines here"),
        ("\x1b[31m\u202e\0\ud800\u200b", None, r"\x1b[31m\u202e\x00\ud800\u200b"),
        ("x" * 10, 10, "x" * 10),
        ("x" * 11, 10, "x" * 9 + "…"),
        (" " * 1000 + "late", 10, "late"),
        ("a" + " " * 1000 + "b", 10, "a…"),
        ("\0" * 10, 10, "\\x00\\x00\\…"),
        ("日本語", None, "日本語"),
    ],
)
def test_harmless_text(text, width, expected):
    assert harmless(text, width) == expected


def test_the_summary_counts_scored_abstained_by_status_and_shortened(main, here):
    Path("odd.py").write_text(ODD_ADAPTER)
    texts = ["fine", "longer than nine", "empty", "declined", "declined", "refused"]
    arguments = [word for text in texts for word in ("--text", text)]
    done = main("score", "-j", "{name: odd, adapter: './odd.py:make', measures: hate}", *arguments)
    header, row, last = done.stderr.splitlines()
    assert re.split(r"  +", header.strip()) == [
        "judge", "scored", "abstained", "truncated", "score ↑", "toxicity ↓", "seconds"
    ]  # fmt: skip
    cells = re.split(r"  +", row.strip())
    assert cells == ["odd", "2", "2 declined, 1 empty, 1 refused", "1", "0.250", "0.750", "0.00"]
    assert re.fullmatch(r"6 texts in \d+\.\d s, \d+ a second", last)


def test_a_judge_of_no_harm_has_no_toxicity_in_the_summary(main):
    row = main("score", "-j", "length", "--text", "a").stderr.splitlines()[1]
    assert row.split()[4:6] == ["0.020", "–"]


def test_a_judge_that_always_abstained_has_no_mean(main):
    row = main("score", "-j", "lexicon", "--text", " ").stderr.splitlines()[1]
    assert row.split() == ["lexicon", "0", "1", "empty", "0", "–", "–", "0.00"]


# --- options --------------------------------------------------------------------------------------------------


def test_set_changes_a_card_for_one_command(main):
    done = main("score", "-j", "constant", "-j", "length", "--set", "constant.value=0.125", "--text", "a")
    assert [line["score"] for line in lines(done.stdout)] == [0.125, 1 / 51]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "constnt.value=0.1"], "--set 'constnt.value=0.1': no judge of this name takes part"),
        (["--set", "value=0.1"], "should be NAME.key=value"),
        (["--set", "constant.value"], "should be NAME.key=value"),
        (["--set", "constant.value=[1"], "--set constant.value"),
        (["--set", "constant.value=2"], "constant.yaml with --set: value: should be less than or equal to 1"),
        (["--set", "constant.valu=1"], "unknown key 'valu' (did you mean 'value'?)"),
        (["-j", "constant"], "two judges are named 'constant'"),
        (["-j", "{adapter: length, name: constant}"], "two judges are named 'constant'"),
        (["--column", "completion=text"], "--column, --split and --limit apply to --data only"),
        (["--limit", "1"], "--column, --split and --limit apply to --data only"),
        (["--split", "test"], "--column, --split and --limit apply to --data only"),
        (["--data", "x.jsonl"], "--text or with --data"),
        (["-o", "nowhere/out.jsonl"], "nowhere/out.jsonl: there is no folder nowhere; create it first"),
        (["-o", "."], ".: is a folder"),
        (["-o", "file/out.jsonl"], "file/out.jsonl: there is no folder file"),
        (["-o", "x" * 5000], "cannot be written: File name too long"),
        (["-o", "\ud800"], "cannot be written: "),
    ],
)
def test_a_wrong_option_is_refused(main, here, options, words):
    Path("file").write_text("")
    done = main("score", "-j", "constant", "--text", "a", *options)
    assert done.returncode == 2
    assert words in one_line(done)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--column", "tweet"], "should be NEW=OLD"),
        (["--column", "=tweet"], "should be NEW=OLD"),
        (["--column", "completion="], "should be NEW=OLD"),
        (["--column", "completion=a", "--column", "completion=b"], "'completion' is named twice: a and b"),
        (["--limit", "0"], "--limit"),
        (["--split", "test"], "has no splits"),
        (["-o", "x.jsonl"], "x.jsonl: is the input file of --data; name another file with -o"),
        (["-o", "./link.jsonl"], "is the input file of --data"),
    ],
)
def test_a_wrong_option_for_data_is_refused(main, here, options, words):
    Path(write_rows("x.jsonl", [{"text": "a"}])).with_name("link.jsonl").symlink_to("x.jsonl")
    done = main("score", "-j", "constant", "--data", "x.jsonl", *options)
    assert done.returncode == 2
    assert words in one_line(done)
    assert Path("x.jsonl").read_text() == '{"text": "a"}\n'


def test_no_text_and_no_data_is_refused(main):
    done = main("score", "-j", "constant")
    assert done.returncode == 2
    assert "--text or with --data" in one_line(done)


def test_a_dry_run_counts_and_writes_nothing(main, here):
    data = write_rows("x.jsonl", [{"text": "a"}, {"text": "b"}])
    done = main("score", "-j", "length", "-j", "lexicon", "--data", data, "-o", "out.jsonl", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "2 texts; no judge was asked\n")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        [judge, "0", "0", "0", "0.0000"] for judge in ("length", "lexicon")
    ]
    assert not Path("out.jsonl").exists()


def test_a_dry_run_checks_the_data(main, rlaif, here):
    done = main("score", "-j", "length", "--data", write_rows("x.jsonl", [{"text": "a"}, {}]), "--dry-run")
    assert done.returncode == 2
    assert "x.jsonl, line 2" in one_line(done)
    done = rlaif("score", "-j", "length", "--data", "-", "--dry-run", stdin="a\nb\nc\n")
    assert done.stderr.startswith("3 texts; ")


# --- standard input, pipes, signals, disks --------------------------------------------------------------------


def test_standard_input_is_scored(rlaif):
    done = rlaif("score", "-j", "length", "--data", "-", stdin="a b\n\nc\n")
    assert [(line["completion"], line["raw"]) for line in lines(done.stdout)] == [("a b", 2), ("", 0), ("c", 1)]


def test_empty_standard_input_is_refused(rlaif):
    done = rlaif("score", "-j", "length", "--data", "-")
    assert done.returncode == 2
    assert one_line(done) == "rlaif: standard input: has no rows"


@pytest.mark.parametrize("options", [[], ["-o", "out.jsonl"]])
def test_rows_before_a_wrong_one_on_standard_input_are_kept(rlaif, here, options):
    rows = "".join(f'{{"text": "text {i}"}}\n' for i in range(1, 5000))
    done = rlaif("score", "-j", "length", "--data", "-", *options, stdin=rows + "nonsense\n" + rows)
    assert done.returncode == 2
    message = one_line(done)
    assert message.startswith("rlaif: standard input, line 5000: malformed JSON: ")
    assert "; 4999 texts were scored before" in message
    assert message.endswith("their lines are in out.jsonl") == bool(options)
    written = Path("out.jsonl").read_text() if options else done.stdout
    assert [line["completion"] for line in lines(written)] == [f"text {i}" for i in range(1, 5000)]


def test_a_wrong_row_in_a_file_is_found_before_any_work(rlaif, here):
    with Path(numbered("x.jsonl", 4999)).open("a") as file:
        file.write("nonsense\n")
    done = rlaif("score", "-j", "length", "--data", "x.jsonl")
    assert done.returncode == 2
    assert done.stdout == ""
    assert one_line(done).startswith("rlaif: x.jsonl, line 5000: malformed JSON")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_leaves_ends_the_command_quietly(here, arguments):
    numbered("x.jsonl", 3 * CHUNK_ROWS)
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # what `| head -1` does once it has its line
    assert process.stderr.read() == b""
    assert process.wait() == 0


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_behind_standard_output_is_one_line(here, arguments):
    numbered("x.jsonl", 10)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"rlaif: standard output: .*No space left on device\n", done.stderr)


def test_a_full_disk_is_one_line_that_names_the_file(rlaif, here):
    done = rlaif("score", "-j", "length", "--data", numbered("x.jsonl", 2 * CHUNK_ROWS), "-o", "/dev/full")
    assert done.returncode == 1
    assert one_line(done) == "rlaif: /dev/full: cannot be written: No space left on device"


def test_an_interrupt_keeps_what_is_scored(here):
    process = subprocess.Popen(
        [*COMMAND, "score", "-j", "length", "--data", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("text\n" * (CHUNK_ROWS + 10))
    process.stdin.flush()
    for _ in range(CHUNK_ROWS):
        assert json.loads(process.stdout.readline())["completion"] == "text"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.strip().startswith("rlaif: interrupted")


def test_an_interrupt_does_not_wait_for_a_judge_at_work(here):
    # The judge's second call says that it is there, and then waits for what never comes.
    os.mkfifo("at_work")
    os.mkfifo("never")
    Path("slow.py").write_text(
        f"def f(completions):\n"
        f"    if len(completions) < {CHUNK_ROWS}:\n"
        f"        open('at_work', 'w').close()\n"
        f"        open('never').read()\n"
        f"    return [0.5] * len(completions)\n"
    )
    arguments = ["-j", "length", "-j", "{name: slow, adapter: python, function: './slow.py:f'}", "-o", "out.jsonl"]
    ready = os.open("at_work", os.O_RDONLY | os.O_NONBLOCK)
    data = numbered("x.jsonl", CHUNK_ROWS + 10)
    process = subprocess.Popen([*COMMAND, "score", *arguments, "--data", data], stderr=subprocess.PIPE, text=True)
    assert select.select([ready], [], [], 60)[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    os.close(ready)
    assert process.returncode == 130
    assert err.strip() == f"rlaif: interrupted: {CHUNK_ROWS} texts were scored before, their lines are in out.jsonl"
    assert len(lines(Path("out.jsonl").read_text())) == 2 * CHUNK_ROWS


C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_lines_are_utf8_whatever_the_locale(here):
    write_rows("x.jsonl", [{"text": "é 日本 😀"}])
    done = subprocess.run(
        [*COMMAND, "score", "-j", "length", "--data", "x.jsonl"], capture_output=True, env={**os.environ, **C_LOCALE}
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["completion"] == "é 日本 😀"


def test_a_terminal_without_arrows_is_no_reason_to_fail(here):
    data = write_rows("x.jsonl", [{"text": "é 日本 😀"}])
    status, shown = on_terminal("score", "-j", "lexicon", "--data", data, **C_LOCALE)
    assert status == 0
    assert r"score \u2191" in shown
    assert r"\xe9" in shown


# --- memory ---------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(here):
    def peak_mb(rows):
        numbered("x.jsonl", rows)
        with Path("err").open("w") as err:
            process = subprocess.Popen([*COMMAND, "score", "-j", "lexicon", "--data", "x.jsonl", "-o", "o"], stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        with Path("o").open("rb") as file:
            assert sum(1 for _ in file) == rows
        return usage.ru_maxrss / 1024

    small, large = peak_mb(20_000), peak_mb(150_000)
    assert large - small < 25, (small, large)


# --- rlaif judges ---------------------------------------------------------------------------------------------


def test_judges_lists_the_cards_and_whether_each_is_ready(main):
    done = main("judges")
    rows = {row.split()[0]: row for row in done.stdout.splitlines()}
    assert done.returncode == 0
    assert rows["lexicon"].split() == ["lexicon", "lexicon", "toxicity", "yes"]
    assert {"constant", "length", "random", "toxicity", "toxicity_general", "toxic_bert"} <= rows.keys()


def test_a_card_in_the_working_directory_hides_the_shipped_one(main, here):
    Path("judges").mkdir()
    Path("judges/lexicon.yaml").write_text("adapter: constant\nmeasures: kindness\n")
    Path("judges/mine.yaml").write_text("adapter: nosuch\n")
    Path("judges/evil.yaml").write_text("adapter: 5\nname: \x1b[31m\n")
    shown = main("judges").stdout
    rows = {row.split()[0]: row for row in shown.splitlines()}
    assert rows["lexicon"].split() == ["lexicon", "constant", "kindness", "yes"]
    assert "unknown adapter 'nosuch'" in " ".join(shown.split())
    assert rows["mine"].split()[:4] == ["mine", "?", "?", "broken:"]
    assert rows["evil"].split()[3] == "broken:"


def test_a_missing_model_is_told_of_its_card(main):
    row = next(row for row in main("judges").stdout.splitlines() if row.startswith("toxic_bert "))
    assert row.rstrip().endswith(("is not downloaded yet", "yes"))


def test_a_card_is_printed_to_copy(main, here):
    done = main("judges", "lexicon")
    path = done.stderr.strip().removeprefix("from ")
    assert done.stdout == Path(path).read_text()
    Path("judges").mkdir()
    Path("judges/copy.yaml").write_text(done.stdout)
    scored = main("score", "-j", "copy", "--text", "You idiot.")
    assert [line["judge"] for line in lines(scored.stdout)] == ["copy"]


def test_an_unknown_card_is_refused_with_a_hint(main):
    done = main("judges", "toxicty")
    assert done.returncode == 2
    assert "did you mean 'toxicity'?" in one_line(done)


# --- rlaif check ----------------------------------------------------------------------------------------------


def test_check_probes_each_judge(main):
    done = main("check", "-j", "lexicon", "-j", "{adapter: length, name: words}", "--set", "words.midpoint=5")
    assert (done.returncode, done.stderr) == (0, "")
    header, lexicon, words = (re.split(r"  +", row.strip()) for row in done.stdout.splitlines())
    assert header == ["judge", "measures", "score ↑", "toxicity ↓", "seconds", "status"]
    assert lexicon == ["lexicon", "toxicity", "1.000", "0.000", "0.00", "ok"]
    assert words == ["words", "quality", "0.500", "–", "0.00", "ok"]


def test_check_tells_a_broken_judge_in_one_line_and_probes_the_others(main, here):
    done = main("check", "-j", "nosuch", "-j", "length")
    assert done.returncode == 2
    assert "no judge named 'nosuch'" in one_line(done)
    assert [row.split()[-1] for row in done.stdout.splitlines()] == ["status", "failed", "ok"]


def test_check_exits_with_the_status_of_the_worst(main, here):
    Path("f.py").write_text("def f(completions): raise ValueError('no')")
    raising = "{name: mine, adapter: python, function: './f.py:f'}"
    done = main("check", "-j", raising)
    assert done.returncode == 1
    assert "ValueError: no" in one_line(done)
    done = main("check", "-j", raising, "-j", "nosuch")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2


def test_check_gives_a_function_the_columns_it_needs(main, here):
    Path("f.py").write_text("def f(completions, gold): return [float(isinstance(g, str)) for g in gold]")
    done = main("check", "-j", "{name: mine, adapter: python, function: './f.py:f'}")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[2] == "1.000"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to check"),
        (["-j", "length", "--set", "lenth.midpoint=5"], "no judge of this name"),
        (["-j", "length", "--set", "length.midpoint=-5"], "length.yaml with --set: midpoint: "),
        (["-j", "length", "--set", "midpoint=5"], "should be NAME.key=value"),
        (["missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_check_refuses_what_is_wrong(main, here, arguments, words):
    done = main("check", *arguments)
    assert done.returncode == 2
    assert words in one_line(done)


def test_check_reads_a_run_file_and_its_judges(main, here, policy_folder):
    Path("runs").mkdir()
    Path("runs/words.txt").write_text("weather\n")
    Path("prompts.txt").write_text("".join(f"Why {i}?\n" for i in range(40)))
    Path("runs/run.yaml").write_text(
        f"policy: {{model: {policy_folder('llama')}}}\ndata: {{dataset: prompts.txt}}\n"
        "judge: {name: mine, adapter: lexicon, file: ./words.txt}\nguard: {judges: [length]}\n"
    )
    done = main("check", "runs/run.yaml", "--quick", "--set", "training.steps=3")
    assert done.returncode == 0, done.stderr
    judges = done.stdout.partition("\n\n")[0]
    assert [row.split()[0] for row in judges.splitlines()] == ["judge", "mine", "length"]
    assert main("check", "runs/run.yaml", "--set", "training.stps=3").returncode == 2
