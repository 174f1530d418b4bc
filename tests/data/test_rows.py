"""Rows of files, pipes and lists: what is read, and which line is named when it cannot be."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import sys
import threading
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.types import Sample
from rlaif.data.rows import RowSource, make_samples
from rlaif.judges.scoring import CHUNK_CHARACTERS, CHUNK_ROWS, chunks


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into the working directory and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        raw = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return "-"

    return give


def texts(name, **keywords):
    return [sample.completion for sample in RowSource(name, **keywords).samples()]


def refusal(name, **keywords):
    with pytest.raises(InputError) as caught:
        RowSource(name, **keywords).check()
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- JSON lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"completion": "a"}\n{"completion": "b"}\n', ["a", "b"]),
        ('{"completion": "a"}\n{"completion": "b"}', ["a", "b"]),
        ('\n  \n{"completion": "a"}\n\n{"completion": "b"}\n\n', ["a", "b"]),
        ('{"completion": "a"}\r\n{"completion": "b"}\r\n', ["a", "b"]),
        (b'\xef\xbb\xbf{"completion": "a"}\n', ["a"]),
        ('{"text": "one\u2028two\u2029three\x85four"}\n{"text": "b"}\n', ["one\u2028two\u2029three\x85four", "b"]),
        ('{"completion": "a\\nb"}\n', ["a\nb"]),
        ('{"completion": "\\ud800 \\udfff"}\n', ["\ud800 \udfff"]),
        ('{"completion": "\\ud83d\\ude00"}\n', ["😀"]),
        ('{"completion": "a\\u0000b"}\n', ["a\0b"]),
        ('{"completion": ""}\n', [""]),
        ('{"text": "a"}\n', ["a"]),
        ('{"text": "other", "completion": "a"}\n', ["a"]),
    ],
    ids=["plain", "no-last-newline", "blank-lines", "crlf", "bom", "line-separators", "escaped-newline",
         "lone-surrogates", "surrogate-pair", "nul", "empty-text", "text-column", "completion-before-text"],
)  # fmt: skip
def test_jsonl_is_read_as_written(write, content, expected):
    assert texts(write("x.jsonl", content)) == expected


def test_malformed_json_names_its_line(write):
    lines = ['{"completion": "a"}'] * 20
    lines[16] = '{"completion": "a"'
    message = refusal(write("x.jsonl", "\n".join(lines)))
    assert message.startswith("x.jsonl, line 17: malformed JSON: ")


def test_blank_lines_count_as_lines(write):
    assert refusal(write("x.jsonl", '\n\n{"completion": "a"}\n\nnonsense\n')).startswith("x.jsonl, line 5: ")


@pytest.mark.parametrize("value", ["[1]", '"text"', "5", "null", "true"])
def test_a_json_line_that_is_no_object_is_refused(write, value):
    message = refusal(write("x.jsonl", f'{{"completion": "a"}}\n{value}\n'))
    assert message.startswith("x.jsonl, line 2: should be a JSON object, not ")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
def test_bytes_that_are_not_utf8_name_their_line(write, suffix):
    head = b"" if suffix == "jsonl" else b"completion"
    message = refusal(write(f"x.{suffix}", head + b'\n{"completion": "\xe9t\xe9"}\n'))
    assert message.startswith(f"x.{suffix}, line 2: not UTF-8 text")
    assert message.endswith("save it as UTF-8")


def test_a_utf16_file_is_refused_in_words(write):
    assert "not UTF-8 text" in refusal(write("x.jsonl", '{"completion": "a"}'.encode("utf-16")))


@pytest.mark.parametrize("depth", [10, 900, 950, 960, 970, 980, 990, 1000, 5000, 100_000])
@pytest.mark.parametrize("frame", ["%s", '{"completion": %s}'])
def test_deep_nesting_is_refused_with_its_line(write, depth, frame):
    assert refusal(write("x.jsonl", frame % ("[" * depth + "]" * depth))).startswith("x.jsonl, line 1: ")


def test_a_nested_column_beside_the_text_is_kept(write):
    name = write("x.jsonl", '{"text": "a", "other": ' + "[" * 100 + "]" * 100 + "}")
    assert next(RowSource(name).samples()).columns["other"]


def test_a_number_of_too_many_digits_is_refused(write):
    assert "line 1: malformed JSON" in refusal(write("x.jsonl", f'{{"completion": {"1" * 5000}}}'))


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.jsonl", ""), ("x.jsonl", "\n \n"), ("x.jsonl", b"\xef\xbb\xbf"), ("x.csv", ""), ("x.csv", "completion\n"),
     ("x.csv", "\n\n"), ("x.txt", "")],
)  # fmt: skip
def test_a_file_without_rows_is_refused(write, name, content):
    assert refusal(write(name, content)) == f"{name}: has no rows"


# --- columns --------------------------------------------------------------------------------------------------

NO_TEXT = [
    "5",
    "1.5",
    "true",
    '{"role": "user", "content": "a"}',
    "[1]",
    '["a"]',
    '[{"role": "user"}]',
    '[{"content": 5}]',
]


@pytest.mark.parametrize(
    ("column", "value"), [("completion", "null"), *itertools.product(["completion", "prompt"], NO_TEXT)]
)
def test_a_value_that_is_no_text_is_refused(write, column, value):
    row = {"completion": "a"} | {column: json.loads(value)}
    message = refusal(write("x.jsonl", f'{{"text": "a"}}\n{json.dumps(row)}\n'))
    assert message.startswith(f"x.jsonl, line 2: '{column}' should be text or a list of messages, not ")


def test_a_null_prompt_is_no_prompt(write):
    name = write("x.jsonl", '{"completion": "a", "prompt": null}')
    assert next(RowSource(name).samples()).prompt == ""
    assert "needs the column 'prompt'" in refusal(name, needed={"prompt"})


def test_a_missing_completion_lists_the_columns_and_the_way_out(write):
    message = refusal(write("x.jsonl", '{"tweet": "a", "id": 1}'))
    assert message == (
        "x.jsonl, line 1: has neither 'completion' nor 'text'; there are: tweet, id; "
        "name the column of texts with --column completion=NAME"
    )


def test_a_row_that_lost_its_column_names_its_line(write):
    message = refusal(write("x.jsonl", '{"text": "a"}\n{"text": "b"}\n{"label": 1}\n'))
    assert message.startswith("x.jsonl, line 3: has neither")


def test_a_column_is_renamed(write):
    name = write("x.jsonl", '{"tweet": "a", "asked": "q", "completion": "old"}')
    sample = next(RowSource(name, {"completion": "tweet", "prompt": "asked"}).samples())
    assert (sample.completion, sample.prompt) == ("a", "q")
    assert sample.columns["tweet"] == "a"


def test_two_columns_change_places(write):
    name = write("x.jsonl", '{"completion": "a", "prompt": "b"}')
    sample = next(RowSource(name, {"completion": "prompt", "prompt": "completion"}).samples())
    assert (sample.completion, sample.prompt) == ("b", "a")


def test_a_renamed_column_that_is_not_there_is_refused_with_a_hint(write):
    message = refusal(write("x.jsonl", '{"tweets": "a"}'), columns={"completion": "tweet"})
    assert message == "x.jsonl, line 1: has no column 'tweet' (did you mean 'tweets'?); there are: tweets"


def test_a_column_that_a_judge_needs_is_asked_for(write):
    name = write("x.jsonl", '{"completion": "a", "reference": "r"}')
    assert RowSource(name, needed={"reference"}).check() == 1
    assert refusal(name, needed={"gold"}) == (
        "x.jsonl, line 1: the judge needs the column 'gold'; there are: completion, reference; "
        "name it with --column gold=NAME"
    )


def test_limit_reads_no_further(write):
    name = write("x.jsonl", '{"text": "a"}\n{"text": "b"}\nnonsense\n')
    assert texts(name, limit=2) == ["a", "b"]
    assert RowSource(name, limit=1).check() == 1
    assert "line 3" in refusal(name, limit=3)


def test_a_split_of_a_file_is_refused(write, stdin):
    assert refusal(write("x.txt", "a"), split="test") == (
        "x.txt: has no splits, only hub data sets do; leave --split out"
    )
    assert refusal(stdin("a"), split="test").startswith("standard input: has no splits")


# --- messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ([{"role": "assistant", "content": "hi"}], "hi"),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}], "User: hi\n\nAssistant: yo"),
        ([{"content": "hi"}, {"role": None, "content": "yo"}], "hi\n\nyo"),
        ([{"role": "user", "content": [{"text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}], "ab"),
        ([{"role": "user", "content": [{"type": "image", "text": None}, "b"]}], "b"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], ""),
        ([], ""),
        (None, None),
        (5, None),
        (b"", None),
        (b"bytes", None),
        ({"role": "user", "content": "a"}, None),
        (["a"], None),
        ([{"role": "user"}], None),
        ([{"content": 5}], None),
        ([{"content": [5]}], None),
        ([{"content": "a"}, {"content": {"text": "b"}}], None),
    ],
)  # fmt: skip
def test_messages_as_text(value, expected):
    assert text_of(value) == expected


def test_message_lists_in_a_file_become_text(write):
    row = {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yo"}]}
    sample = next(RowSource(write("x.jsonl", json.dumps(row))).samples())
    assert (sample.prompt, sample.completion) == ("hi", "yo")


# --- csv ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("completion,n\na,1\nb,2\n", ["a", "b"]),
        ("n,text\r\n1,a\r\n2,b\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfcompletion\na\n", ["a"]),
        ('completion\n"one\ntwo"\n"three\r\nfour"\nfive\n', ["one\ntwo", "three\r\nfour", "five"]),
        ('completion\n"said ""no"", twice"\n', ['said "no", twice']),
        ('completion\n""\na\n', ["", "a"]),
        ("\n\ncompletion\n\na\n\nb", ["a", "b"]),
        ("completion\none\u2028two\x85three\n", ["one\u2028two\x85three"]),
        ("completion\na\0b\n", ["a\0b"]),
    ],
    ids=["plain", "crlf", "bom", "quoted-newlines", "quoted-quotes", "empty-cell", "blank-lines", "separators", "nul"],
)
def test_csv_is_read_as_written(write, content, expected):
    assert texts(write("x.csv", content)) == expected


def test_a_cell_of_a_hundred_thousand_characters_is_read(write):
    long = "abc " * 25_000 + "\n" + "x" * 200_000
    assert texts(write("x.csv", f'completion,n\n"{long}",1\n')) == [long]


@pytest.mark.parametrize(("row", "count"), [("a", 1), ("a,b,c", 3)])
def test_a_row_with_another_number_of_cells_names_its_line(write, row, count):
    message = refusal(write("x.csv", f'completion,n\n"one\ntwo",1\n{row}\n'))
    assert message == f"x.csv, line 4: has {count} cells, and the header 2"


def test_an_error_in_a_row_of_many_lines_names_the_first(write):
    assert refusal(write("x.csv", 'completion,n\na,1\n"one\ntwo\nthree"\n')).startswith("x.csv, line 3: has 1 cells")


def test_a_quote_that_never_ends_names_the_row_it_began_in(write):
    message = refusal(write("x.csv", 'completion\na\n"b\nc\nd\n'))
    assert message == "x.csv, line 3: malformed CSV: unexpected end of data"


def test_a_column_that_stands_twice_is_refused(write):
    assert refusal(write("x.csv", "text,n,text\na,1,b\n")) == "x.csv, line 1: the column 'text' appears twice"


def test_a_csv_with_semicolons_shows_the_header_it_found(write):
    assert "there are: completion;n" in refusal(write("x.csv", "completion;n\na;1\n"))


# --- txt ------------------------------------------------------------------------------------------------------


def test_each_line_of_txt_is_a_sample_also_a_blank_one(write):
    assert texts(write("x.txt", "a\n\n  b \r\n{not json\nlast\r")) == ["a", "", "  b ", "{not json", "last"]


def test_only_one_line_end_is_taken_off(write):
    assert texts(write("x.txt", b"a\r\r\n\x0cb\n")) == ["a\r", "\x0cb"]


# --- parquet --------------------------------------------------------------------------------------------------


def test_parquet_round_trip(write):
    rows = [
        {"completion": f"text {i}\0\u2028", "prompt": None if i else "q", "n": i, "tags": ["a"] * (i % 3)}
        for i in range(3000)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), write("x.parquet", ""), row_group_size=700)
    samples = list(RowSource("x.parquet").samples())
    assert [dict(sample.columns) for sample in samples] == [{"n": row["n"], "tags": row["tags"]} for row in rows]
    assert [sample.completion for sample in samples] == [row["completion"] for row in rows]
    assert samples[0].prompt == "q"
    assert samples[1].prompt == ""


def test_parquet_holds_message_lists(write):
    rows = [{"completion": [{"role": "assistant", "content": "yo"}]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), write("x.parquet", ""))
    assert texts("x.parquet") == ["yo"]


@pytest.mark.parametrize("values", [[b""], [b"bytes"], [5], [None, "a"]])
def test_a_parquet_value_that_is_no_text_names_its_row(write, values):
    pyarrow.parquet.write_table(pyarrow.table({"completion": values}), write("x.parquet", ""))
    assert refusal("x.parquet").startswith("x.parquet, row 1: 'completion' should be text")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"completion\na\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_broken_parquet_file_is_refused(write, content):
    message = refusal(write("x.parquet", content))
    assert message.startswith(("x.parquet: not a parquet file that can be read: ", "x.parquet: cannot be read: "))


def test_a_cut_parquet_file_is_refused(write):
    pyarrow.parquet.write_table(pyarrow.table({"completion": ["text"] * 1000}), write("x.parquet", ""))
    whole = Path("x.parquet").read_bytes()
    for start, end in itertools.pairwise([0, 10, len(whole) // 2, len(whole) - 1]):
        assert refusal(write("cut.parquet", whole[start:end])).startswith("cut.parquet: ")


def test_a_date_beyond_the_calendar_is_refused_in_one_line(write):
    table = pyarrow.table({"completion": ["a"], "at": pyarrow.array([2**55], pyarrow.timestamp("ms"))})
    pyarrow.parquet.write_table(table, write("x.parquet", ""))
    assert refusal("x.parquet").startswith("x.parquet: not a parquet file that can be read: ")


def test_a_parquet_file_without_rows_is_refused(write):
    pyarrow.parquet.write_table(
        pyarrow.table({"completion": pyarrow.array([], pyarrow.string())}), write("x.parquet", "")
    )
    assert refusal("x.parquet") == "x.parquet: has no rows"


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".JSONL", ".Csv", ".TXT"])
def test_a_suffix_counts_whatever_its_case(write, suffix):
    content = {".JSONL": '{"text": "a"}', ".Csv": "text\na", ".TXT": "a"}[suffix]
    assert texts(write(f"x{suffix}", content)) == ["a"]


@pytest.mark.parametrize(
    "name",
    ["missing.jsonl", "missing.CSV", "missing.json", "data/missing.tsv", "./missing", "/nowhere/x", "a b", "-x", "a\0b",
     "../x.parquet", "ümlaut?", "*.jsonl"],
)  # fmt: skip
def test_a_missing_file_is_refused_without_asking_the_hub(write, name):
    Path(write("here.txt", "a")).with_name("data").mkdir()
    assert refusal(name) == f"{name}: no such file"


def test_a_name_that_no_system_takes_is_refused(write):
    write("here.txt", "a")
    assert "cannot be read: File name too long" in refusal("x" * 5000)
    assert not RowSource("x" * 5000).rereadable


def test_an_empty_name_is_refused():
    assert "empty name" in refusal("")


def test_a_folder_is_refused(write):
    Path(write("x.txt", "a")).with_name("folder.jsonl").mkdir()
    assert (
        refusal("folder.jsonl")
        == "folder.jsonl: is a folder; name a file in it (.jsonl, .csv, .parquet, .txt, .json, .tsv)"
    )


def test_an_unknown_suffix_is_refused_with_those_that_are_known(write):
    known = "should be one of .jsonl, .csv, .parquet, .txt, .json, .tsv"
    assert refusal(write("x.yaml", "[]")) == f"x.yaml: {known}"
    assert refusal(write("x", "a")) == f"x: {known}"
    assert refusal(write("x.jsonl.zst", "a")) == f"x.jsonl.zst: {known}; unpack it first"
    assert refusal(write("x.xlsx", "a")) == (
        f"x.xlsx: {known}; to convert it: pandas.read_excel('x.xlsx').to_csv('data.csv', index=False)"
    )


# --- JSON, tabs, packed files, saved data sets -------------------------------------------------------------------

ROWS = [{"completion": "a", "n": 1}, {"completion": "b", "n": 2}]


def test_json_holds_a_list_of_rows_or_a_row_a_line(write):
    assert texts(write("list.json", json.dumps(ROWS, indent=2))) == ["a", "b"]
    assert texts(write("lines.json", "".join(json.dumps(row) + "\n" for row in ROWS))) == ["a", "b"]
    assert texts(write("x.ndjson", json.dumps(ROWS[0]))) == ["a"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "x.json: has no rows"),
        ('[{"text": "a"}, 3]', "x.json, item 1: should be a JSON object, not 3"),
        ('[{"text": "a"},\n]', "x.json, line 2: malformed JSON: "),
        ("3", "x.json: should hold a list of JSON objects, or one object per line"),
        (
            '{\n"data": [{"text": "a"}]}',
            "x.json: should hold a list of JSON objects, or one object per line; to convert it: "
            "jq -c '.[\"data\"][]' x.json > data.jsonl",
        ),
        (b'["\xff"]', "x.json: not UTF-8 text (byte 2); save it as UTF-8"),
    ],
)
def test_json_that_is_no_list_of_rows_is_refused(write, content, why):
    assert refusal(write("x.json", content)).startswith(why)


def test_a_table_with_tabs_may_hold_commas(write):
    assert texts(write("x.tsv", "id\tcompletion\n1\tyes, indeed\n")) == ["yes, indeed"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl.gz", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("x.JSON.GZ", json.dumps(ROWS)),
        ("x.csv.gz", "completion,n\na,1\nb,2\n"),
        ("x.tsv.gz", "completion\tn\na\t1\nb\t2\n"),
        ("x.txt.gz", "a\nb\n"),
    ],
)
def test_a_packed_file_has_the_rows_of_the_file_in_it(write, name, content):
    assert texts(write(name, gzip.compress(content.encode()))) == ["a", "b"]


def test_a_packed_file_that_is_cut_or_damaged_is_refused(write):
    packed = gzip.compress(json.dumps(ROWS[0]).encode() * 1000)
    assert refusal(write("x.jsonl.gz", packed[:-20])).startswith("x.jsonl.gz: cannot be read: ")
    assert refusal(write("x.jsonl.gz", packed[:20] + b"\0" * 20 + packed[40:])).startswith(
        "x.jsonl.gz: cannot be read: "
    )
    assert refusal(write("x.jsonl.gz", b"{}")).startswith("x.jsonl.gz: cannot be read: ")


def test_a_folder_of_save_to_disk_is_read_and_can_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list(ROWS[1:])
    one.save_to_disk("one")
    datasets.DatasetDict(train=one, test=other).save_to_disk("two")
    assert texts("one") == texts("two") == ["a", "b"]
    assert texts("two", split="test") == ["b"]
    assert RowSource("one").rereadable
    assert RowSource("two").rereadable
    assert refusal("two", split="dev") == "two: has no split 'dev'; there are: train, test"
    assert refusal("one", split="dev") == "one: is one data set, which has no split 'dev'; leave the split out"


def test_a_damaged_folder_of_save_to_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets.Dataset.from_list(ROWS).save_to_disk("one")
    next(Path("one").glob("*.arrow")).write_bytes(b"x" * 100)
    assert refusal("one").startswith("one: is not a data set that can be read: ")


def test_columns_without_a_name_are_left_out(write):
    assert list(RowSource(write("x.csv", "completion,,label, ,\na,,good,,\n")).rows()) == [
        ("line 2", {"completion": "a", "label": "good"})
    ]
    assert "all names are blank" in refusal(write("y.csv", ",,\na,b,c\n"))


# --- columns inside others --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        ({"continuation": {"text": "you fool"}}, "continuation.text", "you fool"),
        ({"choices": [{"message": {"content": "hm"}}]}, "choices.0.message.content", "hm"),
        ({"answers": ["a", "b"]}, "answers.1", "b"),
        ({"a.b": "whole", "a": {"b": "inside"}}, "a.b", "whole"),
        ({"a": {"0": "by name"}}, "a.0", "by name"),
    ],
)
def test_a_column_inside_others_is_named_with_points(write, row, column, text):
    assert texts(write("x.jsonl", json.dumps(row)), columns={"completion": column}) == [text]


def test_a_text_inside_a_mapping_is_that_text(write):
    """RealToxicityPrompts has prompts and continuations as `{"text": ..., "toxicity": ...}`."""
    row = {"prompt": {"text": "He said", "toxicity": 0.1}, "completion": {"text": " hm", "toxicity": 0.2}}
    (sample,) = RowSource(write("x.jsonl", json.dumps(row))).samples()
    assert (sample.prompt, sample.completion) == ("He said", " hm")


@pytest.mark.parametrize("column", ["answers.2", "answers.-1", "answers.a", "answers.0.a", "text.0", "b.c"])
def test_a_column_that_is_not_inside_is_refused(write, column):
    name = write("x.jsonl", json.dumps({"answers": ["a", "b"], "text": "abc"}))
    assert refusal(name, columns={"completion": column}).startswith(f"x.jsonl, line 1: has no column '{column}'")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(write):
    Path(write("x.jsonl", "")).chmod(0)
    assert refusal("x.jsonl") == "x.jsonl: cannot be read: Permission denied"


def test_a_failing_device_is_refused_with_its_reason():
    assert refusal("/proc/self/mem").startswith("/proc/self/mem: ")


def test_a_hub_id_is_asked_of_the_hub_and_told_when_it_is_out_of_reach(write):
    write("x.txt", "a")
    message = refusal("nobody/nothing-of-this-name")
    assert "nobody/nothing-of-this-name" in message
    assert "hub" in message


# --- pipes and standard input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a\nb\n", ["a", "b"]),
        ("\n\na\n", ["", "", "a"]),
        ('{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ('\n \n  {"completion": "a"}\n', ["a"]),
        (b'\xef\xbb\xbf{"text": "a"}', ["a"]),
        (b"\xef\xbb\xbfa\r\nb", ["a", "b"]),
        ('"quoted"\n[1]\n', ['"quoted"', "[1]"]),
        ("", []),
    ],
)
def test_standard_input_is_json_lines_or_a_text_a_line(stdin, content, expected):
    assert texts(stdin(content)) == expected


def test_standard_input_is_named_in_errors(stdin):
    assert refusal(stdin('{"text": "a"}\nnonsense')).startswith("standard input, line 2: malformed JSON")
    assert refusal(stdin('{"text": "a"}\n{"texts": "a"}')).startswith("standard input, line 2: has neither")
    assert refusal(stdin("")) == "standard input: has no rows"
    assert refusal(stdin("a\n"), needed={"gold"}).startswith(
        "standard input, line 1: the judge needs the column 'gold'"
    )


def test_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-") == "standard input is closed; name a file instead of -"


@pytest.mark.parametrize(
    ("name", "content"),
    [("pipe", '{"text": "a"}\n'), ("pipe", "a\n"), ("pipe.csv", "text\na\n"), ("pipe.jsonl", '{"text": "a"}')],
)
def test_a_named_pipe_is_read_once(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    writer = threading.Thread(target=Path(name).write_text, args=(content,))
    writer.start()
    source = RowSource(name)
    assert not source.rereadable
    assert [sample.completion for sample in source.samples()] == ["a"]
    writer.join()


# --- rows as they are -----------------------------------------------------------------------------------------


def test_rows_come_as_they_are_with_their_places(write):
    name = write("x.jsonl", '\n{"prompt": null, "n": [1]}\n{}\n')
    assert list(RowSource(name).rows()) == [("line 2", {"prompt": None, "n": [1]}), ("line 3", {})]
    assert len(list(RowSource(name, limit=1).rows())) == 1


def test_a_line_of_text_is_called_as_it_is_asked_to_be(write, stdin):
    for name in (write("x.txt", "a\n"), stdin("a\n")):
        assert list(RowSource(name, line_column="prompt").rows()) == [("line 1", {"prompt": "a"})]


@pytest.mark.parametrize("stream", [True, False])
def test_rows_of_a_hub_data_set_are_numbered_over_its_batches(monkeypatch, stream):
    rows = [{"n": i, "tags": ["a"] * (i % 3), "inner": {"x": None}} for i in range(250)]

    def load(*_, split, streaming, **__):
        found = datasets.Dataset.from_list(rows)
        return found.to_iterable_dataset() if streaming else found

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["validation"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    places, read = zip(*RowSource("owner/name", stream=stream).rows(), strict=True)
    assert list(read) == rows
    assert places == tuple(f"row {i} of validation" for i in range(1, 251))


# --- lists in Python ------------------------------------------------------------------------------------------


def test_texts_mappings_and_samples_make_samples():
    sample = Sample("c", "p")
    mapping = {"prompt": [{"role": "user", "content": "q"}], "completion": "b", "n": 1}
    made = make_samples(item for item in ["a", mapping, sample])
    assert made[0] == Sample("a")
    assert (made[1].prompt, made[1].completion, made[1].columns["n"]) == ("q", "b", 1)
    assert made[2] is sample
    assert make_samples([]) == []


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("a text", "score takes a list of texts"),
        (b"bytes", "score takes a list of texts"),
        ({"completion": "a"}, "score takes a list of texts"),
        (["a", 5], "item 1 should be a text, a mapping or a Sample, not 5"),
        (["a", None], "item 1 should be"),
        (["a", {"tweet": "b"}], "item 1: has neither 'completion' nor 'text'"),
        ([{"completion": None}], "item 0: 'completion' should be text"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(items, words):
    with pytest.raises(InputError, match=words):
        make_samples(items)


# --- chunks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS])
def test_chunks_hold_all_rows_in_order_and_no_more_than_their_limit(count):
    rows = [Sample(str(i)) for i in range(count)]
    cut = list(chunks(rows))
    assert [sample for chunk in cut for sample in chunk] == rows
    assert all(0 < len(chunk) <= CHUNK_ROWS for chunk in cut)
    assert len(cut) == -(-count // CHUNK_ROWS)


@pytest.mark.parametrize("column", ["completion", "prompt", "page"])
def test_long_rows_make_small_chunks_whichever_column_is_long(column):
    long = "x" * (CHUNK_CHARACTERS // 4)
    row = {"completion": "a", "prompt": "", column: long}
    cut = list(chunks(Sample(row["completion"], row["prompt"], row) for _ in range(20)))
    assert sum(map(len, cut)) == 20
    assert max(map(len, cut)) <= 4


def test_rows_before_a_wrong_one_still_come():
    def stream():
        yield Sample("a")
        yield Sample("b")
        raise InputError("line 3")

    cut = chunks(stream())
    assert next(cut) == [Sample("a"), Sample("b")]
    with pytest.raises(InputError, match="line 3"):
        next(cut)
