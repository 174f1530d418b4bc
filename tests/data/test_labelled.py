"""Labelled data: what a row is, what its label means, and what is refused before any judge is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.benchmark.bench import sources_of
from rlaif.core.errors import InputError
from rlaif.data.labelled import examine
from rlaif.data.meaning import Meaning
from tests.benching import labelled, pairs, write_rows

NOTHING = frozenset()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def examined(*data, groups=(), columns=None, needed=NOTHING, limit=None, **meaning):
    meant = {key: frozenset(value) if isinstance(value, list) else value for key, value in meaning.items()}
    return examine(sources_of(data, columns or {}, None, limit, needed), Meaning(**meant), groups)


def targets(table):
    return [key.target for key, _ in table.read_texts()]


def refusal(*data, **keys):
    with pytest.raises(InputError) as told:
        examined(*data, **keys)
    return str(told.value)


# --- labels ---------------------------------------------------------------------------------------------------


def test_without_bad_or_good_the_values_are_told_with_their_counts():
    write_rows("x.jsonl", labelled(10, bad_every=5))
    told = refusal("x.jsonl")
    assert "--bad VALUE or --good VALUE" in told
    assert "x.jsonl has neutral (8), toxic (2)" in told
    assert "--graded" not in told


def test_numbers_as_labels_may_be_grades():
    write_rows("x.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 4}])
    assert "or --graded if higher is better" in refusal("x.jsonl")


@pytest.mark.parametrize(
    "meaning", [{"bad": ["toxic"]}, {"good": ["neutral"]}, {"bad": ["toxic"], "good": ["neutral"]}]
)
def test_what_is_not_bad_is_good_and_the_other_way_round(meaning):
    write_rows("x.jsonl", labelled(4))
    (table,) = examined("x.jsonl", **meaning)
    assert (table.kind, table.n, table.texts) == ("labels", 4, 4)
    assert targets(table) == [0, 1, 0, 1]
    key, sample = next(table.read_texts())
    assert key.to_json() == {"file": "x.jsonl", "row": 0, "side": None, "label": "toxic", "target": 0.0, "groups": {}}
    assert sample.completion == "text 0 is bad"


@pytest.mark.parametrize(
    ("label", "named"), [(1, "1"), (1.0, "1"), ("1", "1"), (True, "true"), (" toxic ", "toxic"), (0.5, "0.5")]
)
def test_labels_may_be_texts_numbers_or_truth_values(label, named):
    write_rows("x.jsonl", [{"text": "a", "label": label}, {"text": "b", "label": "no"}])
    assert targets(examined("x.jsonl", bad=[named])[0]) == [0, 1]


def test_a_mistyped_label_is_refused_with_what_there_is():
    write_rows("x.jsonl", labelled(4))
    told = refusal("x.jsonl", bad=["toxik"])
    assert "no label is 'toxik' (did you mean 'toxic'?): x.jsonl has" in told


def test_a_file_that_has_none_of_the_named_labels_is_refused():
    write_rows("x.jsonl", labelled(4))
    write_rows("y.jsonl", [{"text": "a", "label": "hateful"}, {"text": "b", "label": "no"}])
    told = refusal("x.jsonl", "y.jsonl", bad=["toxic"])
    assert "y.jsonl, which has hateful (1), no (1)" in told
    both = examined("x.jsonl", "y.jsonl", bad=["toxic", "hateful"])
    assert [targets(table) for table in both] == [[0, 1, 0, 1], [0, 1]]


def test_where_both_are_named_a_third_label_is_refused_and_one_class_may_be_absent():
    write_rows("x.jsonl", [*labelled(4), {"text": "a", "label": "unsure"}])
    assert "'unsure' is neither --bad nor --good" in refusal("x.jsonl", bad=["toxic"], good=["neutral"])
    write_rows("x.jsonl", [{"text": "a", "label": "neutral"}])
    assert targets(examined("x.jsonl", bad=["toxic"], good=["neutral"])[0]) == [1]


@pytest.mark.parametrize(
    ("meaning", "said"),
    [
        ({"bad": ["x"], "good": ["x"]}, "cannot be both"),
        ({"bad": ["x"], "graded": True}, "leave --bad and --good out"),
    ],
)
def test_meanings_that_contradict_are_refused(meaning, said):
    write_rows("x.jsonl", labelled(4))
    assert said in refusal("x.jsonl", **meaning)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a", "label": None}, "x.jsonl, line 2: has no label"),
        ({"text": "a"}, "x.jsonl, line 2: has no label"),
        ({"text": "a", "label": ["toxic"]}, "x.jsonl, line 2: label: should be a text or a number"),
        ({"text": 3, "label": "toxic"}, "x.jsonl, line 2: 'text' should be text"),
        ({"label": "toxic"}, "x.jsonl, line 2: has neither 'completion' nor 'text'"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(row, said):
    write_rows("x.jsonl", [{"text": "fine", "label": "toxic"}, row])
    assert said in refusal("x.jsonl", bad=["toxic"])


def test_what_is_no_labelled_data_is_refused():
    write_rows("x.jsonl", [{"text": "a", "score": 1}])
    assert "has neither 'label' nor 'chosen' and 'rejected'; there are: score, text" in refusal("x.jsonl", bad=["b"])
    write_rows("x.jsonl", [])
    assert "x.jsonl: has no rows" in refusal("x.jsonl", bad=["b"])
    assert "no such file" in refusal("gone.jsonl", bad=["b"])
    write_rows("x.jsonl", labelled(2))
    assert "x.jsonl is named twice" in refusal("x.jsonl", "x.jsonl", bad=["toxic"])


def test_the_judges_columns_are_looked_for():
    write_rows("x.jsonl", labelled(2))
    assert "line 1: the judge needs the column 'prompt'" in refusal(
        "x.jsonl", bad=["toxic"], needed=frozenset({"prompt"})
    )


# --- grades ---------------------------------------------------------------------------------------------------


def test_grades_are_numbers_of_any_writing():
    Path("x.csv").write_text("text,label\na,1\nb,2.5\nc,-3\n")
    (table,) = examined("x.csv", graded=True)
    assert (table.kind, targets(table)) == ("graded", [1.0, 2.5, -3.0])


@pytest.mark.parametrize(("graded", "bad"), [(True, frozenset()), (False, frozenset({"1"}))])
@pytest.mark.parametrize("label", [None, "", "  ", float("nan")])
def test_a_row_without_a_label_is_refused_and_not_taken_for_a_good_one(label, graded, bad):
    write_rows("x.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": label}])
    assert "x.jsonl, line 2: has no label" in refusal("x.jsonl", graded=graded, bad=bad)


@pytest.mark.parametrize("label", ["good", "nan", "inf", [1]])
def test_what_is_no_finite_number_is_no_grade(label):
    write_rows("x.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": label}])
    assert "x.jsonl, line 2: label: --graded takes numbers" in refusal("x.jsonl", graded=True)


# --- pairs ----------------------------------------------------------------------------------------------------


def test_a_pair_is_two_texts_of_one_prompt():
    write_rows("x.jsonl", [{**row, "subset": "chat", "id": i} for i, row in enumerate(pairs(2))])
    (table,) = examined("x.jsonl", groups=["subset"])
    assert (table.kind, table.n, table.texts) == ("pairs", 2, 4)
    asked = [(key.row, key.side, key.target, sample.prompt, sample.completion) for key, sample in table.read_texts()]
    assert asked == [
        (0, "chosen", 1.0, "q0?", "fine answer 0"), (0, "rejected", 0.0, "q0?", "bad answer 0"),
        (1, "chosen", 1.0, "q1?", "fine answer 1"), (1, "rejected", 0.0, "q1?", "bad answer 1"),
    ]  # fmt: skip
    key, sample = next(table.read_texts())
    assert key.groups == {"subset": "chat"}
    assert sample.columns == {"subset": "chat", "id": 0}, "a judge does not see the other answer"


def test_dialogues_without_a_prompt_share_one():
    asked = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How are you?\n\nAssistant:"
    write_rows("x.jsonl", [{"chosen": f"{asked} Fine.", "rejected": f"{asked} Find out."}])
    (chosen, rejected) = (sample for _, sample in examined("x.jsonl")[0].read_texts())
    assert (chosen.prompt, chosen.completion, rejected.completion) == (asked, "Fine.", "Find out.")


def test_message_lists_without_a_prompt_share_one():
    user = {"role": "user", "content": "Hi"}
    good, bad = ({"role": "assistant", "content": text} for text in ("Yes", "No"))
    write_rows("x.jsonl", [{"chosen": [user, good], "rejected": [user, bad]}])
    (chosen, rejected) = (sample for _, sample in examined("x.jsonl")[0].read_texts())
    assert (chosen.prompt, chosen.completion, rejected.completion) == ("Hi", "Yes", "No")


def test_plain_texts_without_a_prompt_share_nothing():
    write_rows("x.jsonl", [{"chosen": "The end is good.", "rejected": "The end is bad."}])
    assert [(s.prompt, s.completion) for _, s in examined("x.jsonl")[0].read_texts()] == [
        ("", "The end is good."), ("", "The end is bad."),
    ]  # fmt: skip


def test_half_a_pair_is_refused():
    write_rows("x.jsonl", [*pairs(1), {"prompt": "q", "chosen": "a", "rejected": None}])
    assert "x.jsonl, line 2: has no 'rejected'; a pair needs both" in refusal("x.jsonl")


# --- several files --------------------------------------------------------------------------------------------


def test_columns_are_renamed_where_they_are():
    write_rows("x.jsonl", [{"tweet": "a", "class": "toxic"}, {"tweet": "b", "class": "ok"}])
    write_rows("y.jsonl", labelled(2))
    tables = examined("x.jsonl", "y.jsonl", columns={"completion": "tweet", "label": "class"}, bad=["toxic"])
    assert [targets(table) for table in tables] == [[0, 1], [0, 1]]
    assert "no file has a column 'twet' (did you mean 'tweet'?)" in refusal(
        "x.jsonl", columns={"completion": "twet"}, bad=["toxic"]
    )


def test_groups_are_columns_of_some_file():
    write_rows("x.jsonl", labelled(3))
    write_rows("y.jsonl", pairs(2))
    tables = examined("x.jsonl", "y.jsonl", groups=["topic"], bad=["toxic"])
    assert [table.groups for table in tables] == [("topic",), ()]
    assert [key.groups for key, _ in tables[0].read_texts()] == [{"topic": f"t{i}"} for i in range(3)]
    assert "--group: no file has a column 'topik' (did you mean 'topic'?)" in refusal(
        "x.jsonl", groups=["topik"], bad=["toxic"]
    )


def test_a_limit_is_of_each_file():
    write_rows("x.jsonl", labelled(9))
    write_rows("y.jsonl", labelled(2))
    assert [table.n for table in examined("x.jsonl", "y.jsonl", bad=["toxic"], limit=4)] == [4, 2]


def test_rows_in_memory_are_data_too():
    (table,) = examine(sources_of(labelled(3), {}, None, None, NOTHING), Meaning(bad=frozenset({"toxic"})))
    assert (table.name, table.n) == ("the data", 3)
    with pytest.raises(InputError, match="the data, item 1: has no label"):
        examine(sources_of([labelled(1)[0], {"text": "x"}], {}, None, None, NOTHING), Meaning(bad=frozenset({"toxic"})))


def test_the_digest_is_of_what_is_judged_and_compared():
    write_rows("x.jsonl", labelled(3))
    before = examined("x.jsonl", bad=["toxic"])[0].digest
    write_rows("x.jsonl", [{**row, "id": i} for i, row in enumerate(labelled(3))])
    assert examined("x.jsonl", bad=["toxic"])[0].digest == before
    write_rows("x.jsonl", [*labelled(2), {**labelled(3)[2], "completion": "other"}])
    assert examined("x.jsonl", bad=["toxic"])[0].digest != before


# --- thresholds, low grades, and what is counted as what --------------------------------------------------------


def test_a_threshold_parts_numbers_into_bad_and_good():
    write_rows("x.jsonl", [{"text": "a", "label": value} for value in (0.83, 0.5, 0.49, "0.7", 1)])
    (table,) = examined("x.jsonl", bad=[">=0.5"])
    assert targets(table) == [0, 0, 1, 0, 0]
    (table,) = examined("x.jsonl", good=["< 0.5"])
    assert targets(table) == [0, 0, 1, 0, 0]
    (table,) = examined("x.jsonl", bad=[">0.5"], good=["<=0.5"])
    assert targets(table) == [0, 1, 1, 0, 0]


def test_a_label_that_is_the_text_of_a_threshold_is_that_label():
    write_rows("x.jsonl", [{"text": "a", "label": ">50"}, {"text": "b", "label": "<=50"}])
    (table,) = examined("x.jsonl", bad=[">50"], good=["<=50"])
    assert targets(table) == [0, 1]


@pytest.mark.parametrize(
    ("labels", "meaning", "why"),
    [
        (
            [0.9, "toxic"],
            {"bad": [">=0.5"]},
            "x.jsonl, line 2: the label 'toxic' is no number, so it cannot be compared with >=0.5",
        ),
        ([0.9, 0.1], {"bad": [">=0.5"], "good": [">0.8"]}, "x.jsonl, line 1: the label '0.9' is both --bad and --good"),
        ([0.1, 0.2], {"bad": [">=0.5"]}, "no label is '>=0.5'"),
        ([0.1, 0.9, 0.5], {"bad": [">0.5"], "good": ["<0.5"]}, "the label '0.5' is neither --bad nor --good"),
    ],
)
def test_a_threshold_that_does_not_fit_the_labels_is_refused(labels, meaning, why):
    write_rows("x.jsonl", [{"text": "a", "label": label} for label in labels])
    assert why in refusal("x.jsonl", **meaning)


def test_low_grades_are_good_where_that_is_said():
    write_rows("x.jsonl", [{"text": "a", "label": value} for value in (1, 2.5, -3)])
    (table,) = examined("x.jsonl", graded="low")
    assert (table.kind, targets(table)) == ("graded", [-1.0, -2.5, 3.0])
    assert [key.label for key, _ in table.read_texts()] == [1.0, 2.5, -3.0]
    (table,) = examined("x.jsonl", graded="high")
    assert targets(table) == [1.0, 2.5, -3.0]


def test_grades_are_refused_where_there_are_only_pairs():
    write_rows("x.jsonl", pairs(3))
    assert (
        refusal("x.jsonl", graded=True) == "--graded is for files with labels, and all files hold pairs; leave it out"
    )


def test_a_file_says_which_labels_count_as_what():
    write_rows("x.jsonl", [{"text": "a", "label": value} for value in (1, 0, -1, -1)])
    (table,) = examined("x.jsonl", bad=["1"])
    assert table.describe_labels() == "x.jsonl: 1 bad: 1 (1); 3 good: -1 (2), 0 (1)"
    write_rows("y.jsonl", pairs(3))
    (table,) = examined("y.jsonl")
    assert table.describe_labels() == ""


def test_labels_and_groups_may_stand_inside_other_columns():
    write_rows("x.jsonl", [{"text": "a", "meta": {"label": "toxic", "tags": ["x"]}} for _ in range(2)])
    (table,) = examined("x.jsonl", bad=["toxic"], columns={"label": "meta.label"}, groups=["meta.tags.0"])
    assert [key.groups for key, _ in table.read_texts()] == [{"meta.tags.0": "x"}] * 2
    assert targets(table) == [0, 0]
