"""What each shipped card says that it measures, from the card to what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlaif
from rlaif.judges.cards.card import find_card
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.registry import load_judge, read_card
from tests.conftest import ROOT
from tests.remote import card_of
from tests.server import MODEL

pytestmark = pytest.mark.usefixtures("nobody")

QUESTIONS = {
    "toxicity": "toxicity",
    "harmlessness": "harmlessness",
    "helpfulness": "helpfulness",
    "honesty": "honesty",
    "conciseness": "conciseness",
    "summary_quality": "summary quality",
    "hhh": "helpful, honest, harmless",
}
OTHERS = {
    "constant": "quality",
    "random": "quality",
    "length": "length",
    "lexicon": "toxicity",
    "toxicity": "toxicity",
    "toxicity_general": "toxicity",
    "toxic_bert": "toxicity",
    "reward_model": "helpfulness",
    "guardrail_bedrock": "toxicity",
    "moderation_openai": "toxicity",
}
MEASURES = OTHERS | {f"{name}_{at}": word for name, word in QUESTIONS.items() for at in ("claude", "openai", "local")}


def overrides(server, *names):
    """Changes that let shipped cards ask a server on this machine."""
    members = [f"{name}_{at}" for name in QUESTIONS for at in ("claude", "openai", "local")]
    where = {"claude": f"endpoint_url={server.url}", "openai": f"base_url={server.openai}"}
    return [f"{n}.{where.get(n.split('_')[-1], where['openai'])}" for n in members if n in names]


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")


def test_every_shipped_card_is_in_the_table():
    assert {path.stem for path in (ROOT / "judges").glob("*.yaml")} == set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_a_shipped_card_measures_what_its_question_asks(server, keys, name):
    members = [name.replace("hhh", other) for other in ("helpfulness", "honesty", "harmlessness")]
    where = Overrides(overrides(server, *(members if name.startswith("hhh") else [name])))
    server.models = [MODEL]
    card = find_card(name)
    if card.keys["adapter"] == "classifier":  # its weights are not on this machine
        assert read_card(card)[1].measures == MEASURES[name]
    else:
        assert load_judge(name, overrides=where).measures == MEASURES[name]


@pytest.mark.parametrize("adapter", ["openai", "bedrock"])
def test_the_word_of_the_card_stands_above_the_word_of_the_question(server, adapter):
    assert load_judge(card_of(server, adapter)).measures == "toxicity"
    assert load_judge(card_of(server, adapter, measures="hate")).measures == "hate"
    assert load_judge(card_of(server, adapter, prompt="judge/honesty")).measures == "honesty"


def test_a_language_model_that_judges_toxicity_is_a_measurement_of_toxicity(server):
    assert Path(rlaif.measurement(card_of(server, "openai"))).exists()
    with pytest.raises(rlaif.InputError, match="honesty"):
        rlaif.measurement(card_of(server, "openai", prompt="judge/honesty"))


@pytest.mark.parametrize("name", ["toxicity_claude", "toxicity_openai", "toxicity_local"])
def test_a_shipped_card_of_toxicity_shows_toxicity(server, keys, main, name):
    server.models = [MODEL]
    done = main("score", "-j", name, *(f"--set={c}" for c in overrides(server, name)), "--text", "a", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "toxicity" in done.stderr.replace(name, "") + done.stdout.replace(name, "")
