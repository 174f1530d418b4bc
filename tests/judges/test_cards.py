"""Cards and questions: where they are found, what is refused, and what --set changes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.overrides import put
from rlaif.core.paths import FunctionSource, LocalPath, ModelSource, locate, names, shipped_folder
from rlaif.core.schema import check
from rlaif.core.types import Sample
from rlaif.judges.cards.card import Card, find_card, refuse_equal_names
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.cards.question import Scale, read_question
from rlaif.judges.registry import load_judge, read_card, readiness
from tests.conftest import Command, one_line


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(*call: Any) -> str:
    """What `call` is refused with; the message is one line."""
    function, *arguments = call
    with pytest.raises(InputError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- where cards are found ------------------------------------------------------------------------------------


def test_a_card_is_found_by_path_then_in_the_working_directory_then_among_the_shipped(here: Path) -> None:
    assert find_card("constant").path == shipped_folder("judges") / "constant.yaml"
    write(here / "judges" / "constant.yaml", "adapter: constant\nvalue: 0.25\n")
    assert find_card("constant").keys["value"] == 0.25
    write(here / "constant.yaml", "adapter: constant\nvalue: 0.75\n")
    assert find_card("./constant.yaml").keys["value"] == 0.75
    assert find_card("constant.yaml").keys["value"] == 0.75
    assert find_card("constant").keys["value"] == 0.25


@pytest.mark.parametrize("name", ["v1.5", "mine.v2", "a-b_c", "grüße", "team/strict", "short"])
def test_a_name_may_hold_dots_dashes_and_folders(here: Path, name: str) -> None:
    suffix = ".yml" if name == "short" else ".yaml"
    write(here / "judges" / f"{name}{suffix}", "adapter: constant\n")
    assert find_card(name).name == name.rpartition("/")[2]
    assert name in names("judges")


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("toxcity", "no judge named 'toxcity' (did you mean 'toxicity'?) in ./judges or among the shipped ones"),
        ("toxcity", "`rlaif judges` lists them"),
        ("./absent.yaml", "absent.yaml: no such judge file"),
        ("absent.yml", "absent.yml: no such judge file"),
        (".", "no such judge file"),
        ("~nobody-of-this-name/x.yaml", "no such judge file"),
        ("/" + "a" * 5000, "no such judge file"),
        ("a" * 5000, "no judge named 'aaa"),
        ("nul\0", "no judge named 'nul"),
        ("./nul\0", "no such judge file"),
        ("", "named by a card's name, a path or an inline card"),
        ("  ", "named by a card's name, a path or an inline card"),
        (3, "named by a card's name, a path or an inline card, not 3"),
        ({}, "the key 'adapter' is missing"),
        ({"adapter": 3}, "the key 'adapter' is missing or not text"),
        ({"adapter": "constant", "name": 3}, "name: should be text, not 3"),
        ("{adapter: constant", "the inline card '{adapter: constant', line 1: not valid YAML"),
    ],
)
def test_a_card_that_cannot_be_found_is_refused_with_a_hint(ref: Any, says: str) -> None:
    assert says in refusal(find_card, ref)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "card.yaml: a card is a mapping of keys to values, not None"),
        ("- a\n", "card.yaml: a card is a mapping of keys to values, not ['a']"),
        ("model: x\n", "card.yaml: the key 'adapter' is missing"),
        ("adapter: constant\nname: other\n", "card.yaml: a card's name is its file's (card); `name` is for cards"),
        ("adapter: constant\nvalue: 2\n", "card.yaml: value: should be less than or equal to 1, not 2"),
        ("adapter: constant\nvalu: 1\n", "unknown key 'valu' (did you mean 'value'?); allowed: adapter, name, "),
        ("adapter: classifier\nbad: hate\n", "card.yaml: the key 'model' is missing"),
        ("adapter: classifier\nmodel: ./absent\n", "card.yaml: model: there is no model folder"),
        ("adapter: classifier\nmodel: ~nobody-of-this-name/x\n", "card.yaml: model: there is no model folder"),
        ("adapter: classifier\nmodel: a/b/c\n", "model: 'a/b/c' is neither a folder that exists nor a hub id"),
        ("adapter: classifier\nmodel: ''\n", "model: '' is neither a folder that exists nor a hub id"),
        ("adapter: classifier\nmodel: a/b\ndtype: int8\n", "dtype: should be 'float32', 'bfloat16' or 'float16'"),
        ("adapter: python\nfunction: ./absent.py:f\n", "judge card: function: there is no file"),
        ("adapter: python\nfunction: f\n", "should be ./FILE.py:NAME or MODULE:NAME"),
        ("adapter: python\nfunction: x:f\nscale: {worst: 1}\n", "the key 'scale.best' is missing"),
        (
            "adapter: python\nfunction: x:f\nscale: {worst: 1, best: 1}\n",
            "scale: worst and best of a scale should differ",
        ),
        ("adapter: ./absent.py:make\n", "adapter: there is no file"),
        ("adapter: no.such.module:make\n", "cannot import no.such.module"),
        ("adapter: panel\njudges: []\n", "judges: a panel needs a member"),
        ("adapter: panel\njudges: [{judge: length, wieght: 2}]\n", "unknown key 'wieght' (did you mean 'weight'?)"),
    ],
)
def test_a_wrong_card_is_refused_by_file_and_key(here: Path, text: str, says: str) -> None:
    assert says in refusal(load_judge, write(here / "card.yaml", text))


def test_a_card_that_is_not_utf_8_is_refused(here: Path) -> None:
    (here / "card.yaml").write_bytes(b"adapter: \xff")
    assert "not UTF-8 text (byte 9)" in refusal(find_card, "./card.yaml")


# --- inline cards and paths -----------------------------------------------------------------------------------


def test_a_card_may_be_written_where_it_is_named(main: Command) -> None:
    assert load_judge({"adapter": "constant", "value": 0.75})([Sample("x")])[0].score == 0.75
    assert load_judge("{adapter: constant, value: 0.75, name: three}").name == "three"
    done = main("score", "-j", " {adapter: constant, value: 0.75}", "--text", "x")
    assert '"judge": "constant", "score": 0.75' in done.stdout


@dataclass(frozen=True, kw_only=True)
class PathCard(Card):
    model: ModelSource = "owner/name"
    file: LocalPath = ""
    function: FunctionSource = ""


def paths_of(ref: Any, overrides: Overrides | None = None, folder: Path = Path()) -> PathCard:
    text = (overrides or Overrides()).apply(find_card(ref, folder))
    return check(PathCard, text.keys, text.where, folder=text.folder)


def test_a_path_in_a_card_is_relative_to_the_card(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "model").mkdir(parents=True)
    write(here / "words.txt", "not these")
    write(there / "words.txt", "these")
    card = write(there / "mine.yaml", "adapter: x\nmodel: ./model\nfile: words.txt\nfunction: own.py:f\n")
    read = paths_of(str(card))
    assert (read.model, read.file, read.function) == (f"{there}/model", f"{there}/words.txt", f"{there}/own.py:f")


def test_a_path_in_an_inline_card_is_relative_to_what_holds_it(tmp_path: Path) -> None:
    (tmp_path / "there" / "model").mkdir(parents=True)
    read = paths_of({"adapter": "x", "model": "model", "file": "./words.txt"}, folder=tmp_path / "there")
    assert (read.model, read.file) == (f"{tmp_path}/there/model", f"{tmp_path}/there/words.txt")


def test_a_member_of_a_panel_is_relative_to_the_panel(tmp_path: Path) -> None:
    write(tmp_path / "there" / "low.yaml", "adapter: constant\nvalue: 0.25\n")
    panel = write(tmp_path / "there" / "panel.yaml", "adapter: panel\njudges: [./low.yaml, {adapter: length}]\n")
    assert [part.judge for part in load_judge(panel)([Sample("a b")])[0].parts] == ["low", "length"]


@pytest.mark.parametrize("value", ["./words.txt", "words.txt"])
def test_a_path_in_set_is_relative_to_the_working_directory(here: Path, tmp_path: Path, value: str) -> None:
    write(here / "words.txt", "spam")
    card = write(tmp_path / "there" / "mine.yaml", "adapter: x\nfile: elsewhere.txt\n")
    assert Path(paths_of(str(card), Overrides([f"mine.file={value}"])).file) == here / "words.txt"


def test_home_and_absolute_paths_are_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert paths_of({"adapter": "x", "file": "~/w.txt"}).file == f"{here}/w.txt"
    assert paths_of({"adapter": "x", "file": "/w.txt"}).file == "/w.txt"


def test_a_hub_id_is_left_alone_unless_a_folder_of_that_name_is_there(here: Path) -> None:
    assert paths_of({"adapter": "x", "model": "owner/name"}).model == "owner/name"
    (here / "owner" / "name").mkdir(parents=True)
    assert paths_of({"adapter": "x", "model": "owner/name"}).model == f"{here}/owner/name"


# --- panels of panels -----------------------------------------------------------------------------------------


def test_a_panel_that_is_a_member_of_itself_is_refused(here: Path) -> None:
    write(here / "judges" / "a.yaml", "adapter: panel\njudges: [b]\n")
    write(here / "judges" / "b.yaml", "adapter: panel\njudges: [{judge: {adapter: panel, name: inner, judges: [a]}}]\n")
    assert "a.yaml: the panel is a member of itself" in refusal(load_judge, "a")
    assert "a.yaml: the panel is a member of itself" in refusal(readiness, "a")


def test_a_card_that_hides_a_shipped_one_cannot_name_it(here: Path) -> None:
    write(here / "judges" / "length.yaml", "adapter: panel\njudges: [length]\n")
    assert "length.yaml: the panel is a member of itself" in refusal(load_judge, "length")


def test_a_judge_may_sit_in_two_panels_of_one_panel(here: Path) -> None:
    for name in ("left", "right"):
        write(here / "judges" / f"{name}.yaml", "adapter: panel\njudges: [length, random]\n")
    assert load_judge({"adapter": "panel", "judges": ["left", "right"]})([Sample("x")])[0].score is not None


def test_two_judges_of_one_name_are_refused() -> None:
    judges = [load_judge("length"), load_judge({"adapter": "length", "unit": "characters"})]
    assert refusal(refuse_equal_names, judges, "--judge").startswith("--judge: two judges are named 'length'; give one")


def test_a_broken_member_is_refused_before_the_panel_acts(here: Path) -> None:
    write(here / "bad.yaml", "adapter: constant\nvalue: high\n")
    panel = {"adapter": "panel", "judges": ["length", "./bad.yaml"]}
    assert "bad.yaml: value: should be a number, not 'high'" in refusal(load_judge, panel)


# --- --set ----------------------------------------------------------------------------------------------------


def keys_after(card: dict[str, Any], *assignments: str) -> dict[str, Any]:
    return Overrides(assignments).apply(find_card({"name": "mine", "adapter": "x", **card})).keys


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("mine.value=1e-5", "value", 1e-5),
        ("mine.value=no", "value", "no"),
        ("mine.value=", "value", None),
        ("mine.value=a=b", "value", "a=b"),
        ("mine.value=[a, b]", "value", ["a", "b"]),
        ("mine.value='5'", "value", "5"),
        ("mine.scale.best=9", "scale", {"worst": 1, "best": 9}),
        ("mine.new.deep.key=1", "new", {"deep": {"key": 1}}),
    ],
)
def test_set_changes_a_key_and_reads_the_value_as_yaml(assignment: str, key: str, value: object) -> None:
    card = {"value": 0, "scale": {"worst": 1, "best": 5}}
    assert keys_after(card, assignment)[key] == value
    assert card == {"value": 0, "scale": {"worst": 1, "best": 5}}, "the card itself is not touched"


def test_set_reaches_a_judge_whose_name_has_dots_and_no_other(here: Path) -> None:
    write(here / "judges" / "v1.5.yaml", "adapter: constant\n")
    overrides = Overrides(["v1.5.value=0.75"])
    assert overrides.apply(find_card("v1.5")).keys["value"] == 0.75
    assert "value" not in Overrides(["v1.value=1"]).apply(find_card("v1.5")).keys


def test_set_reaches_a_member_of_a_panel(main: Command) -> None:
    panel = "{adapter: panel, judges: [constant, {adapter: constant, name: other}]}"
    done = main("score", "-j", panel, "--text", "x", "--set", "other.value=1")
    assert '"score": 0.75' in done.stdout


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("value=1", "should be NAME.key=value, as in toxicity.device=cpu"),
        ("length.value", "should be NAME.key=value"),
        ("length.=1", "should be NAME.key=value"),
        ("length.unit={", "--set length.unit, line 1: not valid YAML"),
        ("lenght.unit=words", "no judge of this name takes part in the command"),
        ("length.unit=lines", "length.yaml with --set: unit: should be 'words' or 'characters', not 'lines'"),
        ("length.uint=words", "unknown key 'uint' (did you mean 'unit'?)"),
        ("length.unit=&a [*a]", "nested more than 50 deep"),
        (f"length.{'a.' * 5000}b=1", "nested more than 50 deep"),
    ],
)
def test_a_wrong_set_is_one_line(main: Command, assignment: str, says: str) -> None:
    done = main("score", "-j", "length", "--text", "x", "--set", assignment)
    assert done.returncode == 2
    assert says in one_line(done)


def test_putting_a_dotted_key_copies_on_the_way() -> None:
    inner = {"b": 1}
    members = [{"weight": 1}, 2]
    keys: dict[str, Any] = {"a": inner, "judges": members, "text": "x"}
    put(keys, "a.c", 2)
    put(keys, "judges.0.weight", 5)
    put(keys, "text.y", 3)
    assert keys == {"a": {"b": 1, "c": 2}, "judges": [{"weight": 5}, 2], "text": {"y": 3}}
    assert (inner, members) == ({"b": 1}, [{"weight": 1}, 2])


@pytest.mark.parametrize("place", ["2", "-1", "x", ""])
def test_a_place_that_a_list_has_not_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="no index in a list of 2 items; the first one is 0"):
        put({"judges": [1, 2]}, f"judges.{place}", 3)


# --- any card at all ------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
adapters = st.sampled_from(["constant", "random", "length", "lexicon", "panel", "python", "classifier"])
words = st.sampled_from(["value", "seed", "unit", "words", "file", "judges", "combine", "quorum", "function", "scale"])
members = st.sampled_from(["length", "constant", {"judge": "random", "weight": 2}, {"adapter": "constant"}])
keys = st.dictionaries(words | st.text(max_size=5), scalars | st.lists(scalars | members, max_size=3), max_size=4)


@given(adapters | st.text(max_size=10), keys)
@example("panel", {"judges": ["panel"]})
@example("python", {"function": "builtins:len"})
@example("python", {"function": ".x:f"})
@example("python", {"function": "~root/x.py:f"})
@example("lexicon", {"file": "\0"})
@example("lexicon", {"words": ["\ud800"]})
def test_any_card_is_a_judge_or_one_line(adapter: str, keys: dict[str, Any]) -> None:
    try:
        judge = load_judge({**keys, "adapter": adapter})
    except RlaifError as error:
        message = str(error)
    else:
        message = judge.name
    assert message


@given(st.text() | st.text(alphabet="adapter: constnvlue{}[],.&*0\n\"'"))
@example("~x/{}.yaml")
@example("{adapter: constant, name: [x]}")
@example("{? {}: 1}")
def test_any_text_is_a_card_or_one_line(text: str) -> None:
    try:
        found = read_card(find_card(text))
    except InputError as error:
        assert str(error)  # noqa: PT017 - either way is right
    else:
        assert found


# --- questions ------------------------------------------------------------------------------------------------

QUESTION = (
    "---\nmeasures: harmlessness\nscale: {worst: 1, best: 5}\n---\n\nRate {completion} from {worst} to {best}. {}\n"
)


def test_a_question_carries_its_scale_and_names_its_fields(here: Path) -> None:
    write(here / "prompts" / "judge" / "mine.md", QUESTION)
    question = read_question("judge/mine")
    assert (question.name, question.measures) == ("judge/mine", "harmlessness")
    assert question.scale == Scale(worst=1, best=5)
    assert question.text == "Rate {completion} from {worst} to {best}. {}"
    assert question.fields == {"completion", "worst", "best"}


def test_a_question_is_found_by_path_relative_to_the_card(tmp_path: Path) -> None:
    write(tmp_path / "there" / "mine.md", QUESTION.replace("\n", "\r\n"))
    assert read_question("./mine.md", tmp_path / "there").measures == "harmlessness"
    assert read_question("mine.md", tmp_path / "there").text.startswith("Rate")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "should begin with a front matter between two --- lines: measures, scale"),
        ("Rate {completion}.", "should begin with a front matter"),
        ("---\nmeasures: x\n", "should begin with a front matter"),
        ("---\n---\nRate {completion}.", "front matter: should be a mapping of keys to values, not None"),
        ("---\nmeasures: x\n---\nRate {completion}.", "front matter: the key 'scale' is missing"),
        ("---\nmeasures: x\nscale: 5\n---\nRate {completion}.", "front matter: scale: should be a mapping, not 5"),
        ("---\nmeasures: 1\nscale: {worst: 1, best: 5}\n---\n{completion}", "measures: should be text, not 1"),
        ("---\nmeasures: x\nscale: {worst: 1, best: 1}\n---\n{completion}", "worst and best of a scale should differ"),
        (
            "---\nmeasures: x\nscale: {worst: 1, best: 5, mid: 3}\n---\n",
            "unknown key 'scale.mid'; allowed: worst, best",
        ),
        ("---\nmeasures: x\nmeasures: y\n---\n{completion}", "mine.md, line 3: not valid YAML: the key 'measures'"),
        ("---\nmeasures: x\nscale: {worst: 1, best: 5}\n---\nRate it.", "never names {completion}"),
        ("---\nmeasures: x\nscale: {worst: 1, best: 5}\n---", "never names {completion}"),
    ],
)
def test_a_wrong_question_is_refused_by_file_and_reason(here: Path, text: str, says: str) -> None:
    write(here / "mine.md", text)
    message = refusal(read_question, "./mine.md")
    assert "mine.md" in message
    assert says in message


def test_a_question_that_is_not_there_is_refused_with_those_there_are(here: Path) -> None:
    write(here / "prompts" / "judge" / "manners.md", QUESTION)
    message = refusal(locate, "prompts", "judge/maners", Path())
    assert "no prompt named 'judge/maners' (did you mean 'judge/manners'?)" in message
    assert "there are: " in message


@pytest.mark.parametrize(
    ("scale", "number", "score"),
    [
        (Scale(worst=1, best=5), 1, 0),
        (Scale(worst=1, best=5), 4.5, 0.875),
        (Scale(worst=10, best=0), 2.5, 0.75),
    ],
)
def test_a_number_on_a_scale_is_a_score(scale: Scale, number: float, score: float) -> None:
    assert number in scale
    assert scale.score(number) == score
    assert 11 not in scale
    assert -1 not in scale


# --- rlaif judges ---------------------------------------------------------------------------------------------


def test_a_card_is_printed_to_be_copied(main: Command) -> None:
    done = main("judges", "length")
    assert done.stdout == (shipped_folder("judges") / "length.yaml").read_text()
    assert done.stderr == f"from {shipped_folder('judges') / 'length.yaml'}\n"


def test_a_broken_card_does_not_hide_the_others(main: Command) -> None:
    write(Path.cwd() / "judges" / "wrong.yaml", "adapter: constant\nvalu: 1\n")
    done = main("judges")
    assert done.returncode == 0
    assert "unknown key 'valu' (did you mean 'value'?)" in " ".join(done.stdout.split())
    assert "length length length yes" in " ".join(done.stdout.split())


def test_a_panel_is_as_ready_as_its_members(main: Command) -> None:
    write(Path.cwd() / "judges" / "both.yaml", "adapter: panel\njudges: [length, {adapter: classifier, model: a/b}]\n")
    line = next(line for line in main("judges").stdout.splitlines() if line.startswith("both"))
    assert "a/b is not downloaded yet" in line
    assert os.environ["HF_HUB_OFFLINE"] == "1"
