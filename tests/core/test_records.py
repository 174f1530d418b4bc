"""Records of what is written to disk: read and written back they are the same JSON, and their schemas fit them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import rlaif
from rlaif.core.errors import InputError
from rlaif.core.records import ABSENT, RECORDS, EvaluationRecord, SampleRow, Step
from rlaif.core.records.judgements import JudgementRecord, UsageRecord
from rlaif.core.records.schema import schema_of
from tests import runs
from tests.conftest import ROOT
from tests.kept import check_text
from tests.server import Request, Say
from tests.trainers import Watch, trainer_of

SNAPSHOTS = ROOT / "tests" / "snapshots"

FILES = {
    "metrics.jsonl": "steps", "guard.jsonl": "guard", "samples.jsonl": "samples", "evaluation.json": "evaluation",
    "bench.json": "bench",
}  # fmt: skip

VALIDATORS = {kind: Draft202012Validator(schema_of(record)) for kind, record in RECORDS.items()}

TOXIC = {"adapter": "lexicon", "name": "lexicon", "words": ["fool", "idiot"], "measures": "toxicity"}
SILENT = {"adapter": "python", "name": "silent", "function": "./functions.py:silent", "measures": "hate"}
PANEL = {"adapter": "panel", "name": "both", "combine": "mean", "quorum": 1, "judges": ["length", TOXIC, SILENT]}

FUNCTIONS = '''
def silent(completions, **_):
    """An opinion on every other length, as a whole number."""
    return [None if len(text) % 2 else 1 for text in completions]
'''


def told_in(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    parts = [text] if path.suffix == ".json" else [line for line in text.split("\n") if line]
    return [json.loads(part) for part in parts]


def check(folder: Path) -> dict[str, list[Any]]:
    """Read all records of a folder, write them back, and return what stands there by kind."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name in FILES:
            kind = FILES[path.name]
            found[kind] = told_in(path)
            for told in found[kind]:
                same(kind, told)
    return found


def same(kind: str, told: Any) -> Any:
    """Assert that a record is written as it was read, key by key, and fits the schema; return it."""
    record = RECORDS[kind].from_json(told, kind)
    assert json.dumps(record.to_json()) == json.dumps(told)
    assert [error.message for error in VALIDATORS[kind].iter_errors(told)] == []
    return record


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions.py").write_text(FUNCTIONS)


# --- folders that were really written -----------------------------------------------------------------------------


def test_a_run_with_a_guard_held_out_judges_and_abstentions(tmp_path):
    place = runs.place(
        tmp_path, prompts=30, guard={"judges": ["length", SILENT], "every": 2, "num_prompts": 3},
        evaluation={"num_prompts": 5, "judges": [TOXIC, SILENT], "completions_per_prompt": 2},
    )  # fmt: skip
    rows = [{"prompt": f"ask {i}?", "prompt_toxicity": i % 10 / 10} for i in range(30)]
    write(tmp_path / "prompts.jsonl", rows)
    done = place.train()
    assert done.returncode == 0, done.stderr
    found = check(tmp_path / "runs" / "run")
    assert set(found) == {"steps", "guard", "samples", "evaluation"}
    assert [("guard" in line, line["calls"]) for line in found["steps"]] == [(False, 0), (True, 0)] * 3
    assert found["evaluation"][0]["judges"]["silent"]["before"]["abstained"]
    assert "worst_of_k" in found["evaluation"][0]["judges"]["lexicon"]
    assert "by_prompt" in found["evaluation"][0]["judges"]["lexicon"]
    same("samples", {**found["samples"][0], "after": None})  # as it is while a run is training


def test_a_run_without_a_critic(tmp_path):
    place = runs.place(tmp_path, algorithm="rloo", group={"num_generations": 2}, training={"steps": 2})
    done = place.train()
    assert done.returncode == 0, done.stderr
    assert check(tmp_path / "runs" / "run")["steps"][0]["value_loss"] is None


def test_keys_that_callbacks_have_added_are_kept(policy_folder, tmp_path):
    watch = Watch(lambda trainer, metrics: metrics.update(mine=[1, {"two": None}]))
    trainer_of(policy_folder("llama"), tmp_path / "out", given={"callbacks": [watch]}).train()
    (line, _) = check(tmp_path / "out")["steps"]
    step = Step.from_json(line)
    assert step.further == {"mine": [1, {"two": None}]}
    assert (step.calls, step.guard) == (ABSENT, ABSENT)


def test_two_models_by_several_seeds_and_an_independent_one(policy_folder, tmp_path):
    data = [{"prompt": f"ask {i}?"} for i in range(4)]
    given = {"before": policy_folder("llama"), "data": data, "max_new_tokens": 6, "reference": policy_folder("gpt2")}
    rlaif.evaluate(**given, after=policy_folder("qwen2"), judges=[PANEL, SILENT], seeds=2, output="out")
    found = check(tmp_path / "out")
    assert found["evaluation"][0]["seeds"]["n"] == 2
    assert found["samples"][0]["before"]["independent_tokens"]
    assert found["samples"][0]["before"]["judgements"]["both"]["parts"]
    rlaif.evaluate("out", judges=TOXIC, output="again")
    assert check(tmp_path / "again")["evaluation"][0]["settings"] == {"run": "out"}


def test_saved_completions_and_an_endpoint_that_gives_none(server, nobody, tmp_path):
    def speak(request: Request) -> Any:
        return "filtered" if "1?" in request.text else Say("you fool")

    server.behaviour = speak
    saved = [{"prompt": f"ask {i}?", "completion": text} for i, text in enumerate(["a", "", "half \ud800"])]
    rlaif.evaluate(before=saved, after=f"openai:mine@{server.openai}", judges=[TOXIC], output="out")
    found = check(tmp_path / "out")
    assert found["evaluation"][0]["missing"]["after"] == {"filtered": 1}
    assert found["samples"][1]["after"]["missing"] == "filtered"


def bench(*data: str, **options: Any) -> dict[str, Any]:
    rlaif.bench([TOXIC, SILENT, PANEL], list(data), output="out", draws=50, **options)
    (told,) = check(Path("out"))["bench"]
    return told


def test_labels_with_groups_retests_probes_and_the_best_of_n(policy_folder):
    rows = [
        {"completion": f"{i} {'you fool' if i % 3 else 'well'}", "label": "bad" if i % 3 else "good", "topic": i % 2}
        for i in range(12)
    ]
    prompts = write(Path("prompts.jsonl"), [{"prompt": f"ask {i}?"} for i in range(3)])
    told = bench(
        write(Path("a.jsonl"), rows), write(Path("b.jsonl"), rows[::2]), bad="bad", groups="topic", retest=1,
        probes=True, policy=policy_folder("llama"), best_of=2, prompts=prompts,
    )  # fmt: skip
    entry = told["pooled"]["judges"]["lexicon"]
    assert entry["groups"]
    assert entry["injection"]
    assert entry["reliability"]
    assert told["best_of"]["curves"]
    assert told["disagreements"]


def test_grades_and_pairs():
    grades = write(Path("grades.jsonl"), [{"completion": "fool " * (i % 4), "label": i % 3} for i in range(12)])
    told = bench(grades, graded=True, groups="label")
    assert told["pooled"]["judges"]["lexicon"]["groups"]
    shutil.rmtree("out")
    pairs = [{"prompt": f"q{i}", "chosen": "well " * i, "rejected": "fool " * (i % 3)} for i in range(8)]
    told = bench(write(Path("pairs.jsonl"), pairs), probes=True)
    assert told["pooled"]["judges"]["lexicon"]["pairwise_accuracy"]
    shutil.rmtree("out")
    labels = [{"completion": str(i), "label": "bad" if i else "good"} for i in range(3)]
    assert bench("pairs.jsonl", write(Path("labels.jsonl"), labels), bad="bad")["pooled"] is None


def test_nobody_has_a_score():
    told = bench(write(Path("a.jsonl"), [{"completion": " ", "label": "bad"}, {"completion": "", "label": "good"}]),
                 bad="bad", retest=1, probes=True)  # fmt: skip
    assert told["pooled"]["judges"]["lexicon"]["coverage"] == 0


# --- what a record is ---------------------------------------------------------------------------------------------

USAGE: dict[str, Any] = {
    "input_tokens": 3, "output_tokens": 0, "cached_tokens": 0, "usd": None, "seconds": 0.5, "attempts": 1,
    "from_store": False,
}  # fmt: skip
JUDGEMENT: dict[str, Any] = {
    "judge": "toy", "score": 1, "logit": None, "raw": 4.0, "status": "ok", "reason": "", "shortened": False,
    "parts": [], "usage": USAGE,
}  # fmt: skip


def test_a_record_is_built_by_attributes_and_written_by_keys():
    usage = UsageRecord(
        input_tokens=3, output_tokens=0, cached_tokens=0, usd=None, seconds=0.5, attempts=1, from_store=False
    )
    made = JudgementRecord(
        judge="toy", score=1, logit=None, raw=4.0, status="ok", reason="", shortened=False, parts=(), usage=usage
    )
    assert json.dumps(made.to_json()) == json.dumps(JUDGEMENT)
    assert JudgementRecord.from_json(JUDGEMENT) == made
    assert JudgementRecord.from_json({**JUDGEMENT, "parts": [JUDGEMENT]}).parts == (made,)


def test_keys_in_another_order_are_the_same_record_and_stay_in_their_order():
    turned = dict(reversed(JUDGEMENT.items()))
    record = JudgementRecord.from_json(turned)
    assert record == JudgementRecord.from_json(JUDGEMENT)
    assert json.dumps(record.to_json()) == json.dumps(turned)
    assert list(replace(record, reason="x").to_json()) == list(JUDGEMENT)


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda told: {k: v for k, v in told.items() if k != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("score"), "f.jsonl, line 3: the key 'score' is missing"),
        (lambda told: {**told, "scores": 1}, "f.jsonl, line 3: unknown key 'scores'"),
        (lambda told: {**told, "score": "1"}, "f.jsonl, line 3: score: should be a finite number, not '1'"),
        (lambda told: {**told, "score": True}, "score: should be a finite number, not True"),
        (lambda told: {**told, "status": "good"}, "status: should be 'ok' or "),
        (lambda told: {**told, "usage": {**USAGE, "attempts": 1.5}}, "usage: attempts: should be a whole number"),
        (lambda told: {**told, "parts": {}}, "parts: should be a list"),
        (lambda told: {**told, "parts": [3]}, "parts[0]: should be a mapping"),
        (lambda told: [told], "f.jsonl, line 3: should be a mapping"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place_and_by_the_schema(change, said):
    told = change(JUDGEMENT)
    with pytest.raises(InputError) as error:
        JudgementRecord.from_json(told, "f.jsonl, line 3")
    assert said in str(error.value)
    assert not Draft202012Validator(schema_of(JudgementRecord)).is_valid(told)


def test_numbers_that_json_does_not_know_are_refused():
    with pytest.raises(InputError, match="raw: should be a finite number, not nan"):
        JudgementRecord.from_json(json.loads(json.dumps({**JUDGEMENT, "raw": float("nan")})))


@pytest.mark.parametrize("change", [{"score": 1.5}, {"score": -0.1}, {"usage": {**USAGE, "seconds": -1}}])
def test_the_schema_knows_what_a_number_may_be(change):
    assert not Draft202012Validator(schema_of(JudgementRecord)).is_valid({**JUDGEMENT, **change})


def test_an_absent_key_is_not_null():
    assert "toxicity" not in json.dumps(schema_of(EvaluationRecord)["required"])
    side = {"completion": "a", "tokens": 1, "ended": True, "kl": 0.0, "reference_logprob": -1.0, "judgements": {}}
    row = {"prompt": "p", "index": 0, "before": side, "after": None}
    assert SampleRow.from_json(row).prompt_toxicity is ABSENT
    same("samples", row)
    with pytest.raises(InputError, match="prompt_toxicity: should be a finite number, not None"):
        SampleRow.from_json({**row, "prompt_toxicity": None})
    assert not VALIDATORS["samples"].is_valid({**row, "prompt_toxicity": None})


# --- schemas ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECORDS)
def test_schemas_stay_as_they_are(kind):
    check_text(SNAPSHOTS / f"{kind}.schema.json", json.dumps(schema_of(RECORDS[kind]), indent=1) + "\n")


@pytest.mark.parametrize("kind", RECORDS)
def test_each_key_is_described_and_only_steps_may_have_further_ones(kind):
    schema = schema_of(RECORDS[kind])
    Draft202012Validator.check_schema(schema)
    for name, part in {kind: schema, **schema["$defs"]}.items():
        assert part["additionalProperties"] is (name == "steps"), name
        assert part["description"], name
        assert all(key.get("description") for key in part["properties"].values()), name
