"""YAML without surprises, and one line for whatever is wrong with it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge
from hypothesis import example, given
from hypothesis import strategies as st

from rlaif.core.errors import InputError
from rlaif.core.schema import Checked, check, did_you_mean, list_keys, read_text, read_yaml, reason_of, short_repr

# --- YAML -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("+3", 3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("-.inf", -math.inf),
    ],
)
def test_numbers_and_words_mean_what_they_look_like(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}", "x")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "No", "yes", "on", "off", "y", "12:30", "2020-01-01", "1_000", "0x1F", "0o17", "007", "1.2.3", "e5"]
)
def test_what_other_parsers_guess_at_stays_text(text: str) -> None:
    assert read_yaml(f"key: {text}", "x") == {"key": text}


def test_anchors_and_merges_work() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nsame: *base"
    assert read_yaml(text, "x") == {"base": {"a": 1, "b": 2}, "other": {"a": 1, "b": 3}, "same": {"a": 1, "b": 2}}


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "x, line 3: not valid YAML: the key 'a' appears twice"),
        ("o: {a: 1, 'a': 2}", "line 1: not valid YAML: the key 'a' appears twice"),
        ("a: [1", "not valid YAML: while parsing a flow sequence, expected"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: 1\n\tb: 2", "line 2"),
        ("a: *nobody", "undefined alias"),
        ("? [1, 2]\n: 3", "line 1: not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!bool maybe", "'maybe' is not of the type bool"),
        ("a: !!int ''", "'' is not of the type int"),
        ("a: !!timestamp soon", "'soon' is not of the type timestamp"),
        ("a: " + "1" * 5000, "line 1: not valid YAML"),
        ("a: '\\x00'\n\0", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("a: &a [*a]", "x: nested more than 50 deep"),
        ("[" * 60 + "]" * 60, "x: nested more than 50 deep"),
        (bomb(12), "x: holds more than a million values"),
        (merge_bomb(12), "`<<` merges more than 10,000 keys"),
    ],
)
def test_broken_yaml_is_refused_with_place_and_reason(text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        read_yaml(text, "x")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


@given(st.text() | st.text(alphabet=" \n-?:,[]{}#&*!|>'\"%@`~<0123456789.eabc\\x\0"))
@example("? {a: b}\n: c")
@example("!!binary x")
@example("!!omap [a]")
@example("'\\ud800'")
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    with contextlib.suppress(InputError):
        read_yaml(text, "x")


def test_a_file_is_read_as_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9fe")
    assert read_text(path) == "grüße"


@pytest.mark.parametrize("content", [b"gr\xfc\xdfe", b"\xff\xfea\0"])
def test_another_encoding_is_named_with_its_first_wrong_byte(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.yaml: not UTF-8 text \(byte \d\); save it as UTF-8"):
        read_text(path)


@pytest.mark.parametrize("name", [".", "absent.yaml", "a" * 5000, "nul\0"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path / name)


# --- checking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Inner(Checked):
    depth: Annotated[int, Ge(1)]
    mode: Literal["fast", "exact"] = "fast"


@dataclass(frozen=True, kw_only=True)
class Outer(Checked):
    model: str
    rate: float = 1.0
    steps: int = 3
    loud: bool = False
    inner: Inner | None = None
    either: str | dict[str, Any] | None = None
    layers: list[Inner] | None = None
    labels: str | list[str] | None = None
    quorum: Literal["all"] | Annotated[int, Ge(1)] = "all"

    def __post_init__(self) -> None:
        if self.steps == 13:
            raise ValueError("steps should not be 13")


def test_a_mapping_becomes_the_typed_thing() -> None:
    made = check(
        Outer, {"model": "m", "rate": 2, "inner": {"depth": 2}, "layers": [{"depth": 1, "mode": "exact"}]}, "x"
    )
    assert made == Outer(model="m", rate=2.0, inner=Inner(depth=2), layers=[Inner(depth=1, mode="exact")])
    assert isinstance(made.rate, float)


def test_paths_may_be_given_from_python() -> None:
    assert check(Outer, {"model": Path("a/b")}, "x").model == "a/b"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([], "x: should be a mapping of keys to values, not []"),
        (None, "x: should be a mapping of keys to values, not None"),
        ({}, "x: the key 'model' is missing"),
        ({"model": "m", "inner": {}}, "x: the key 'inner.depth' is missing"),
        ({"model": "m", "layers": [{"depth": 1}, {}]}, "x: the key 'layers.1.depth' is missing"),
        ({"modle": "m"}, "x: unknown key 'modle' (did you mean 'model'?); allowed: model, rate, steps, loud, inner, "
            "either, layers, labels, quorum"),
        ({"model": "m", "inner": {"depth": 1, "mod": 1}},
            "x: unknown key 'inner.mod' (did you mean 'mode'?); allowed: depth, mode"),
        ({"model": "m", "layers": [{"depth": 1, "zzz": 1}]}, "x: unknown key 'layers.0.zzz'; allowed: depth, mode"),
        ({"model": 5}, "x: model: should be text, not 5"),
        ({"model": None}, "x: model: should be text, not None"),
        ({"model": "m", "steps": "3"}, "x: steps: should be a whole number, not '3'"),
        ({"model": "m", "steps": 3.5}, "x: steps: should be a whole number, not 3.5"),
        ({"model": "m", "steps": True}, "x: steps: should be a whole number, not True"),
        ({"model": "m", "rate": "1e-5"}, "x: rate: should be a number, not '1e-5'"),
        ({"model": "m", "rate": math.nan}, "x: rate: should be a finite number, not nan"),
        ({"model": "m", "rate": math.inf}, "x: rate: should be a finite number, not inf"),
        ({"model": "m", "loud": "no"}, "x: loud: should be true or false, not 'no'"),
        ({"model": "m", "inner": {"depth": 0}}, "x: inner.depth: should be greater than or equal to 1, not 0"),
        ({"model": "m", "inner": {"depth": 1, "mode": "slow"}},
            "x: inner.mode: should be 'fast' or 'exact', not 'slow'"),
        ({"model": "m", "inner": 3}, "x: inner: should be a mapping, not 3"),
        ({"model": "m", "either": 3}, "x: either: should be text or a mapping, not 3"),
        ({"model": "m", "labels": ["a", 3]}, "x: labels.1: should be text, not 3"),
        ({"model": "m", "quorum": "most"}, "x: quorum: should be 'all' or a whole number, not 'most'"),
        ({"model": "m", "steps": 13}, "x: steps should not be 13"),
        ({"model": "m", "rate": {1: 2}}, "x: rate.the key 1 should be text; put it in quotes"),
        ({"model": "m", "either": {"k": b"raw"}},
            "x: either.k: should be text, a number, a list or a mapping, not b'raw'"),
        ({"model": "\ud800"}, "x: model: '\\ud800' is not Unicode text"),
        ({"model": "m", "steps": 10**5000}, "x: steps: a number of thousands of digits is too large a number"),
    ],
)  # fmt: skip
def test_the_first_wrong_key_is_named_with_its_path_and_what_is_allowed(mapping: object, message: str) -> None:
    with pytest.raises(InputError) as refused:
        check(Outer, mapping, "x")
    assert str(refused.value) == message


def test_a_mapping_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {"model": "m"}
    endless["either"] = endless
    with pytest.raises(InputError, match="nested more than 50 deep"):
        check(Outer, endless, "x")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(10**400)
keys = st.sampled_from(list(list_keys(Outer)) + list(list_keys(Inner))) | st.text() | st.integers()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=10)


@given(values | st.dictionaries(keys, values))
@example({"model": "m", "rate": 10**400})
@example({"model": "m", "steps": 2**70})
@example({"model": "m", "either": {"\ud800": 1}})
def test_any_mapping_is_the_typed_thing_or_a_refusal(mapping: object) -> None:
    with contextlib.suppress(InputError):
        assert math.isfinite(check(Outer, mapping, "x").rate)


# --- words for messages ---------------------------------------------------------------------------------------


def test_a_value_is_shown_on_one_line_and_cut() -> None:
    assert short_repr("a\nb") == r"'a\nb'"
    assert short_repr("x" * 100, 10) == "'xxxxxxxx…"


def test_a_close_word_is_suggested_and_a_distant_one_is_not() -> None:
    assert did_you_mean("toxcity", ["toxicity", "length"]) == " (did you mean 'toxicity'?)"
    assert did_you_mean("zzz", ["toxicity"]) == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "f"), "No such file or directory"),
        (OSError("first\nsecond"), "first"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_reason_of_an_error_is_a_few_words(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
