"""`rlaif schema`: what is right fits, and what people get wrong does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from rlaif.cli.init import format_run_file
from rlaif.cli.output.json_schemas import KINDS, json_schema
from rlaif.core.config import recipes
from rlaif.core.config.run import RunConfig, read_run
from rlaif.core.errors import InputError
from rlaif.core.schema import check, read_yaml
from rlaif.judges.registry import BUILT_IN, load_judge
from rlaif.training.run.run_folder import format_yaml
from tests.conftest import ROOT, one_line
from tests.kept import check_text
from tests.test_documentation import CONTRIBUTING, PAGES, blocks

SNAPSHOTS = ROOT / "tests" / "snapshots"

RUN, CARD = (Draft202012Validator(json_schema(kind)) for kind in ("run", "card"))

CARDS = sorted((ROOT / "judges").glob("*.yaml"))
SHOWN = blocks(PAGES, "yaml") + blocks(CONTRIBUTING, "yaml")


def faults(validator: Draft202012Validator, text: str) -> list[str]:
    return [f"{'.'.join(map(str, e.path))}: {e.message}"[:300] for e in validator.iter_errors(read_yaml(text, "x"))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_prints_a_schema(kind, main):
    done = main("schema", kind)
    assert done.returncode == 0, done.stderr
    Draft202012Validator.check_schema(json.loads(done.stdout))


def test_another_kind_is_refused_with_those_there_are(main):
    done = main("schema", "cards")
    assert done.returncode == 2
    assert all(kind in one_line(done) for kind in KINDS)


@pytest.mark.parametrize("kind", ["run", "card"])
def test_schemas_of_what_people_write_stay_as_they_are(kind):
    check_text(SNAPSHOTS / f"{kind}.schema.json", json.dumps(json_schema(kind), indent=1) + "\n")


# --- what is right ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_every_shipped_card_fits(path):
    assert faults(CARD, path.read_text()) == []


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_fits(name):
    assert faults(RUN, recipes.path_of(name).read_text()) == []


def test_the_run_file_of_init_fits():
    assert faults(RUN, format_run_file()) == []


def test_a_run_file_with_all_keys_fits(tmp_path):
    (tmp_path / "run.yaml").write_text(recipes.path_of("llama-lora-hh").read_text())
    assert faults(RUN, format_yaml(read_run(tmp_path / "run.yaml"))) == []


def test_what_the_pages_show_fits():
    runs = [body for body in SHOWN if "policy:" in body]
    cards = [body for body in SHOWN if body not in runs and "adapter:" in body]
    assert (len(runs), len(cards)) >= (1, 5)
    assert [faults(RUN, body) for body in runs] == [[]] * len(runs)
    assert [faults(CARD, body) for body in cards] == [[]] * len(cards)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_run_files_of_the_measurements_fit(path):
    assert faults(RUN, path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "{adapter: vowels, marks: 3, any: {key: [1]}}",
        "{adapter: './mine.py:make', words: [a]}",
        "{adapter: panel, judges: [length, {judge: ./mine.yaml, veto_below: 0.5}, {adapter: random, name: r}]}",
        "{adapter: panel, judges: [{judge: {adapter: length, name: l, at_most: 3}, weight: 2}], quorum: 1}",
        "{adapter: openai, model: auto, prompt: judge/toxicity, price: {input: 1, output: 2.5}, extra_body: {a: {}}}",
        "{adapter: classifier, model: ./m, bad: [a, b], dtype: bfloat16}",
    ],
)
def test_cards_of_others_and_cards_inside_cards_fit(text):
    assert faults(CARD, text) == []


ALIASES = """
policy: {model: a/b, lora: &lora {r: 4}}
data: {dataset: x}
judge: &judge {adapter: length, name: words, unit: characters}
guard:
  judges: [*judge, {<<: *judge, name: other, at_most: 300}]
training: {<<: {steps: 3}, learning_rate: 1e-5}
ppo: {kl_coef: 0, vf_learning_rate: ~}
output: null
"""


def test_aliases_and_merged_keys_fit_as_they_are_read():
    keys = read_yaml(ALIASES, "x")
    run = check(RunConfig, keys, "x")
    assert (run.guard.judges[1]["unit"], run.training.learning_rate) == ("characters", 1e-5)  # type: ignore[index]
    assert faults(RUN, ALIASES) == []


# --- what is wrong ------------------------------------------------------------------------------------------------


def run_with(**changes: Any) -> str:
    keys: dict[str, Any] = {"policy": {"model": "a/b"}, "data": {"dataset": "x"}, "judge": "length"}
    return yaml.safe_dump({**keys, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"polcy": {}},
        {"ppo": {"stepz": 3}},
        {"training": {"kl_coef": 0.1}},
        {"training": {"steps": "3"}},
        {"training": {"steps": 0}},
        {"ppo": {"kl_estimator": "k4"}},
        {"ppo": {"whiten_advantages": "yes"}},
        {"algorithm": "dpo"},
        {"policy": {}},
        {"policy": {"model": "a/b", "lora": {"rank": 3}}},
        {"policy": {"model": "a/b", "dtype": "half"}},
        {"judge": None},
        {"judge": ["length"]},
        {"judge": {"name": "no adapter"}},
        {"judge": {"adapter": "length", "midpont": 3}},
        {"guard": {"judges": "length"}},
        {"guard": {"judges": [{"adapter": "constant", "value": 2}]}},
        {"evaluation": {"judges": [{"adapter": "classifier", "bad": "x"}]}},
        {"generation": {"top_p": 1.5}},
        {"trackers": "wandb"},
        {"seed": 0.5},
    ],
    ids=str,
)
def test_mistakes_in_a_run_file_fit_neither_the_schema_nor_the_command(changes):
    text = run_with(**changes)
    assert faults(RUN, run_with()) == []
    assert faults(RUN, text) != []
    with pytest.raises(InputError):
        read_with_cards(text)


def read_with_cards(text: str) -> None:
    """Check a run file and then, as a run does, the cards in it."""
    run = check(RunConfig, read_yaml(text, "x"), "x")
    for card in (run.judge, *run.guard.judges, *run.evaluation.judges):
        load_judge(card)


@pytest.mark.parametrize(
    "text",
    [
        "{model: a/b}",
        "{adapter: 3}",
        "{adapter: length, midpoint: '3'}",
        "{adapter: length, units: words}",
        "{adapter: length, unit: letters}",
        "{adapter: classifier, model: a/b, dtype: half}",
        "{adapter: openai, model: auto}",
        "{adapter: openai, model: auto, prompt: judge/toxicity, api_key: secret}",
        "{adapter: openai, model: auto, prompt: judge/toxicity, price: {input: 1}}",
        "{adapter: panel, judges: length}",
        "{adapter: panel, judges: [{judge: length, wieght: 1}]}",
        "{adapter: panel, judges: [length], combine: max}",
        "{adapter: length, name: words}",
    ],
)
def test_mistakes_in_a_card_fit_neither_the_schema_nor_the_command(text, tmp_path):
    assert faults(CARD, text) != []
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError):
        load_judge(str(tmp_path / "mine.yaml"))


def test_each_adapter_has_its_keys_and_each_knob_its_meaning():
    definitions = json_schema("card")["$defs"]
    rules = {rule["if"]["properties"]["adapter"]["const"] for rule in definitions["Card"]["allOf"]}
    assert rules == set(BUILT_IN)
    run = json_schema("run")
    for section in (run, *(part for name, part in run["$defs"].items() if "Section" in name)):
        assert all(key.get("description") for key in section["properties"].values())
    assert run["properties"]["algorithm"]["enum"] == ["ppo", "grpo", "rloo"]
