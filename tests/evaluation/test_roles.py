"""Who is held out: what it computes with makes a judge, not its name, its card, or the panel that it sits in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlaif import InputError, load_judge
from rlaif.evaluation.roles import doubtful, refuse_other_name, roles_of
from tests import tiny
from tests.remote import card_of

MINE = {"adapter": "python", "function": "./mine.py:judge", "name": "mine"}
LEXICON = {"adapter": "lexicon", "words": ["fool", "clown"], "name": "words"}
LENGTH = {"adapter": "length", "name": "long"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a function; also the working directory and `RLAIF_HOME`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLAIF_HOME", str(tmp_path / "home"))
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


def test_the_same_classifier_is_not_held_out_whatever_its_card_says(classifier):
    card = {"adapter": "classifier", "model": str(classifier), "name": "one"}
    others = [
        {**card, "bad": "hate", "name": "same", "dtype": "bfloat16", "measures": "toxicity"},
        {**card, "good": "nothate", "name": "good"},
        {**card, "bad": "HATE", "name": "case"},
        {**card, "bad": "hate", "model": os.path.relpath(classifier), "name": "relative"},
        {**card, "bad": "hate", "revision": "main", "name": "main"},
        {**card, "bad": "nothate", "name": "opposite"},
        {**card, "bad": "hate", "text": "prompt_and_completion", "name": "text"},
    ]
    told = kinds({**card, "bad": "hate"}, *others)
    assert told == dict.fromkeys(["one", "same", "good", "case", "relative", "main", "opposite", "text"], "training")


def test_a_copy_of_a_classifier_is_the_same_judge_in_whatever_format_and_dtype(classifier, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    shutil.copytree(classifier, tmp_path / "copied")
    for name in ("shards", "bin", "half"):
        shutil.copytree(classifier, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    kept = load_file(classifier / "model.safetensors")
    torch.save({**kept, "position_ids": torch.arange(9)}, tmp_path / "bin" / "pytorch_model.bin")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    card = {"adapter": "classifier", "bad": "hate"}
    names = ["copied", "shards", "half", "bin"]
    told = kinds(
        {**card, "model": str(classifier), "name": "one"},
        *({**card, "model": str(tmp_path / name), "name": name} for name in names),
    )
    assert told == dict.fromkeys(["one", *names], "training")


def test_a_classifier_of_the_same_shape_that_was_trained_otherwise_is_held_out(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "other")
    weights = load_file(classifier / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[0] += 0.1
    save_file(weights, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    card = {"adapter": "classifier", "bad": "hate"}
    other = {**card, "model": str(tmp_path / "other"), "name": "other"}
    assert kinds({**card, "model": str(classifier), "name": "one"}, other)["other"] == "held_out"


def test_weights_that_were_read_are_not_read_again_while_the_file_has_not_changed(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "copied")
    card = {"adapter": "classifier", "bad": "hate"}
    cards = {**card, "model": str(classifier), "name": "one"}, {
        **card, "model": str(tmp_path / "copied"), "name": "copied",
    }  # fmt: skip
    assert kinds(*cards)["copied"] == "training"
    weights = tmp_path / "copied" / "model.safetensors"
    then, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 64
    weights.write_bytes(content)
    os.utime(weights, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert kinds(*cards)["copied"] == "training"  # by size and time it is the file that was read
    os.utime(weights, ns=(then.st_atime_ns, then.st_mtime_ns + 1))
    assert kinds(*cards)["copied"] == "held_out"


def test_a_judge_under_the_training_cards_own_name_counts_once_also_where_it_is_a_copy(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "copied")
    card = {"adapter": "classifier", "model": str(classifier), "bad": "hate", "name": "one"}
    training = load_judge(card)
    (role,) = roles_of([training], [load_judge({**card, "model": str(tmp_path / "copied")})], [load_judge(card)])
    assert (role.name, role.kind, role.used_for_selection) == ("one", "training", True)
    assert role.judge is training


def test_a_reward_model_is_the_same_whether_its_label_is_named_or_not(tmp_path):
    model = str(tiny.classifier(tmp_path / "reward", labels=("LABEL_0",)))
    card = {"adapter": "classifier", "model": model}
    named = {**card, "good": "LABEL_0", "name": "named"}
    assert kinds({**card, "name": "one"}, named)["named"] == "training"
    assert kinds({**card, "name": "one"}, {**card, "bad": "LABEL_0", "name": "bad"})["bad"] == "training"


def test_the_same_function_is_not_held_out_by_whichever_path_it_is_found(here):
    (here / "cards").mkdir()
    (here / "cards" / "theirs.yaml").write_text("{adapter: python, function: ../mine.py:judge, measures: kindness}")
    (here / "linked.py").symlink_to(here / "mine.py")
    linked = {**MINE, "function": "./linked.py:judge", "name": "linked"}
    shutil.copy(here / "mine.py", here / "copied.py")
    copied = {**MINE, "function": "./copied.py:judge", "name": "copied"}
    assert set(kinds(MINE, "./cards/theirs.yaml", linked, copied).values()) == {"training"}


def test_functions_of_one_file_are_judges_of_their_own_also_where_another_function_made_them(here):
    (here / "made.py").write_text(
        "def judge_of(word):\n    def judge(completions):\n        return [float(word in c) for c in completions]\n"
        "    return judge\n\n\nkind = judge_of('please')\nrude = judge_of('fool')\n"
        "def plain(completions):\n    return [1.0 for _ in completions]\n"
    )
    made = [{**MINE, "function": f"./made.py:{name}", "name": name} for name in ("kind", "rude", "plain")]
    assert kinds(*made) == {"kind": "training", "rude": "held_out", "plain": "held_out"}


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


@pytest.mark.parametrize(
    ("judge", "who"),
    [
        ({**MINE, "name": "alias"}, "alias is mine under another name"),
        (panel({**MINE, "name": "alias"}, LENGTH), "alias, a member of panel, is mine under another name"),
        (panel(LENGTH, panel({**MINE, "name": "alias"}, name="inner")), "alias, a member of panel, is mine"),
    ],
)
def test_the_judge_that_is_learned_from_is_refused_under_another_name(judge, who):
    with pytest.raises(InputError, match=f"guard.judges and evaluation.judges: {who}"):
        refuse_other_name([load_judge(MINE)], [load_judge(LENGTH), load_judge(judge)])


@pytest.mark.parametrize("judge", [MINE, LENGTH, panel(MINE, LENGTH)], ids=["itself", "another", "a panel with it"])
def test_the_judge_that_is_learned_from_is_allowed_under_its_own_name(judge):
    refuse_other_name([load_judge(MINE)], [load_judge(judge)])
    refuse_other_name([load_judge(panel(MINE, LEXICON, name="whole"))], [load_judge(judge)])


def test_a_member_of_the_panel_that_is_learned_from_is_refused_under_another_name():
    training = load_judge(panel(MINE, LEXICON, name="whole"))
    with pytest.raises(InputError, match="alias is words under another name"):
        refuse_other_name([training], [load_judge({**LEXICON, "name": "alias"})])
    with pytest.raises(InputError, match="panel is whole under another name"):
        refuse_other_name([training], [load_judge(panel(MINE, LEXICON))])


def test_two_judges_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"evaluation\.judges: two judges are named 'mine'"):
        kinds(MINE, {**LENGTH, "name": "mine"})


def test_it_is_said_of_a_judge_that_one_may_take_for_held_out():
    training = load_judge(MINE)
    roles = roles_of([training], [load_judge({**MINE, "name": "alias"})], [load_judge(LENGTH), load_judge(MINE)])
    assert doubtful(roles, [training]) == [
        "alias is not held out: it shares its model with mine, which is learned from"
    ]
