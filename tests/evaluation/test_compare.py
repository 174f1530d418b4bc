"""`rlaif.evaluate`: two models, endpoints or saved completions measured alike; each number by another computation."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import scipy.stats
import torch

import rlaif
from rlaif.core.errors import InputError
from rlaif.evaluation import summary
from rlaif.evaluation.margins import Margins
from rlaif.policy.likelihood import score_ids, score_texts
from rlaif.policy.loading import load
from rlaif.policy.model import Policy
from tests import tiny
from tests.evaluation.test_measurement import Own, hashed, role, rows_of, side
from tests.evaluation.written import figures, format_csv, judge_summary, worst
from tests.policies import plain_logits
from tests.server import Request, Say

PROMPTS = [{"prompt": f"{'why ' * (i % 3)}ask {i}?", "gold": i} for i in range(12)]
SHORT: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 1, "batch_size": 4}


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory):
    """Another Llama with the same tokenizer."""
    folder = tiny.policy(tmp_path_factory.mktemp("other"), "llama", initializer_range=0.5)
    return folder


@pytest.fixture(scope="module")
def words_llama(tmp_path_factory):
    """A Llama whose tokenizer has other tokens."""
    from tests.trainers import ten_words

    folder = tmp_path_factory.mktemp("words")
    model, tokenizer = ten_words()
    model.config.max_position_embeddings = 512
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def saved(*texts: str, prompt: str = "ask {}?", start: int = 0) -> list[dict[str, str]]:
    return [{"prompt": prompt.format(start + i), "completion": text} for i, text in enumerate(texts)]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().split("\n") if line]


# --- two models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_an_untrained_copy_with_the_same_seeds_changed_by_exactly_nothing(architecture, policy_folder, tmp_path):
    model = policy_folder(architecture)
    judge = Own(hashed, measures="toxicity")
    told = rlaif.evaluate(
        before=model, after=model, data=PROMPTS, judges=judge, output=tmp_path / "out", completions_per_prompt=2,
        temperature=0.8, top_p=0.9, **SHORT,
    )  # fmt: skip
    rows = lines(tmp_path / "out")
    assert len({row["before"]["completion"] for row in rows}) > 12
    assert [row["before"] for row in rows] == [row["after"] for row in rows]
    assert {row["after"]["kl"] for row in rows} == {0}
    its = told["judges"]["own"]
    assert (its["change"]["score_mean"], its["change"]["toxicity_mean_pct"], its["n"]) == (0, 0, 24)
    assert its["before"] == its["after"]
    assert its["worst_of_k"]["change"]["expected_maximum"]["difference"] == 0
    for key in ("fluency", "diversity", "length_tokens", "length_words", "ended_rate", "empty_rate", "repetition"):
        assert told[key]["before"] == told[key]["after"], key
    assert told["kl_nats_per_sequence"] == 0
    assert {name: change["ratio"] for name, change in told["changes"].items() if change["ratio"] is not None}
    assert {change["ratio"] for change in told["changes"].values()} <= {1, None}
    assert "no significant change by own, held out" in told["answer"]
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_perplexity_and_kl_of_two_models_are_those_of_plain_forward_passes(
    architecture, policy_folder, tmp_path, tmp_path_factory, monkeypatch
):
    before = policy_folder(architecture)
    keys = {"initializer_range": 0.4} if architecture == "llama" else {"initializer_factor": 1.5}
    after = tiny.policy(tmp_path_factory.mktemp("after"), architecture, **keys)
    made: dict[str, list[Any]] = {}
    real = Policy.generate

    def generate(self: Policy, *given: Any, **options: Any) -> Any:
        tokens = real(self, *given, **options)
        made.setdefault(self.model.config.name_or_path, []).append(tokens)
        return tokens

    monkeypatch.setattr(Policy, "generate", generate)
    told = rlaif.evaluate(
        before=before, after=after, data=PROMPTS[:6], judges=Own(hashed), temperature=0.7, **SHORT
    )  # fmt: skip
    policies = {str(folder): Policy(load(str(folder))) for folder in (before, after)}
    nats, tokens, kl = 0.0, 0, []
    for batch in made[str(after)]:
        for row in range(len(batch)):
            with torch.no_grad():
                ids, theirs, _ = plain_logits(policies[str(before)], batch, row)
                _, ours, _ = plain_logits(policies[str(after)], batch, row)
            at = (torch.arange(len(ids)), ids)
            nats -= float(theirs.double().log_softmax(-1)[at].sum())
            tokens += len(ids)
            kl.append(
                float(((ours.double() / 0.7).log_softmax(-1)[at] - (theirs.double() / 0.7).log_softmax(-1)[at]).sum())
            )
    assert told["fluency"]["after"]["reference_perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert told["kl_nats_per_sequence"] == pytest.approx(fmean(kl), rel=1e-3, abs=1e-4)
    ratio = told["fluency"]["after"]["reference_perplexity"] / told["fluency"]["before"]["reference_perplexity"]
    assert told["changes"]["reference_perplexity"]["ratio"] == pytest.approx(ratio)
    assert told["length_tokens"]["after"] == tokens / 6


def test_an_adapter_is_measured_against_its_base(policy_folder, sft_adapter, tmp_path):
    told = rlaif.evaluate(
        before=policy_folder("llama"), after=sft_adapter("llama"), data=PROMPTS, judges=Own(hashed), **SHORT
    )
    assert told["kl_nats_per_sequence"] != 0
    assert told["unknown"] == {}


def test_models_with_other_tokenizers_are_compared_by_words_and_it_is_said_why(policy_folder, words_llama, tmp_path):
    told = rlaif.evaluate(
        before=policy_folder("llama"), after=words_llama, data=[{"prompt": "a b c"}, {"prompt": "d e"}],
        judges=Own(hashed), max_new_tokens=4, min_new_tokens=1,
    )  # fmt: skip
    assert told["kl_nats_per_sequence"] is None
    assert told["length_tokens"] == {"before": None, "after": None}
    assert "different tokenizers" in told["unknown"]["kl_nats_per_sequence"]
    assert "length_words can" in told["unknown"]["length_tokens"]
    assert None not in told["length_words"].values()
    assert told["fluency"]["after"]["reference_perplexity"] > 1  # as text, by the model before


def test_an_independent_model_scores_both_sides_in_its_own_tokens(policy_folder, other_llama, tmp_path):
    told = rlaif.evaluate(
        before=policy_folder("llama"), after=other_llama, reference=policy_folder("gpt2"), data=PROMPTS[:4],
        judges=Own(hashed), output=tmp_path / "out", **SHORT,
    )  # fmt: skip
    scorer = Policy(load(str(policy_folder("gpt2"))))
    rows = lines(tmp_path / "out")
    for name in ("before", "after"):
        nats, count = 0.0, 0
        for row in rows:
            prompt = scorer.tokenizer(row["prompt"])["input_ids"]
            ids = scorer.tokenizer(row[name]["completion"], add_special_tokens=False)["input_ids"]
            ids = [*ids, 2] if row[name]["ended"] else ids
            with torch.no_grad():
                logits = scorer.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
            nats -= float(logits.double().log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].sum())
            count += len(ids)
        assert told["fluency"][name]["independent_perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert "by the independent model" in told["answer"]


def test_texts_without_a_token_or_without_room_are_not_scored(policy_folder):
    policy = Policy(load(str(policy_folder("llama"))))
    prompts = [[5, 6], [5, 6], [5, 6]]
    found = score_texts(policy, prompts, ["", "ab", "x" * 600], [False, True, False], 2, 4096)
    assert found[0] is None
    assert found[2] is None
    ids = [*policy.tokenizer("ab", add_special_tokens=False)["input_ids"], 2]
    assert found[1] == (pytest.approx(score_ids(policy, [[5, 6]], [ids], 1.0, 100)[0]), 3)


def test_the_columns_of_the_data_and_toxicity_of_prompts_reach_judges_and_rows(policy_folder, tmp_path):
    data = [{"text": {"text": f"ask {i}?", "toxicity": i / 4}, "gold": f"gold {i}"} for i in range(4)]
    for row in data:
        row["prompt"] = row.pop("text")
    judge = Own(hashed, measures="toxicity")
    told = rlaif.evaluate(
        before=policy_folder("llama"), after=policy_folder("llama"), data=data, columns={"prompt": "prompt.text"},
        judges=judge, output=tmp_path / "out", **SHORT,
    )  # fmt: skip
    assert {sample.columns["gold"] for sample in judge.seen} == {f"gold {i}" for i in range(4)}
    assert [row["prompt_toxicity"] for row in lines(tmp_path / "out")] == [0, 0.25, 0.5, 0.75]
    parts = told["judges"]["own"]["by_prompt"]
    assert (parts["toxic"]["prompts"], parts["harmless"]["prompts"]) == (2, 2)


def test_several_seeds_give_completions_of_their_own_and_a_spread(policy_folder, other_llama, tmp_path):
    keys: dict[str, Any] = {"before": policy_folder("llama"), "after": other_llama, "data": PROMPTS[:4], **SHORT}
    told = rlaif.evaluate(judges=Own(hashed), seeds=3, seed=5, output=tmp_path / "three", **keys)
    alone = [rlaif.evaluate(judges=Own(hashed), seed=5 + i, **keys) for i in range(3)]
    means = [one["judges"]["own"]["change"]["score_mean"] for one in alone]
    assert "seeds" not in alone[0]
    spread = told["seeds"]["judges"]["own"]["score_mean"]
    assert (told["seeds"]["n"], spread["mean"], spread["std"]) == (
        3, pytest.approx(fmean(means)), pytest.approx(stdev(means)),
    )  # fmt: skip
    assert told["judges"]["own"]["n"] == 12
    assert "other seeds" in (tmp_path / "three" / "report.html").read_text()


def test_a_model_in_the_folder_of_a_run_is_not_held_out_from_the_judge_that_trained_it(policy_folder, tmp_path):
    run = tmp_path / "run"
    (run / "model").parent.mkdir()
    (run / "model").symlink_to(policy_folder("llama"))
    card = {"adapter": "lexicon", "words": ["a"], "name": "learned"}
    (run / "run.yaml").write_text(
        json.dumps({"policy": {"model": "x"}, "data": {"dataset": "y"}, "judge": card, "output": str(run)})
    )
    told = rlaif.evaluate(
        before=policy_folder("llama"), after=run / "model", data=PROMPTS[:3], **SHORT,
        judges=[{"adapter": "lexicon", "words": ["a"], "name": "renamed"}, "length"],
    )  # fmt: skip
    assert {name: judge["role"] for name, judge in told["judges"].items()} == {
        "renamed": "training", "length": "held_out",
    }  # fmt: skip
    assert any("renamed is not held out" in note for note in told["notes"])


# --- what is not a model of ours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": 0}, "seeds should be at least 1"),
        ({"completions_per_prompt": 0}, "completions_per_prompt should be at least 1"),
        ({"batch_size": 0}, "batch_size should be at least 1"),
        ({"limit": 0}, "limit should be at least 1"),
        ({"data": [None]}, "data, item 0: should be a prompt or a mapping"),
        ({"data": {"prompt": "a"}}, "data should be a file"),
        ({"data": 5}, "data should be a file"),
        ({"before": ["a"]}, "--before: rows of completions need"),
        ({"before": {"prompt": "a", "completion": "b"}}, "--before: should be a model"),
        ({"margins": {"score": "x"}}, "margins: "),
        ({"judges": 5}, ""),
    ],
)
def test_what_python_may_be_given_by_mistake_is_refused_in_one_line(wrong, said):
    keys: dict[str, Any] = {"before": saved("a"), "after": saved("b"), "judges": Own(hashed), **wrong}
    with pytest.raises(InputError) as told:
        rlaif.evaluate(**keys)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_the_limit_holds_for_rows_in_memory_and_for_saved_completions():
    sides: dict[str, Any] = {"before": saved("a", "b", "c"), "after": saved("d", "e", "f"), "judges": Own(hashed)}
    assert rlaif.evaluate(**sides, limit=2)["judges"]["own"]["n"] == 2
    assert rlaif.evaluate(**sides, limit=1, data=["ask 1?", "ask 2?"])["judges"]["own"]["n"] == 1


def test_lone_surrogates_of_saved_completions_are_read_as_question_marks(policy_folder):
    broken, whole = saved("a \ud800", prompt="ask \ud800 {}?"), saved("a ?", prompt="ask ? {}?")
    keys: dict[str, Any] = {"judges": Own(hashed), "reference": policy_folder("llama")}
    told, plain = (rlaif.evaluate(before=rows, after=whole, **keys) for rows in (broken, whole))
    assert told["fluency"] == plain["fluency"]
    assert told["judges"]["own"]["n"] == 1


def test_saved_completions_are_paired_by_prompt_and_what_cannot_be_known_is_null_with_the_reason(tmp_path):
    before = [*saved("bad bad", "worse"), *saved("more of it")]
    after = [*saved("fine", "good  ", "never asked"), *saved("finer")]
    told = rlaif.evaluate(before=before, after=after, judges=Own(hashed), output=tmp_path / "out")
    rows = lines(tmp_path / "out")
    assert [(row["prompt"], row["index"], row["before"]["completion"], row["after"]["completion"]) for row in rows] == [
        ("ask 0?", 0, "bad bad", "fine"), ("ask 0?", 1, "more of it", "finer"), ("ask 1?", 0, "worse", "good  "),
    ]  # fmt: skip
    assert told["fluency"] == {side: {"reference_perplexity": None} for side in ("before", "after")}
    assert told["kl_nats_per_sequence"] is None
    assert told["ended_rate"] == {"before": None, "after": None}
    assert told["length_words"] == {"before": pytest.approx(2), "after": pytest.approx(1)}
    for figure in ("reference_perplexity", "kl_nats_per_sequence", "length_tokens", "cut_rate"):
        assert "saved" in told["unknown"][figure]


def test_what_both_sides_do_not_have_is_left_out_and_counted():
    before = [*saved("a", "b", "c"), *saved("d", "e", "f")]
    told = rlaif.evaluate(before=before, after=saved("x", "y"), judges=Own(hashed))
    assert told["judges"]["own"]["n"] == 2
    assert any("2 saved completions left out" in note for note in told["notes"])
    told = rlaif.evaluate(before=saved("x", "y"), after=before, judges=Own(hashed))
    assert told["judges"]["own"]["n"] == 2


def test_saved_completions_before_a_model_get_as_many_answers_and_no_reference(policy_folder):
    before = [*saved("a", "b"), *saved("c", "d")]
    told = rlaif.evaluate(before=before, after=policy_folder("llama"), judges=Own(hashed), **SHORT)
    assert told["judges"]["own"]["n"] == 4
    assert told["fluency"]["after"]["reference_perplexity"] is None
    told = rlaif.evaluate(before=policy_folder("llama"), after=before, judges=Own(hashed), **SHORT)
    assert told["fluency"]["after"]["reference_perplexity"] > 1
    assert told["unknown"]["kl_nats_per_sequence"].startswith("the side after is saved")


def test_an_endpoint_answers_and_what_it_will_not_say_is_an_abstention_for_its_reason(server, nobody, tmp_path):
    def speak(request: Request) -> Any:
        if "1?" in request.text:
            return "filtered"
        return Say(f"answer to {request.text}", stop="length" if "2?" in request.text else "stop")

    server.behaviour = speak
    told = rlaif.evaluate(
        before=saved("a", "b", "c"), after=f"openai:mine@{server.openai}", judges=Own(hashed, measures="toxicity"),
        output=tmp_path / "out", max_new_tokens=7, temperature=0.5, top_p=0.9, min_new_tokens=0,
    )  # fmt: skip
    rows = lines(tmp_path / "out")
    assert [row["after"]["completion"] for row in rows] == ["answer to ask 0?", "", "answer to ask 2?"]
    assert [row["after"]["ended"] for row in rows] == [True, None, False]
    its = told["judges"]["own"]
    assert its["after"]["abstained"] == {"filtered": 1}
    assert rows[1]["after"]["judgements"]["own"]["reason"].startswith("there is no completion: ")
    assert its["n"] == 2
    assert told["missing"]["after"] == {"filtered": 1}
    assert told["length_words"]["before"] == 1
    known = [row for row in rows if row["index"] == 0 and row["after"]["completion"]]
    drops = [row["after"]["judgements"]["own"]["score"] - row["before"]["judgements"]["own"]["score"] for row in known]
    missing = rows[1]["before"]["judgements"]["own"]["score"]
    assert its["worst_case"]["low"] == pytest.approx((sum(drops) - missing) / 3)
    assert its["worst_case"]["high"] == pytest.approx((sum(drops) + 1 - missing) / 3)
    body = server.calls[0].body
    assert (body["temperature"], body["top_p"], body["model"]) == (0.5, 0.9, "mine")
    assert 7 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert json.loads((tmp_path / "out" / "spending.jsonl").read_text())["calls"] == 3


def test_an_endpoint_that_is_down_and_a_budget_that_is_spent_end_the_measurement(server, nobody):
    keys: dict[str, Any] = {"before": saved("a", "b", "c"), "judges": Own(hashed)}
    server.behaviour = lambda _: Say("fine")
    with pytest.raises(rlaif.RlaifError, match="the budget is spent"):
        rlaif.evaluate(after=f"openai:poor@{server.openai}", budget_calls=2, **keys)
    assert len(server.calls) == 2
    server.behaviour = "nonsense_400"
    with pytest.raises(rlaif.RlaifError, match="--after: the endpoint stayed down: HTTP 400"):
        rlaif.evaluate(after=f"openai:down@{server.openai}", **keys)
    with pytest.raises(InputError, match="--after: a budget in USD needs a price"):
        rlaif.evaluate(after=f"openai:dear@{server.openai}", budget_usd=1.0, **keys)


# --- figures by hand ----------------------------------------------------------------------------------------------


def test_the_worst_of_k_is_that_of_gehman_by_hand():
    rows = [
        {"prompt": p, "index": i, "before": side("a", own=b), "after": side("b", own=a)}
        for p, i, b, a in [
            ("p", 0, 0.9, 0.9),
            ("p", 1, 0.2, 0.6),
            ("q", 0, 0.7, 0.8),
            ("q", 1, 0.6, 0.4),
            ("q", 2, 0, 0),
        ]
    ]
    its = worst(rows, "own")
    assert its["k"] == 2
    assert its["before"]["expected_maximum"] == pytest.approx((0.8 + 0.4) / 2)
    assert its["after"]["expected_maximum"] == pytest.approx((0.4 + 0.6) / 2)
    assert (its["before"]["probability"], its["after"]["probability"]) == (0.5, 0.5)
    assert its["change"]["expected_maximum"]["difference"] == pytest.approx(-0.1)
    assert its["change"]["probability"]["difference"] == 0


def test_the_completions_of_other_seeds_make_no_larger_k():
    drawn = [("p", 0, 0.9), ("p", 0, 0.2), ("q", 0, 0.6), ("q", 0, 0.7), ("p", 1, 0.5), ("p", 1, 0.1), ("q", 1, 0.8),
             ("q", 1, 0.3)]  # fmt: skip
    rows = [
        {"prompt": prompt, "index": i, "seed": seed, "before": side("a", own=score), "after": side("b", own=score)}
        for i, (prompt, seed, score) in enumerate(drawn)
    ]
    its = worst(rows, "own")
    assert (its["k"], its["prompts"]) == (2, 2)
    assert its["before"]["expected_maximum"] == pytest.approx(fmean([0.8, 0.4, 0.9, 0.7]))
    assert worst([row for row in rows if row["index"] % 2], "own") is None, "one completion of each seed is no k"


def test_one_completion_a_prompt_has_no_worst_of_k_and_data_without_toxicity_no_parts():
    judge = figures(rows_of((side("a", own=0.1), side("b", own=0.2))), [role()])["judges"]["own"]
    assert "worst_of_k" not in judge
    assert "by_prompt" not in judge


def test_toxic_prompts_stand_apart_from_harmless_ones():
    rows = rows_of(*[(side("a", own=b), side("b", own=a)) for b, a in [(0.1, 0.5), (0.2, 0.9), (0.8, 0.8), (0.9, 0.7)]])
    rows = [{**row, "prompt_toxicity": toxicity} for row, toxicity in zip(rows, (0.9, 0.5, 0.49, None), strict=True)]
    parts = figures(rows, [role()])["judges"]["own"]["by_prompt"]
    assert parts["toxic"]["before"] == {"toxicity_mean": pytest.approx(0.85), "toxicity_rate": 1.0}
    assert parts["toxic"]["change"]["toxicity_mean"]["difference"] == pytest.approx(-0.55)
    assert parts["harmless"]["prompts"] == 1
    assert parts["harmless"]["change"]["toxicity_mean"]["note"] == "one prompt: no interval and no p-value"


def test_repetition_empty_and_cut_completions_by_hand():
    rows = rows_of(
        (side("a b c d a b c d", 5, own=0.5), side("  ", 1, own=0.5)),
        (side("a b c d e", 1, own=0.5), side("x", 9, own=0.5)),
    )
    told = figures(rows, [role()])
    # 4-grams: abcd bcda cdab dabc abcd: four of five differ; then all of two.
    assert told["repetition"] == {"before": pytest.approx((0.2 + 0) / 2), "after": None}
    assert told["empty_rate"] == {"before": 0, "after": 0.5}
    assert told["cut_rate"] == {"before": 0.5, "after": 0.5}
    assert told["length_words"] == {"before": 6.5, "after": 0.5}


def scored(pairs: list[tuple[float | None, float | None]]) -> list[dict[str, Any]]:
    def said(score: float | None) -> dict[str, Any]:
        return side("a b", own="filtered" if score is None else score)

    return rows_of(*[(said(before), said(after)) for before, after in pairs])


def test_unchanged_is_said_within_the_margin_only():
    draw = random.Random(1)
    pairs = [(s := draw.random(), min(1.0, max(0.0, s + draw.gauss(0, 0.02)))) for _ in range(60)]
    wide, narrow = (figures(scored(pairs), [role()], Margins(score=m))["judges"]["own"] for m in (0.1, 0.0001))
    assert (wide["within_margin"], narrow["within_margin"]) == (True, False)
    low, high = wide["change"]["ci95"]
    assert -0.1 < low < high < 0.1


def test_zero_variance_and_one_prompt_and_silence_have_no_invented_number():
    same = figures(scored([(0.5, 0.5)] * 5), [role()])["judges"]["own"]
    assert same["change"]["effect_size"] is None
    assert same["change"]["p_value"] == 1
    one = figures(scored([(0.5, 0.9)]), [role()])["judges"]["own"]
    assert (one["change"]["ci95"], one["change"]["p_value"], one["within_margin"]) == (None, None, None)
    assert "one prompt" in one["change"]["note"]
    none = figures(scored([(None, 0.4)] * 3), [role()])["judges"]["own"]
    assert none["change"]["score_mean"] is None
    assert none["worst_case"] == {"low": pytest.approx(-0.6), "high": pytest.approx(0.4)}


def test_a_planted_difference_is_found_at_the_computed_power_by_the_whole_evaluation(monkeypatch):
    draw, found, repeats = random.Random(2), 0, 100
    monkeypatch.setattr(summary, "paired_change", _few_draws)
    for _ in range(repeats):
        pairs = [(s := 0.3 + 0.4 * draw.random(), s + draw.gauss(0.03, 0.08)) for _ in range(50)]
        found += judge_summary(scored(pairs), role(measures="quality"), Margins())["change"]["significant"]
    # The power of the paired t-test, by the noncentral t: the shift is 0.03 of a standard error of 0.08 / sqrt(50).
    shift, edge = 0.03 * math.sqrt(50) / 0.08, scipy.stats.t.ppf(0.975, 49)
    expected = scipy.stats.nct.sf(edge, 49, shift) + scipy.stats.nct.cdf(-edge, 49, shift)
    assert 0.7 < expected < 0.8
    assert abs(found / repeats - expected) < 3.5 * math.sqrt(expected * (1 - expected) / repeats)


def test_the_same_model_twice_with_other_seeds_differs_about_as_often_as_it_may(monkeypatch):
    """300 repeats of the change that evaluation.json tells; the statistic by itself is in test_stats."""
    draw, found = random.Random(4), 0
    monkeypatch.setattr(summary, "paired_change", _few_draws)
    for _ in range(300):
        prompts = [draw.random() for _ in range(40)]
        pairs = [(min(1, max(0, p + draw.gauss(0, 0.2))), min(1, max(0, p + draw.gauss(0, 0.2)))) for p in prompts]
        found += judge_summary(scored(pairs), role(measures="quality"), Margins())["change"]["significant"]
    assert 0.02 <= found / 300 <= 0.09


def _few_draws(*given: Any) -> Any:
    from rlaif.stats.changes import paired_change

    return paired_change(*given, draws=50, flips=999)


# --- files --------------------------------------------------------------------------------------------------------


def test_no_cell_of_the_csv_is_a_formula_or_holds_a_control_character():
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\x1b[2Jx", "a\x00b", "two\nlines", "\u202egnp", "\ud800"]
    rows = rows_of(*[(side(text, own=0.5), side(text, own=None)) for text in hostile])
    for row in rows:
        row["prompt"] = row["before"]["completion"]
    read = list(csv.reader(io.StringIO(format_csv(rows))))
    assert read[0] == ["prompt", "index", "before", "after", "own_before", "own_after"]
    for cells in read[1:]:
        for cell in (cells[0], cells[2], cells[3]):
            assert cell.isprintable()
            assert not cell.startswith(("=", "+", "-", "@"))
        assert cells[4:] == ["0.5", ""]
