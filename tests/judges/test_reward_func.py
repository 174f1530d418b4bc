"""The same judge for TRL's trainers, against TRL itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from rlaif import InputError, Judgement, Sample, as_reward_func, load_judge
from tests import tiny


class Listens:
    """A judge that keeps what it was asked, and abstains where the completion says so."""

    name, measures, has_logit, remote, identity, reads = "listens", "quality", False, False, "listens", frozenset()

    def __init__(self) -> None:
        self.asked: list[Sample] = []

    def __call__(self, samples: list[Sample]) -> list[Judgement]:
        self.asked += samples
        return [
            Judgement(self.name, None, status="refused")
            if "refuse" in sample.completion
            else Judgement(self.name, min(1.0, len(sample.completion) / 100))
            for sample in samples
        ]


def test_an_abstention_is_none_and_a_score_is_itself():
    assert as_reward_func(Listens())(prompts=["p", "p"], completions=["refuse", "x" * 50]) == [None, 0.5]


def test_columns_reach_the_judge_and_the_trainers_own_things_do_not():
    judge = Listens()
    as_reward_func(judge)(
        prompts=["p", "q"],
        completions=["a", "b"],
        completion_ids=[[1], [2]],
        reference=["r", "s"],
        trainer_state=object(),
        log_extra=lambda *_: None,
        log_metric=lambda *_: None,
    )
    assert [dict(sample.columns) for sample in judge.asked] == [{"reference": "r"}, {"reference": "s"}]
    assert [(sample.prompt, sample.completion) for sample in judge.asked] == [("p", "a"), ("q", "b")]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ([{"role": "user", "content": "How are you?"}], "How are you?"),
        ([{"role": "user", "content": [{"type": "text", "text": "Ho"}, {"type": "text", "text": "w?"}]}], "How?"),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "System: Be brief.\n\nUser: Hi",
        ),
        ("plain", "plain"),
    ],
)  # fmt: skip
def test_a_conversation_reaches_the_judge_as_text(prompt, text):
    judge = Listens()
    completion = [{"role": "assistant", "content": "Fine."}]
    assert as_reward_func(judge)(prompts=[prompt], completions=[completion]) == [0.05]
    assert (judge.asked[0].prompt, judge.asked[0].completion) == (text, "Fine.")


def test_the_share_of_abstentions_is_logged():
    logged: dict[str, float] = {}
    as_reward_func(Listens())(prompts=[""] * 4, completions=["refuse", "a", "b", "c"], log_metric=logged.__setitem__)
    assert logged == {"listens/abstained": 0.25}


def test_the_logit_is_given_where_it_is_asked_for(tmp_path):
    card = {"adapter": "classifier", "model": str(tiny.classifier(tmp_path)), "bad": "hate"}
    (judgement,) = load_judge(card)([Sample("text")])
    asked = {"prompts": ["p"], "completions": ["text"]}
    assert as_reward_func(card, reward="logit")(**asked) == pytest.approx([judgement.logit], abs=1e-6)
    assert as_reward_func(card, reward="auto")(**asked) == pytest.approx([judgement.logit], abs=1e-6)
    assert as_reward_func(card)(**asked) == pytest.approx([judgement.score], abs=1e-6)
    assert as_reward_func("length", reward="auto")(**asked) == [1 / 51]


@pytest.mark.parametrize(("reward", "words"), [("logit", "has no logit"), ("raw", "score, logit or auto")])
def test_a_reward_that_cannot_be_had_is_refused(reward, words):
    with pytest.raises(InputError, match=words):
        as_reward_func("length", reward=reward)


def policy(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    words = tiny.tokenizer(chat=tiny.CHAT)
    config = LlamaConfig(
        **tiny.SIZE, vocab_size=len(words), max_position_embeddings=256, pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    words.padding_side = "left"
    with tiny.weights():
        LlamaForCausalLM(config).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder), words  # TRL loads a reference from where it came


PLAIN = [{"prompt": f"Say something {i}", "topic": f"t{i}"} for i in range(8)]
CONVERSATIONS = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in PLAIN]


@pytest.mark.parametrize("rows", [PLAIN, CONVERSATIONS], ids=["plain", "conversations"])
@pytest.mark.parametrize("algorithm", ["GRPO", "RLOO"])
def test_trl_trains_two_steps_with_a_judge(algorithm, rows, tmp_path):
    import trl

    class ListensAndDraws(Listens):  # texts of one length need rewards that differ
        def __call__(self, samples: list[Sample]) -> list[Judgement]:
            super().__call__(samples)
            return load_judge("random")(samples)

    judge = ListensAndDraws()
    model, words = policy(tmp_path / "policy")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    config = getattr(trl, f"{algorithm}Config")(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=0,
    )
    trainer = getattr(trl, f"{algorithm}Trainer")(
        model=model,
        reward_funcs=as_reward_func(judge),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
    )
    trainer.train()
    assert trainer.state.global_step == 2
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert logs, trainer.state.log_history
    assert "rewards/listens/mean" in logs[0]
    assert logs[0]["listens/abstained"] == 0
    assert {sample.prompt for sample in judge.asked} <= {row["prompt"] for row in PLAIN}
    assert all(sample.columns["topic"].startswith("t") for sample in judge.asked)
    assert any((before[name] != weight).any() for name, weight in model.named_parameters())


def test_the_score_of_one_line():
    import rlaif

    judgements = rlaif.score(["You are a fool", "Thanks"], judge="lexicon")
    assert [judgement.score for judgement in judgements] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("texts", "scores"),
    [
        ([], []),
        (["Thanks", Sample("fool"), {"completion": "fool", "prompt": "p"}, {"text": "x"}], [1.0, 0.5, 0.5, 1.0]),
    ],
)
def test_score_takes_texts_samples_and_mappings(texts, scores):
    import rlaif

    assert [j.score for j in rlaif.score(texts, judge="lexicon")] == scores


@pytest.mark.parametrize("texts", ["one text", {"completion": "x"}, [3], [None], [{"other": "x"}]])
def test_score_refuses_what_is_no_list_of_texts(texts):
    import rlaif

    with pytest.raises(InputError):
        rlaif.score(texts, judge="lexicon")
