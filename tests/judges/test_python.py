"""Judges of a function of one's own, on TRL's contract; a bug in it stops the work, None abstains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif import InputError, JudgeBug, Judgement, Sample, load_judge

SOURCE = """
NOT_A_NUMBER = "x"

def no_shouting(prompts, completions, **columns):
    return [0.0 if text.isupper() else 1.0 for text in completions]

def stars(completions):
    return [int(text) for text in completions]

def as_reference(completions, reference, **_):
    return [float(text == wanted) for text, wanted in zip(completions, reference)]

def optional(completions, reference=None):
    return [1.0 if reference is None else 0.0 for _ in completions]

def none(completions):
    return [None for _ in completions]

def raises(completions):
    return [1 / 0 for _ in completions]

def inner(completions):
    return [_helper(text) for text in completions]

def _helper(text):
    return int(NOT_A_NUMBER)

def short(completions):
    return [1.0] * (len(completions) - 1)

def nan(completions):
    return [float("nan")]

def infinite(completions):
    return [float("inf")]

def off(completions):
    return [1.5]

def word(completions):
    return ["good"]

def nothing(completions):
    return None

def mapping(completions):
    return {0.5: text for text in completions}

def text(completions):
    return "1"

def digits(completions):
    return ["0.5"]

def huge(completions):
    return [10 ** 400]

def divided(completions, factor):
    return [1 / factor for _ in completions]

def tensor(completions):
    import torch
    return torch.full((len(completions),), 0.25)

def seen(prompts, completions, **columns):
    assert len(prompts) == len(completions) == 1, completions
    return [1.0]

async def later(completions):
    return [1.0]

def singular(completions, prompt):
    return [1.0]

def positional(completions, /):
    return [1.0]

class Judge:
    def __call__(self, completions):
        return [0.5 for _ in completions]
    def method(self, completions):
        return [0.75 for _ in completions]

class Raises:
    def __call__(self, completions):
        return 1 / 0

class Async:
    async def __call__(self, completions):
        return [1.0]

an_object = Judge()
an_object_that_raises = Raises()
an_async_object = Async()
import functools
a_partial = functools.partial(divided, factor=0)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def judge(folder: Path, name: str, **keys: Any):
    return load_judge({"adapter": "python", "name": "mine", "function": f"./mine.py:{name}", **keys}, folder=folder)


def scores(judgements: list[Judgement]) -> list[float | None]:
    return [judgement.score for judgement in judgements]


def test_a_function_scores_what_it_is_given(folder):
    assert scores(judge(folder, "no_shouting")([Sample("hello"), Sample("HELLO")])) == [1.0, 0.0]


def test_a_scale_maps_what_it_says_and_keeps_it_as_raw(folder):
    judgements = judge(folder, "stars", scale={"worst": 1, "best": 5})([Sample("1"), Sample("4"), Sample("5")])
    assert scores(judgements) == [0.0, 0.75, 1.0]
    assert [j.raw for j in judgements] == [1.0, 4.0, 5.0]
    assert scores(judge(folder, "stars", scale={"worst": 10, "best": 0})([Sample("4")])) == [0.6]


def test_columns_reach_the_function_by_name(folder):
    samples = [Sample("a", columns={"reference": "a"}), Sample("b", columns={"reference": "a"})]
    assert judge(folder, "as_reference").reads == {"reference"}
    assert scores(judge(folder, "as_reference")(samples)) == [1.0, 0.0]


def test_a_function_gets_only_the_keywords_it_accepts(folder):
    assert scores(judge(folder, "optional")([Sample("a", columns={"other": 1})])) == [1.0]


def test_a_column_that_is_missing_is_named_with_those_there_are(folder):
    with pytest.raises(InputError, match=r"needs the column 'reference'; the data has: other"):
        judge(folder, "as_reference")([Sample("a", columns={"other": 1})])


def test_a_scale_that_runs_down_gives_zero_without_a_sign(folder):
    (judgement,) = judge(folder, "stars", scale={"worst": 5, "best": 1})([Sample("5")])
    assert str(judgement.score) == "0.0"


def test_a_scale_wider_than_a_number_is_refused(folder):
    with pytest.raises(InputError, match="wider than a number"):
        judge(folder, "stars", scale={"worst": -1.7e308, "best": 1.7e308})


def test_two_cards_that_name_one_file_share_its_state(folder):
    (folder / "counts.py").write_text("calls = []\ndef f(completions): calls.append(1); return [len(calls) / 10]\n")
    both = [load_judge({"adapter": "python", "function": "./counts.py:f"}, folder=folder) for _ in range(2)]
    assert [scores(judge([Sample("x")])) for judge in both] == [[0.1], [0.2]]


def test_none_abstains(folder):
    (judgement,) = judge(folder, "none")([Sample("text")])
    assert (judgement.score, judgement.status) == (None, "declined")


def test_a_blank_completion_never_reaches_the_function(folder):
    judgements = judge(folder, "seen")([Sample(" "), Sample("text"), Sample("")])
    assert [j.status for j in judgements] == ["empty", "ok", "empty"]
    assert [j.status for j in judge(folder, "raises")([Sample("")])] == ["empty"]


@pytest.mark.parametrize(("name", "score"), [("an_object", 0.5), ("an_object.method", 0.75), ("tensor", 0.25)])
def test_objects_methods_and_tensors_are_as_good_as_functions_and_lists(folder, name, score):
    assert scores(judge(folder, name)([Sample("a"), Sample("b")])) == [score, score]


def line_of(text: str) -> int:
    return SOURCE.split("\n").index(text) + 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", [f"mine.py:{line_of('    return [1 / 0 for _ in completions]')}", "ZeroDivisionError"]),
        ("inner", [f"mine.py:{line_of('    return int(NOT_A_NUMBER)')}", "ValueError"]),
        ("short", [f"mine.py:{line_of('def short(completions):')}", "1 rewards for 2 completions"]),
        ("nan", ["nan", "finite number, or None to abstain"]),
        ("infinite", ["inf", "finite number"]),
        ("off", ["1.5", "off its scale 0 to 1", "scale: {worst, best}"]),
        ("word", ["'good'", "no number"]),
        ("nothing", ["returned None", "return a list"]),
        ("mapping", ["returned {", "return a list"]),
        ("text", ["returned '1'", "return a list"]),
        ("digits", ["'0.5'", "no number"]),
        ("huge", ["no number"]),
        ("an_object_that_raises", [f"mine.py:{line_of('        return 1 / 0')}", "ZeroDivisionError"]),
        ("a_partial", [f"mine.py:{line_of('    return [1 / factor for _ in completions]')}", "ZeroDivisionError"]),
    ],
)
def test_a_bug_stops_the_work_with_its_place(folder, name, words):
    samples = [Sample("a"), Sample("b")] if name in ("short", "raises") else [Sample("a")]
    with pytest.raises(JudgeBug) as bug:
        judge(folder, name)(samples)
    assert all(word in str(bug.value) for word in ["judge mine", *words]), str(bug.value)
    assert "\n" not in str(bug.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("./mine.py:no_shoutin", ["no 'no_shoutin'", "did you mean 'no_shouting'"]),
        ("./other.py:f", ["no file", "other.py"]),
        ("./mine.py", ["FILE.py:NAME"]),
        ("./mine.py:number", ["is not a function"]),
        ("./mine.py:later", ["async"]),
        ("./mine.py:an_async_object", ["async"]),
        ("./mine.py:positional", ["positional"]),
        ("./mine.py:singular", ["asks for 'prompt'", "'prompts'"]),
        ("no_such_module:f", ["cannot import no_such_module", "./FILE.py:NAME"]),
        ("./broken.py:f", ["broken.py:2", "IndentationError"]),
        ("./exits.py:f", ["exits.py:1", "SystemExit"]),
    ],
)
def test_a_function_that_cannot_be_had_is_refused_before_work(folder, function, words):
    (folder / "broken.py").write_text("def f(completions):\nreturn 1\n")
    (folder / "exits.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError) as refused:
        load_judge({"adapter": "python", "name": "mine", "function": function}, folder=folder)
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_a_function_of_an_installed_module_is_named_by_its_path():
    assert (
        load_judge({"adapter": "python", "function": "tests.judges.test_python:always"})([Sample("x")])[0].score == 1.0
    )


def always(completions, **_):
    return [1 for _ in completions]
