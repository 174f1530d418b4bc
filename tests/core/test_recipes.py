"""The recipes: each is a run file, copied as it is, run by its name, and trains a small model of the hub's kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GPTNeoConfig, GPTNeoForCausalLM

from rlaif.core.config import recipes
from rlaif.core.config.run import read_run
from rlaif.data.prompts import load_parts
from rlaif.policy.tokenizer import read_tokenizer
from tests import tiny
from tests.conftest import ROOT, one_line
from tests.server import Server

OURS = ("flan-t5-hh", "llama-lora-hh", "neo-rtp")
SHORT = {
    "training.steps": 2, "training.batch_size": 4, "training.mini_batch_size": 2, "generation.max_new_tokens": 8,
    "generation.min_new_tokens": 2, "guard.num_prompts": 3, "guard.every": 1, "evaluation.num_prompts": 4,
}  # fmt: skip


def hh(count: int = 40) -> list[dict[str, Any]]:
    """Rows as Anthropic/hh-rlhf has them: dialogues that share all but the last answer."""
    first = "\n\nHuman: What is {0} and {0}?\n\nAssistant: Why do you ask?"
    asked = [f"{first.format(i)}\n\nHuman: Just say, {i % 2 * 'you fool'}.\n\nAssistant:" for i in range(count)]
    return [{"chosen": f"{text} It is {2 * i}.", "rejected": f"{text} No."} for i, text in enumerate(asked)]


def rtp(count: int = 60) -> list[dict[str, Any]]:
    """Rows as allenai/real-toxicity-prompts has them; each third has no score, each third one that is low."""
    kinds = ("profanity", "sexually_explicit", "identity_attack", "flirtation", "threat", "insult", "severe_toxicity")
    scores: list[float | None] = [None, 0.1, 0.8]
    return [
        {
            "filename": f"0{i}-text.txt", "begin": 10 * i, "end": 10 * i + 90, "challenging": i % 2 == 0,
            "prompt": {"text": f"Number {i} of the list says that you", "toxicity": scores[i % 3],
                       **dict.fromkeys(kinds, None if i % 3 == 0 else 0.2)},
            "continuation": {"text": " are late.", "toxicity": 0.05, **dict.fromkeys(kinds, 0.1)},
        }
        for i in range(count)
    ]  # fmt: skip


def neo(folder: Path) -> Path:
    """A GPT-Neo, whose layers look at all tokens and at near ones in turn, without a pad token, as on the hub."""
    words = tiny.tokenizer(pad=None, single="$A", max_length=tiny.POSITIONS)
    config = GPTNeoConfig(
        vocab_size=len(words), hidden_size=32, num_layers=2, num_heads=2, window_size=8, intermediate_size=48,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=tiny.POSITIONS, bos_token_id=2,
        eos_token_id=2, attention_dropout=0.1, resid_dropout=0.1,
    )  # fmt: skip
    with tiny.weights():
        GPTNeoForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory, policy_folder) -> dict[str, Path]:
    """For each recipe a small model of its architecture."""
    return {
        "flan-t5-hh": policy_folder("flan_t5"),
        "llama-lora-hh": policy_folder("llama", pad=False, chat=tiny.CHAT, hub_defaults=True),
        "neo-rtp": neo(tmp_path_factory.mktemp("neo")),
    }


@pytest.fixture
def here(tmp_path, monkeypatch, models) -> Path:
    """A folder with the hub's data sets as files, and small judges under the names of the shipped ones."""
    monkeypatch.chdir(tmp_path)
    for name, rows in (("hh.jsonl", hh()), ("rtp.jsonl", rtp())):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "judges").mkdir()
    labels = {"toxicity": ("nothate", "hate"), "toxicity_general": ("neutral", "toxic")}
    for name, (good, bad) in labels.items():
        card = yaml.safe_load((ROOT / f"judges/{name}.yaml").read_text())
        assert card["bad"] == bad
        lively = {"toxicity": 0.2, "toxicity_general": 0.21}[name]  # other weights, or they would be one judge
        folder = tiny.classifier(tmp_path / f"model-{name}", labels=(good, bad), initializer_range=lively)
        (tmp_path / f"judges/{name}.yaml").write_text(yaml.safe_dump({**card, "model": str(folder)}))
    return tmp_path


def sets(name: str, models: dict[str, Path], **more: Any) -> list[str]:
    """The `--set` options that put small things in the hub's places."""
    data = "rtp.jsonl" if name == "neo-rtp" else "hh.jsonl"
    keys = {**SHORT, "policy.model": models[name], "data.dataset": data, **more}
    return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]


# --- run files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_is_what_its_name_says(name):
    run = read_run(recipes.path_of(name))
    wanted = {
        "flan-t5-hh": ("google/flan-t5-base", "Anthropic/hh-rlhf", "policy/summarize_dialogue", True),
        "llama-lora-hh": ("meta-llama/Llama-3.1-8B-Instruct", "Anthropic/hh-rlhf", None, True),
        "neo-rtp": ("EleutherAI/gpt-neo-125m", "allenai/real-toxicity-prompts", None, False),
    }
    there = (run.policy.model, run.data.dataset, run.data.template, run.policy.lora is not None)
    assert there == wanted[name]
    assert run.output == f"runs/{name}"


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_trains_by_one_judge_and_is_guarded_and_measured_by_another(name):
    run = read_run(recipes.path_of(name))
    assert run.judge == "toxicity"
    assert run.reward == "auto", "the logit"
    assert run.guard.judges == run.evaluation.judges == ["toxicity_general"]


@pytest.mark.parametrize("name", recipes.names())
def test_each_recipe_says_what_it_does_and_how_to_run_it(name):
    text = recipes.path_of(name).read_text()
    assert text.startswith("# ")
    assert f"rlaif train {name}" in text
    assert max(map(len, text.splitlines())) <= 120


# --- rlaif init, train and check by name --------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_init_copies_a_recipe_as_it_is_below_the_name_of_its_schema(name, main, tmp_path):
    assert main("init", name).returncode == 0
    schema, _, rest = (tmp_path / "run.yaml").read_bytes().partition(b"\n")
    assert schema == b"# yaml-language-server: $schema=run.schema.json"
    assert (tmp_path / "run.schema.json").exists()
    assert rest == recipes.path_of(name).read_bytes()
    assert main("init", name, "-o", "-").stdout == recipes.path_of(name).read_text()
    assert "exists already" in one_line(main("init", name))


def test_an_unknown_recipe_is_told_with_those_that_there_are(main, tmp_path):
    line = one_line(main("init", "neo-rpt"))
    assert "no recipe 'neo-rpt' (did you mean 'neo-rtp'?)" in line
    assert all(name in line for name in recipes.names())
    assert not (tmp_path / "run.yaml").exists()


@pytest.mark.parametrize("command", ["train", "check"])
def test_a_run_file_that_is_not_there_is_told_with_the_recipes(command, main):
    done = main(command, "nope.yaml")
    assert done.returncode == 2
    line = one_line(done)
    assert "nope.yaml: " in line
    assert all(name in line for name in recipes.names())


def test_a_file_of_a_recipes_name_wins(main, here, models):
    Path("neo-rtp").write_text("policy: 3\ndata: {dataset: x}\njudge: y\n")
    assert "neo-rtp: policy: should be a mapping, not 3" in one_line(main("train", "neo-rtp"))


def test_a_folder_of_a_recipes_name_is_no_run_file(main, here, models):
    Path("neo-rtp").mkdir()
    assert recipes.find_run_file("neo-rtp") == recipes.path_of("neo-rtp")


def test_the_help_of_init_names_every_recipe(main):
    shown = main("init", "--help").stdout
    assert all(name in shown for name in recipes.names())


# --- what they do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_trains_a_small_model_of_its_architecture(name, main, here, models):
    done = main("train", name, *sets(name, models))
    assert done.returncode == 0, done.stderr
    told = json.loads((here / f"runs/{name}/evaluation.json").read_text())
    roles = {judge: said["role"] for judge, said in told["judges"].items()}
    assert roles == {"toxicity": "training", "toxicity_general": "held_out"}
    assert len((here / f"runs/{name}/metrics.jsonl").read_text().splitlines()) == SHORT["training.steps"]
    auto = AutoModelForSeq2SeqLM if name == "flan-t5-hh" else AutoModelForCausalLM
    auto.from_pretrained(here / f"runs/{name}/model")


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_is_checked_by_its_name(name, main, here, models):
    done = main("check", name, *sets(name, models))
    assert done.returncode == 0, done.stderr
    assert "rlaif: " not in done.stderr
    assert "a step: about" in done.stdout
    assert not (here / "runs").exists()


def test_another_judge_is_one_word(main, here, models, nobody: None, server: Server):
    card = yaml.safe_load((ROOT / "judges/toxicity_claude.yaml").read_text())
    Path("judges/toxicity_claude.yaml").write_text(
        yaml.safe_dump({**card, "endpoint_url": server.url, "region": "us-east-1"})
    )
    done = main("train", "flan-t5-hh", *sets("flan-t5-hh", models, judge="toxicity_claude"))
    assert done.returncode == 0, done.stderr
    assert len(server.calls) >= 2
    told = json.loads((here / "runs/flan-t5-hh/evaluation.json").read_text())
    assert told["judges"]["toxicity_claude"]["role"] == "training"
    assert told["judges"]["toxicity_general"]["role"] == "held_out"


def parts(name: str, models: dict[str, Path], data: str) -> Any:
    run = read_run(recipes.path_of(name), [f"data.dataset={data}"])
    return load_parts(run.data, read_tokenizer(str(models[name])), guard_prompts=3, test_prompts=4)


def test_llama_is_asked_in_its_own_markup_and_turn_by_turn(here, models):
    found = parts("llama-lora-hh", models, "hh.jsonl")
    text = read_tokenizer(str(models["llama-lora-hh"])).decode(list(found.train[0].ids))
    assert text.startswith("<s>user: What is ")
    assert "</s><s>assistant: Why do you ask?</s><s>user: Just say, " in text
    assert "Human:" not in text


def test_flan_t5_is_asked_for_a_summary(here, models):
    found = parts("flan-t5-hh", models, "hh.jsonl")
    assert found.train[0].text.startswith("Summarize the following conversation.\n\n\n\nHuman: What is ")
    assert found.train[0].text.endswith("\n\nSummary:")


def test_neo_goes_on_with_toxic_prompts_only(here, models):
    found = parts("neo-rtp", models, "rtp.jsonl")
    every = [*found.train, *found.guard, *found.test]
    assert len(every) == 20
    assert {prompt.columns["prompt"]["toxicity"] for prompt in every} == {0.8}
    assert any("40 of 60 rows left out: they do not match data.where" in note for note in found.notes)
