"""Who is held out: model and question make a judge, not its name, its spelling, or the panel that it sits in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rlaif import InputError, load_judge
from rlaif.evaluation.roles import doubtful, roles_of
from tests import tiny
from tests.remote import card_of

MINE = {"adapter": "python", "function": "./mine.py:judge", "name": "mine"}
LEXICON = {"adapter": "lexicon", "words": ["fool", "clown"], "name": "words"}
LENGTH = {"adapter": "length", "name": "long"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a function; also the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def judge(completions):\n    return [0.5 for _ in completions]\n")
    return tmp_path


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.classifier(tmp_path_factory.mktemp("classifier"))


def kinds(training: Any, *others: Any, guards: Any = ()) -> dict[str, str]:
    roles = roles_of([load_judge(training)], [*map(load_judge, guards)], [*map(load_judge, others)])
    return {role.name: role.kind for role in roles}


def panel(*members: Any, **keys: Any) -> dict[str, Any]:
    return {"adapter": "panel", "judges": list(members), "name": "panel", **keys}


def test_another_judge_is_held_out_and_each_judge_has_one_role():
    training, guard, other = load_judge(MINE), load_judge(LEXICON), load_judge(LENGTH)
    roles = roles_of([training], [guard, load_judge(MINE)], [guard, other, load_judge(MINE)])
    assert [(role.name, role.kind, role.used_for_selection) for role in roles] == [
        ("mine", "training", True), ("words", "held_out", True), ("long", "held_out", False),
    ]  # fmt: skip
    assert roles[0].judge is training  # a second one would load its model once more
    assert roles[1].judge is guard


def test_the_same_classifier_is_not_held_out_whatever_its_name_and_spelling(classifier):
    card = {"adapter": "classifier", "model": str(classifier), "name": "one"}
    others = [
        {**card, "bad": "hate", "name": "same", "dtype": "bfloat16", "measures": "toxicity"},
        {**card, "good": "nothate", "name": "good"},
        {**card, "bad": "HATE", "name": "case"},
        {**card, "bad": "hate", "model": os.path.relpath(classifier), "name": "relative"},
        {**card, "bad": "hate", "revision": "main", "name": "main"},
    ]
    assert kinds({**card, "bad": "hate"}, *others, {**card, "bad": "nothate", "name": "opposite"}) == {
        **dict.fromkeys(["one", "same", "good", "case", "relative", "main"], "training"),
        "opposite": "held_out",
    }


def test_a_reward_model_is_the_same_whether_its_label_is_named_or_not(tmp_path):
    model = str(tiny.classifier(tmp_path / "reward", labels=("LABEL_0",)))
    card = {"adapter": "classifier", "model": model}
    named = {**card, "good": "LABEL_0", "name": "named"}
    assert kinds({**card, "name": "one"}, named)["named"] == "training"
    assert kinds({**card, "name": "one"}, {**card, "bad": "LABEL_0", "name": "bad"})["bad"] == "held_out"


def test_the_same_function_is_not_held_out_by_whichever_path_it_is_found(here):
    (here / "cards").mkdir()
    (here / "cards" / "theirs.yaml").write_text("{adapter: python, function: ../mine.py:judge, measures: kindness}")
    (here / "linked.py").symlink_to(here / "mine.py")
    linked = {**MINE, "function": "./linked.py:judge", "name": "linked"}
    assert set(kinds(MINE, "./cards/theirs.yaml", linked).values()) == {"training"}


def test_a_panel_that_the_training_judge_sits_in_is_not_held_out():
    assert kinds(MINE, panel({**MINE, "name": "alias"}, LENGTH))["panel"] == "training"
    inner = panel({**MINE, "name": "alias"}, name="inner")
    assert kinds(MINE, panel(LENGTH, inner))["panel"] == "training"
    assert kinds(MINE, panel(LENGTH, LEXICON))["panel"] == "held_out"


def test_a_member_of_the_panel_that_is_learned_from_is_not_held_out_nor_is_a_panel_that_shares_one():
    training = panel(MINE, panel(LEXICON, name="inner"), name="whole")
    told = kinds(training, {**MINE, "name": "a"}, {**LEXICON, "name": "b"}, panel(LENGTH, LEXICON), LENGTH)
    assert told == {"whole": "training", "a": "training", "b": "training", "panel": "training", "long": "held_out"}


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_the_same_endpoint_model_and_question_are_not_held_out_under_another_name(adapter, server, nobody):
    card = card_of(server, adapter, name="far")
    where = {"base_url": f"{server.openai}/"} if adapter == "openai" else {}
    told = kinds(
        card,
        {**card, **where, "name": "alias", "concurrency": 3, "price": {"input": 1, "output": 1}},
        {**card, "prompt": "judge/helpfulness", "name": "asks another question"},
        {**card, "model": f"{card['model']}-other", "name": "another model"},
    )
    assert told == {
        "far": "training", "alias": "training", "asks another question": "held_out", "another model": "held_out",
    }  # fmt: skip


@pytest.mark.parametrize("adapter", ["openai_moderation", "bedrock_guardrail"])
def test_judges_of_categories_have_a_part_in_a_run_as_others_have(adapter, server, nobody):
    where = {"base_url": server.openai} if "openai" in adapter else {"endpoint_url": server.url, "region": "us-east-1"}
    card = {"adapter": adapter, **where, "name": "one"}
    assert kinds(card, {**card, "name": "other"}, LENGTH)["other"] == "training"


def test_two_judges_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"evaluation\.judges: two judges are named 'mine'"):
        kinds(MINE, {**LENGTH, "name": "mine"})


def test_it_is_said_of_a_judge_that_one_may_take_for_held_out():
    training = load_judge(MINE)
    roles = roles_of([training], [load_judge({**MINE, "name": "alias"})], [load_judge(LENGTH), load_judge(MINE)])
    assert doubtful(roles, [training]) == [
        "alias is not held out: it shares model and question with mine, which is learned from"
    ]
