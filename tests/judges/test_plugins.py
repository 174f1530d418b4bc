"""Adapters of other people: an installed package, a module, a file beside the card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rlaif as package
from rlaif.core.errors import InputError
from rlaif.core.types import Sample
from rlaif.judges.registry import load_judge
from tests.conftest import ROOT, Command, one_line


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that tests/plugin was installed into, by pip."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", target, ROOT / "tests" / "plugin"], check=True, capture_output=True)
    return target


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, importable in this process."""
    monkeypatch.syspath_prepend(installed)
    return installed


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("adapter", ["vowels", "rlaif_vowels.adapter:make"])
def test_an_installed_adapter_is_used_by_its_name_and_by_its_module(
    rlaif: Command, installed: Path, tmp_path: Path, adapter: str
) -> None:
    (tmp_path / "mine.yaml").write_text(f"adapter: {adapter}\nletters: ae\nboost: 2\n")
    texts = ["--text", "area", "--text", "xxae", "--text", " "]
    env = {"PYTHONPATH": str(installed)}
    found = rows(rlaif("score", "-j", "./mine.yaml", *texts, env=env))
    assert [(row["judge"], row["score"], row["raw"], row["status"]) for row in found] == [
        ("mine", 1.0, 0.75, "ok"),
        ("mine", 1.0, 0.5, "ok"),
        ("mine", None, None, "empty"),
    ]


def test_an_adapter_that_is_not_installed_is_refused_with_those_there_are(main: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("adapter: clasifier\n")
    done = main("score", "-j", "./mine.yaml", "--text", "x")
    assert done.returncode == 2
    assert "unknown adapter 'clasifier' (did you mean 'classifier'?)" in one_line(done)
    assert "lexicon, or MODULE:NAME of your own" in done.stderr


def test_an_installed_adapter_is_listed_among_those_there_are(plugin: Path) -> None:
    with pytest.raises(InputError, match=r"lexicon, .*vowels, or MODULE:NAME"):
        load_judge({"adapter": "nothing_like_it"})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"bost": 2}, r"unknown key 'bost' \(did you mean 'boost'\?\); allowed: .*, letters, boost$"),
        ({"boost": "2"}, "boost: should be a number, not '2'"),
    ],
)
def test_the_keys_that_an_adapter_states_are_checked(plugin: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_judge({"adapter": "vowels", **keys})


def test_an_adapter_that_fails_at_import_is_one_line_with_its_place(
    rlaif: Command, installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("adapter: broken\n")
    done = rlaif("score", "-j", "./mine.yaml", "--text", "x", env={"PYTHONPATH": str(installed)})
    assert done.returncode == 2
    assert "mine.yaml: the adapter 'broken': importing rlaif_vowels.broken failed" in one_line(done)
    assert "AttributeError: module 'rlaif_vowels' has no attribute 'nothing_of_this_name'" in done.stderr
    assert f"{installed}/rlaif_vowels/broken.py:5" in done.stderr


TEN_LINES = """
from rlaif import Judgement


def make(card, *, load):
    return judge


def judge(samples):
    return [Judgement("short", 1 / (1 + len(sample.completion))) for sample in samples]
"""


@pytest.fixture
def ten_lines(tmp_path: Path) -> Path:
    (tmp_path / "short.py").write_text(TEN_LINES)
    (tmp_path / "short.yaml").write_text("adapter: ./short.py:make\nmeasures: brevity\nanything: goes\n")
    return tmp_path / "short.yaml"


def test_ten_lines_in_a_file_beside_the_card_are_an_adapter(main: Command, ten_lines: Path) -> None:
    (row,) = rows(main("score", "-j", "./short.yaml", "--text", "x"))
    assert (row["judge"], row["score"]) == ("short", 0.5)


def test_what_a_plain_function_lacks_is_filled_in(ten_lines: Path) -> None:
    judge = load_judge(ten_lines)
    assert (judge.name, judge.measures, judge.has_logit, judge.remote) == ("short", "brevity", False, False)
    assert judge.reads == frozenset()
    assert package.score(["abc"], judge)[0].score == 0.25


def test_one_function_serves_two_cards_without_mixing_them(ten_lines: Path) -> None:
    other = ten_lines.with_name("other.yaml")
    other.write_text("adapter: ./short.py:make\nmeasures: calm\n")
    first, second, third = load_judge(ten_lines), load_judge(other), load_judge(ten_lines)
    assert [(judge.name, judge.measures) for judge in (first, second)] == [("short", "brevity"), ("other", "calm")]
    assert first.identity == third.identity != second.identity


def test_what_a_judge_says_of_itself_is_kept(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "class Own:\n"
        "    name, measures, has_logit, remote = 'mine', 'hate', True, True\n"
        "    identity, reads = 'me', {'prompt'}\n"
        "    def __call__(self, samples): return []\n"
        "def make(card, *, load): return Own()\n"
    )
    judge = load_judge({"adapter": f"{tmp_path}/own.py:make", "name": "card"})
    assert (judge.name, judge.measures, judge.has_logit, judge.remote) == ("mine", "hate", True, True)
    assert (judge.identity, judge.reads) == ("me", frozenset({"prompt"}))


def test_an_adapter_may_be_made_of_the_judges_inside_it(tmp_path: Path) -> None:
    (tmp_path / "opposite.py").write_text(
        "from dataclasses import replace\n"
        "def make(card, *, load):\n"
        "    inner = load(card['of'])\n"
        "    return lambda samples: [replace(j, judge='not', score=1 - j.score) for j in inner(samples)]\n"
    )
    (tmp_path / "inner.yaml").write_text("adapter: constant\nvalue: 0.75\n")
    judge = load_judge({"adapter": "./opposite.py:make", "of": "./inner.yaml"}, folder=tmp_path)
    assert judge([Sample("x")])[0].score == 0.25


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("make = 3", "should be a function make(card, *, load) -> Judge"),
        ("def make(): ...", "should be a function make(card, *, load) -> Judge"),
        ("def make(card): ...", "should be a function make(card, *, load) -> Judge"),
        ("make = dict", "should be a function make(card, *, load) -> Judge"),
        ("def make(card, *, load): return None", "returned no judge but None"),
        ("def mak(card, *, load): ...", "has no 'make' (did you mean 'mak'?)"),
        ("def make(card, *, load)", "adapter.py:1: SyntaxError"),
        ("x = 1\nraise SystemExit(0)", "adapter.py:2: SystemExit"),
        ("x = '\0'", "SyntaxError"),
    ],
)
def test_what_is_no_adapter_is_refused_with_its_place(main: Command, tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "adapter.py").write_text(source)
    done = main("score", "-j", "{adapter: './adapter.py:make', key: 1}", "--text", "x")
    assert done.returncode == 2
    assert says in one_line(done)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("    return lambda samples: card['nothing']", "judge mine raised at {file}:2: KeyError: 'nothing'"),
        ("    raise OSError(2, 'No such file')", "'./adapter.py:make' raised at {file}:2: FileNotFoundError"),
        ("    return lambda samples: []", "judge mine: returned 0 judgements for 1 samples"),
        ("    return lambda samples: None", "judge mine: returned None; return a list of Judgements"),
        (
            "    from rlaif import Judgement\n    return lambda samples: [Judgement('mine', 1.5) for _ in samples]",
            "ValueError: judge 'mine': the score 1.5 is not in [0, 1]",
        ),
        ("    return lambda samples: [0.5] * len(samples)", "judge mine: returned 0.5; return a Judgement for"),
    ],
)
def test_an_adapter_that_breaks_the_contract_stops_the_command_with_its_place(
    main: Command, tmp_path: Path, body: str, says: str
) -> None:
    (tmp_path / "adapter.py").write_text(f"def make(card, *, load):\n{body}\n")
    done = main("score", "-j", "{adapter: './adapter.py:make', name: mine}", "--text", "x")
    assert done.returncode == 1
    assert says.format(file=tmp_path / "adapter.py") in one_line(done)
