"""GRPO and RLOO: TRL's trainers learn, and all around them is what it is for PPO."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
from dataclasses import fields

import pytest
import torch

from rlaif.core.config.sections import PPOSection, TrainingSection
from rlaif.core.config.trainers import GroupConfig
from rlaif.core.errors import InputError, RlaifError
from rlaif.data.prompts import prompts_of
from rlaif.policy.loading import load
from rlaif.training.trl.settings import MEANINGLESS, samples_at_once
from rlaif.training.trl.trainer import GroupTrainer
from tests import tiny
from tests.conftest import ROOT, one_line
from tests.events import At
from tests.policies import ENDS, LORA
from tests.remote import card_of
from tests.runs import assert_same_run, at, place, ranks
from tests.trainers import PROMPTS, SMALL, Watch, distance, lines_of, ten_words, trainer_of, vowels, weights_of

BOTH = pytest.mark.parametrize("algorithm", ["grpo", "rloo"])

CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def group_of(model, folder, reward=vowels, prompts=PROMPTS, *, given=None, **args) -> GroupTrainer:
    """A trainer whose run lies in `folder`: a step of two prompts with two completions each."""
    config = GroupConfig(**{**SMALL, "num_generations": 2, "output_dir": str(folder), **args})
    return GroupTrainer(str(model) if hasattr(model, "joinpath") else model, reward, config, prompts, **(given or {}))


@pytest.fixture
def llama(policy_folder):
    return policy_folder("llama", ends=ENDS)


def learned_from(trainer):
    """Collect what the policy is asked while it learns, and what it says: tokens and log-probabilities."""
    seen, forward = [], trainer.policy.forward

    def looked(tokens, *given, **more):
        scored = forward(tokens, *given, **more)
        if torch.is_grad_enabled():
            seen.append((tokens, scored.logprobs))
        return scored

    trainer.policy.forward = looked
    return seen


# --- learning -------------------------------------------------------------------------------------------------


@BOTH
def test_a_planted_reward_is_found(algorithm, tmp_path):
    model, tokenizer = ten_words()

    def bs(completions, **_):
        return [text.split().count("b") / 4 for text in completions]

    args = {
        "steps": 12, "batch_size": 32, "mini_batch_size": 8, "num_generations": 8, "max_new_tokens": 4,
        "min_new_tokens": 4, "learning_rate": 3e-3, "kl_coef": 0.01,
    }  # fmt: skip
    trainer = group_of(
        model, tmp_path / "run", bs, ["a", "c"], given={"processing_class": tokenizer}, algorithm=algorithm, **args
    )
    trainer.train()
    rewards = [line["reward_mean"] for line in lines_of(tmp_path / "run")]
    assert rewards[0] < 0.5
    assert sum(rewards[-3:]) / 3 > 0.7


@BOTH
def test_the_kl_is_0_before_training_and_a_large_coefficient_keeps_it_small(algorithm, llama, tmp_path):
    ends = {}
    for coefficient in (0.0, 20.0):
        folder = tmp_path / str(coefficient)
        group_of(llama, folder, algorithm=algorithm, kl_coef=coefficient, steps=6, learning_rate=3e-3).train()
        lines = lines_of(folder)
        assert lines[0]["kl"] == 0.0
        assert [line["kl_coef"] for line in lines] == [coefficient] * 6
        ends[coefficient] = lines[-1]["kl"]
    assert ends[20.0] < ends[0.0]


@BOTH
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_learning_begins_with_the_log_probabilities_of_the_sampling(algorithm, architecture, policy_folder, tmp_path):
    """Also for absolute positions, which TRL counts from the padding on; and dropout, which the model has, is off."""
    trainer = group_of(
        policy_folder(architecture, ends=ENDS), tmp_path / "run", algorithm=algorithm, steps=1, ppo_epochs=1,
        mini_batch_size=4, micro_batch_tokens=16,
    )  # fmt: skip
    seen = learned_from(trainer)
    trainer.train()
    assert len(seen) == 4  # a completion a pass, and no step of the optimizer between them
    rollout = trainer.rollout
    known = {
        (tuple(p[a].tolist()), tuple(r[b].tolist())): logprobs[b]
        for p, a, r, b, logprobs in zip(
            rollout.tokens.prompt_BP, rollout.tokens.prompt_mask_BP, rollout.tokens.response_BR,
            rollout.tokens.mask_BR, rollout.old.logprobs, strict=True,
        )
    }  # fmt: skip
    for tokens, logprobs in seen:
        mask = tokens.mask_BR[0]
        key = (
            tuple(tokens.prompt_BP[0][tokens.prompt_mask_BP[0]].tolist()),
            tuple(tokens.response_BR[0][mask].tolist()),
        )
        torch.testing.assert_close(logprobs[0][mask], known[key], atol=1e-4, rtol=0)
    assert lines_of(tmp_path / "run")[0]["clip_fraction"] == 0.0


@pytest.mark.parametrize(
    ("architecture", "chat", "rows"),
    [
        ("llama", None, PROMPTS),
        ("gpt2", None, PROMPTS),
        ("llama", CHAT, [[{"role": "user", "content": text}] for text in PROMPTS]),
    ],
    ids=["llama", "gpt2", "chat template"],
)
@BOTH
def test_the_model_is_given_the_very_tokens_of_the_prompts(
    algorithm, architecture, chat, rows, policy_folder, tmp_path
):
    """Special tokens once, chat markup once, cut as ours are; each prompt as often as a group is large."""
    folder = policy_folder(architecture, ends=ENDS, pad=False, chat=chat)
    trainer = group_of(folder, tmp_path / "run", prompts=rows, algorithm=algorithm, steps=3, max_prompt_tokens=3)
    given, generate = [], trainer.policy.generate
    trainer.policy.generate = lambda prompts, *more, **keys: [given.extend(prompts), generate(prompts, *more, **keys)][
        1
    ]
    seen = learned_from(trainer)
    trainer.train()
    expected = [list(p.ids) for p in prompts_of(rows, trainer.policy.tokenizer, max_prompt_tokens=3)[0]]
    assert len(given) == 12
    assert given[::2] == given[1::2]  # groups of two
    assert sorted(given[::2]) == sorted(expected)  # an epoch
    learned = [
        ids[mask].tolist()
        for tokens, _ in seen
        for ids, mask in zip(tokens.prompt_BP, tokens.prompt_mask_BP, strict=True)
    ]
    assert sorted(learned) == sorted(given * 2)  # of both iterations


# --- abstentions ----------------------------------------------------------------------------------------------


@BOTH
def test_where_all_abstain_and_the_kl_costs_nothing_the_policy_stays_to_the_last_bit(algorithm, llama, tmp_path):
    """Not even by the momentum of Adam."""
    at, steps = {}, []

    def silent_later(completions, **_):
        steps.append(1)
        return vowels(completions) if len(steps) == 1 else [None] * len(completions)

    watch = Watch(lambda trainer, metrics: at.update({metrics["step"]: weights_of(trainer)}))
    trainer = group_of(llama, tmp_path / "run", silent_later, algorithm=algorithm, steps=3, kl_coef=0.0,
                       given={"callbacks": [watch]})  # fmt: skip
    before = weights_of(trainer)
    trainer.train()
    assert distance(before, at[1]) > 0
    assert distance(at[1], at[3]) == 0
    first, *others = lines_of(tmp_path / "run")
    assert first["optimizer_steps"] == 4
    for line in others:
        assert (line["reward_mean"], line["reward_std"], line["optimizer_steps"]) == (None, None, 0)
        assert line["judges"]["silent_later"]["abstained"] == 4
        assert line["skipped_updates"] == 0


@BOTH
def test_where_all_abstain_the_policy_is_drawn_to_the_reference(algorithm, llama, tmp_path):
    steps = []

    def silent_later(completions, **_):
        steps.append(1)
        return vowels(completions) if len(steps) <= 2 else [None] * len(completions)

    group_of(
        llama, tmp_path / "run", silent_later, algorithm=algorithm, steps=24, kl_coef=1.0, batch_size=32,
        mini_batch_size=16, lr_scheduler_type="linear",
    ).train()  # fmt: skip
    lines = lines_of(tmp_path / "run")
    assert lines[-1]["kl"] < 0.9 * max(line["kl"] for line in lines)
    assert all(line["optimizer_steps"] == 4 for line in lines)


@BOTH
def test_one_that_abstains_weighs_nothing_and_the_others_of_its_group_are_compared(algorithm, llama, tmp_path):
    """By what reaches the log-probabilities: without a KL, no gradient where nobody has judged."""

    def some(completions, **_):
        return [None if i % 4 == 3 else reward for i, reward in enumerate(vowels(completions))]

    trainer = group_of(
        llama, tmp_path / "run", some, algorithm=algorithm, steps=3, batch_size=8, num_generations=4, ppo_epochs=1,
        mini_batch_size=8, micro_batch_tokens=1, kl_coef=0.0, learning_rate=3e-3,
    )  # fmt: skip
    seen, forward = [], trainer.policy.forward

    def looked(tokens, *given, **more):
        scored = forward(tokens, *given, **more)
        if torch.is_grad_enabled():
            ids = tokens.response_BR[0][tokens.mask_BR[0]].tolist()
            scored.logprobs.register_hook(lambda gradient: seen.append((ids, float(gradient.abs().sum()))))
        return scored

    trainer.policy.forward = looked
    silent = []

    def note(trainer, metrics):
        tokens = trainer.rollout.tokens
        ids = [ids[mask].tolist() for ids, mask in zip(tokens.response_BR, tokens.mask_BR, strict=True)]
        silent.extend(one for one, judged in zip(ids, trainer.judged_B.tolist(), strict=True) if not judged)

    trainer.callbacks = (Watch(note),)
    trainer.train()
    assert [line["judges"]["some"]["abstained"] for line in lines_of(tmp_path / "run")] == [2, 2, 2]
    assert sorted(ids for ids, weight in seen if weight == 0.0) == sorted(silent)
    assert len(seen) == 24


# --- keys -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_line_of_metrics_has_the_keys_of_ppo(algorithm, llama, tmp_path):
    group_of(llama, tmp_path / "group", algorithm=algorithm).train()
    trainer_of(llama, tmp_path / "ppo").train()
    ours, theirs = lines_of(tmp_path / "group")[-1], lines_of(tmp_path / "ppo")[-1]
    assert ours.keys() == theirs.keys()
    assert ours["judges"]["vowels"].keys() == theirs["judges"]["vowels"].keys()
    unknown = {"value_loss", "explained_variance", "approx_kl", "ratio_max_dev"}
    assert {key for key, value in ours.items() if value is None} == unknown
    assert (ours["step"], ours["samples"], ours["optimizer_steps"]) == (2, 8, 4)
    assert sorted(p.name for p in (tmp_path / "group" / "model").iterdir()) == sorted(
        p.name for p in (tmp_path / "ppo" / "model").iterdir() if p.name != "value_head.safetensors"
    )
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):  # TRL sets pad tokens
        assert (tmp_path / "group/model" / name).read_text() == (tmp_path / "ppo/model" / name).read_text()


@BOTH
def test_the_learning_rate_follows_the_schedule_of_ppo(algorithm, llama, tmp_path):
    keys = {"steps": 4, "warmup_steps": 2, "lr_scheduler_type": "cosine"}
    trainer = group_of(llama, tmp_path / "run", algorithm=algorithm, **keys)
    trainer.train()
    # It rises to 1e-3 by halves in two steps, then falls as (1 + cos x) / 2, at x = 0 and at a half of pi.
    told = [line["learning_rate"] for line in lines_of(tmp_path / "run")]
    assert told == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.5e-3])


@BOTH
def test_how_many_fit_into_a_pass_changes_the_memory_and_not_the_update(algorithm, llama, tmp_path):
    moved = []
    for tokens in (1, 10_000):
        trainer = group_of(llama, tmp_path / str(tokens), algorithm=algorithm, steps=1, batch_size=8, mini_batch_size=4,
                           micro_batch_tokens=tokens)  # fmt: skip
        before = weights_of(trainer)
        seen = learned_from(trainer)
        trainer.train()
        assert {len(tokens) for tokens, _ in seen} == {1 if tokens == 1 else 4}
        moved.append({name: weight - before[name] for name, weight in weights_of(trainer).items()})
    assert distance(*moved) < 0.05 * max(float(move.abs().max()) for move in moved[0].values())


def test_a_pass_takes_the_most_samples_that_fit_and_divide_a_mini_batch():
    def at_once(tokens, mini=12):
        args = GroupConfig(batch_size=24, mini_batch_size=mini, micro_batch_tokens=tokens, max_new_tokens=40)
        return samples_at_once(args, longest=60)

    assert [at_once(tokens) for tokens in (1, 100, 299, 599, 600, 10_000)] == [1, 1, 2, 4, 6, 12]


@pytest.mark.parametrize(
    ("algorithm", "knobs"),
    [
        ("grpo", {"whiten_advantages": False}),
        ("rloo", {"whiten_advantages": False}),
        ("grpo", {"cliprange": 0.001}),
        ("rloo", {"cliprange": 0.001}),
        ("grpo", {"entropy_coef": 0.5}),
        ("grpo", {"score_clip": 0.01}),
        ("rloo", {"score_clip": 0.01}),
        ("grpo", {"missing_eos_penalty": 1.0}),
        ("rloo", {"missing_eos_penalty": 1.0}),
        ("grpo", {"kl_coef": 5.0}),
        ("rloo", {"kl_coef": 5.0}),
        ("grpo", {"ppo_epochs": 1}),
        ("grpo", {"num_generations": 4}),
    ],
    ids=str,
)
def test_knobs_act(algorithm, knobs, llama, tmp_path):
    weights = []
    for name, changed in (("plain", {}), ("turned", knobs)):
        keys = {"steps": 2, "batch_size": 8, "mini_batch_size": 4, "learning_rate": 3e-3, "max_new_tokens": 8}
        trainer = group_of(llama, tmp_path / name, algorithm=algorithm, **{**keys, **changed})
        trainer.train()
        weights.append(weights_of(trainer))
    assert distance(*weights) > 1e-6


def test_a_dual_clip_is_the_bound_that_trl_has_on_the_ratio():
    from rlaif.training.trl.settings import settings_of

    assert settings_of(GroupConfig(dual_clip=3.0), longest=5, steps=1)["delta"] == 3.0


KINDS = [{"lora": LORA}, {"dtype": "bfloat16"}, {"gradient_checkpointing": True}, {"architecture": "gpt_neox"}]


@BOTH
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_can_be_trained_by_ppo_can_be_by_these(kind, algorithm, policy_folder, tmp_path):
    folder = policy_folder(kind.get("architecture", "llama"), ends=ENDS)
    loaded = load(str(folder), dtype=kind.get("dtype", "float32"), lora=kind.get("lora"))
    trainer = group_of(loaded, tmp_path / "run", algorithm=algorithm,
                       gradient_checkpointing=kind.get("gradient_checkpointing", False))  # fmt: skip
    before = weights_of(trainer)
    trainer.train()
    assert distance(before, weights_of(trainer)) > 0
    assert all(weight.dtype == torch.float32 for weight in weights_of(trainer).values())
    assert lines_of(tmp_path / "run")[0]["kl"] == 0.0
    load(str(tmp_path / "run" / "model"))


@BOTH
def test_activations_are_recomputed_while_learning_only_and_change_nothing(algorithm, llama, tmp_path):
    ends = []
    for recompute in (False, True):
        trainer = group_of(llama, tmp_path / str(recompute), algorithm=algorithm, gradient_checkpointing=recompute)
        modes = recomputing(trainer.policy.model.model.layers)
        trainer.train()
        assert modes == ({(True, True), (False, False)} if recompute else {(True, False), (False, False)})
        ends.append(weights_of(trainer))
    assert distance(*ends) < 1e-4


def recomputing(layers):
    """Collect whether layers are learning, and whether they recompute."""
    seen = set()
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, _: seen.add((torch.is_grad_enabled(), module.training)))
    return seen


@BOTH
def test_an_adapter_that_was_trained_before_is_its_own_reference(algorithm, sft_adapter, tmp_path):
    trainer = group_of(sft_adapter("llama"), tmp_path / "run", algorithm=algorithm, kl_coef=0.5)
    trainer.train()
    assert lines_of(tmp_path / "run")[0]["kl"] == 0.0
    files = sorted(path.name for path in (tmp_path / "run" / "model").iterdir() if path.is_dir())
    assert files == []  # TRL would keep a second adapter


# --- while it trains ------------------------------------------------------------------------------------------


@BOTH
def test_callbacks_may_generate_and_score_in_the_middle_and_disturb_nothing(algorithm, llama, tmp_path):
    kept = []

    def look(trainer, metrics):
        rollout = trainer.rollout
        with torch.no_grad(), trainer.policy.use_reference():
            scored = trainer.policy(rollout.tokens)
        torch.testing.assert_close(scored.logprobs, rollout.reference_BR, atol=1e-5, rtol=0)
        prompts = [list(prompt.ids) for prompt in trainer.prompts]
        kept.append(len(trainer.policy.generate(prompts, trainer.sampling)))

    plain = group_of(llama, tmp_path / "plain", algorithm=algorithm)
    plain.train()
    watched = group_of(llama, tmp_path / "watched", algorithm=algorithm, given={"callbacks": [Watch(look)]})
    watched.train()
    assert kept == [len(PROMPTS)] * 2
    assert distance(weights_of(plain), weights_of(watched)) == 0


@BOTH
def test_a_stop_ends_the_run_after_its_step(algorithm, llama, tmp_path):
    watch = Watch(lambda trainer, metrics: trainer.stop("enough") if metrics["step"] == 2 else None)
    trainer = group_of(llama, tmp_path / "run", algorithm=algorithm, steps=5, given={"callbacks": [watch]})
    trainer.train()
    assert len(lines_of(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "model").exists()


@BOTH
def test_the_same_run_twice_is_the_same_and_another_seed_is_another(algorithm, llama, tmp_path):
    ends = []
    for name, seed in (("0", 7), ("1", 7), ("2", 8)):
        trainer = group_of(llama, tmp_path / name, algorithm=algorithm, seed=seed)
        trainer.train()
        ends.append(weights_of(trainer))
    assert distance(ends[0], ends[1]) == 0
    assert distance(ends[0], ends[2]) > 0


@BOTH
def test_gradients_that_are_not_finite_change_nothing_and_are_counted(algorithm, llama, tmp_path):
    trainer = group_of(llama, tmp_path / "run", algorithm=algorithm, steps=1)
    before, forward = weights_of(trainer), trainer.policy.forward

    def broken(tokens, *given, **more):
        scored = forward(tokens, *given, **more)
        return scored._replace(logprobs=scored.logprobs * math.nan) if torch.is_grad_enabled() else scored

    trainer.policy.forward = broken
    trainer.train()
    assert distance(before, weights_of(trainer)) == 0
    line = lines_of(tmp_path / "run")[0]
    assert (line["optimizer_steps"], line["skipped_updates"], line["grad_norm"]) == (0, 4, None)


@BOTH
def test_trl_says_nothing_and_leaves_the_loggers_as_they_were(algorithm, llama, tmp_path, capfd):
    levels = [logging.getLogger(name).level for name in ("trl", "transformers", "accelerate")]
    trainer = group_of(llama, tmp_path / "run", lambda completions, **_: [None] * len(completions), algorithm=algorithm)
    capfd.readouterr()
    trainer.train()
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(":")[0].split(" ")[0] for line in err.splitlines()] == ["reward", "warning", "step", "step"]
    assert [logging.getLogger(name).level for name in ("trl", "transformers", "accelerate")] == levels


@BOTH
def test_a_model_in_memory_is_the_same_model_after_but_for_its_weights(algorithm, llama, tmp_path):
    loaded = load(str(llama), dtype="float32")
    config, settings = loaded.model.config.to_dict(), loaded.model.generation_config.to_dict()
    pad = loaded.tokenizer.pad_token
    group_of(loaded, tmp_path / "run", algorithm=algorithm).train()
    assert (loaded.model.config.to_dict(), loaded.model.generation_config.to_dict()) == (config, settings)
    assert loaded.tokenizer.pad_token == pad
    assert {"forward", "train"}.isdisjoint(vars(loaded.model))
    assert not any(module.training for module in loaded.model.modules())


# --- what ends a run, and how it goes on ----------------------------------------------------------------------


@BOTH
def test_a_run_that_is_cut_in_two_ends_as_one_that_is_not(algorithm, llama, tmp_path):
    keys = {"algorithm": algorithm, "lr_scheduler_type": "linear", "use_score_scaling": True, "save_steps": 2}
    whole = group_of(llama, tmp_path / "whole", steps=5, **keys)
    whole.train()

    def interrupt(trainer, metrics):
        trainer.interruption.wished = metrics["step"] == 3

    cut = group_of(llama, tmp_path / "cut", steps=5, given={"callbacks": [Watch(interrupt)]}, **keys)
    with pytest.raises(KeyboardInterrupt, match="step 3 is kept in"):
        cut.train()
    rest = group_of(llama, tmp_path / "cut", steps=5, **keys)
    rest.train(resume_from_checkpoint=True)
    assert distance(weights_of(whole), weights_of(rest)) == 0
    one, two = (
        [{k: v for k, v in line.items() if k not in ("seconds", "judges")} for line in lines_of(tmp_path / name)]
        for name in ("whole", "cut")
    )
    assert one == two
    again = group_of(llama, tmp_path / "cut", steps=5, **keys)
    again.train(resume_from_checkpoint=True)  # nothing is left to do
    assert len(lines_of(tmp_path / "cut")) == 5


def test_an_object_that_was_interrupted_goes_on(llama, tmp_path):
    def interrupt(trainer, metrics):
        trainer.interruption.wished = metrics["step"] == 1

    whole = group_of(llama, tmp_path / "whole", steps=3)
    whole.train()
    trainer = group_of(llama, tmp_path / "run", steps=3, given={"callbacks": [Watch(interrupt)]})
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert distance(weights_of(whole), weights_of(trainer)) == 0


def test_a_checkpoint_of_another_algorithm_or_group_is_refused(llama, tmp_path):
    group_of(llama, tmp_path / "run").train()
    with pytest.raises(InputError, match="algorithm = 'grpo', not 'rloo'"):
        group_of(llama, tmp_path / "run", algorithm="rloo").train(resume_from_checkpoint=True)
    with pytest.raises(InputError, match="num_generations = 2, not 4"):
        group_of(llama, tmp_path / "run", num_generations=4).train(resume_from_checkpoint=True)
    with pytest.raises(InputError, match="is of a run of another model"):
        trainer_of(llama, tmp_path / "run").train(resume_from_checkpoint=True)


@BOTH
def test_a_judge_that_stays_down_ends_the_run_with_all_kept(algorithm, llama, tmp_path, server, nobody):
    def goes_down(trainer, metrics):
        if metrics["step"] == 2:
            server.behaviour = "error_503"

    def run(folder, watch=None, **keys):
        card = card_of(server, total_timeout=0.3, price={"input": 1.0, "output": 5.0}, name="remote")
        given = {"callbacks": [Watch(watch)] if watch else []}
        trainer = group_of(llama, folder, card, given=given, algorithm=algorithm, steps=4, judge_patience=0.5)
        trainer.train(**keys)
        return trainer

    with pytest.raises(RlaifError, match=r"judge remote stayed down for 0.5 s: .*step 2 is kept in"):
        run(tmp_path / "run", goes_down)
    assert len(lines_of(tmp_path / "run")) == 2
    server.behaviour = "ok"
    whole, rest = run(tmp_path / "whole"), run(tmp_path / "run", resume_from_checkpoint=True)
    assert distance(weights_of(whole), weights_of(rest)) == 0
    assert all(line["usd"] > 0 for line in lines_of(tmp_path / "run"))


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a run file, and a run of each algorithm that nothing disturbed."""
    made = place(
        tmp_path_factory.mktemp("group"), prompts=20, group={"num_generations": 2},
        training={"steps": 4}, guard={"judges": [{"adapter": "length"}], "every": 2, "num_prompts": 2},
    )  # fmt: skip
    for algorithm in ("grpo", "rloo"):
        done = made.train("--output", algorithm, "--set", f"algorithm={algorithm}")
        assert done.returncode == 0, done.stderr
    return made


@BOTH
def test_one_key_swaps_the_algorithm_and_all_else_is_there(algorithm, made):
    output = made.folder / algorithm
    told = json.loads((output / "evaluation.json").read_text())
    assert told["steps"] in (0, 2, 4)  # of the best model by the guard
    assert all(judge["before"]["score"]["mean"] is not None for judge in told["judges"].values())
    lines = made.metrics(algorithm)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [("guard" in line) for line in lines] == [False, True, False, True]
    assert f"algorithm: {algorithm}" in (output / "run.yaml").read_text()
    load(str(output / "model"))


UPDATE = At("optimizer", n=10, when="after")
ROLLOUT = At("forward", n=4, since=At("append", "metrics.jsonl", n=2))


@pytest.mark.parametrize(
    ("algorithm", "meddle", "status"),
    [
        ("grpo", at(UPDATE, "kill"), -signal.SIGKILL),
        ("rloo", at(UPDATE, "kill"), -signal.SIGKILL),
        ("grpo", at(ROLLOUT, "terminate"), 130),
        ("rloo", at(UPDATE, "interrupt"), 130),
    ],
    ids=["kill -9 of grpo", "kill -9 of rloo", "SIGTERM in a rollout of grpo", "Ctrl-C in an update of rloo"],
)
def test_a_run_that_is_killed_or_interrupted_goes_on_and_ends_as_the_undisturbed_one(algorithm, meddle, status, made):
    output = f"{algorithm}-disturbed"
    shutil.rmtree(made.folder / output, ignore_errors=True)
    sets = ("--output", output, "--set", f"algorithm={algorithm}")
    done = made.train(*sets, meddle=meddle)
    assert done.returncode == status, done.stderr
    done = made.train("--resume", *sets)
    assert done.returncode == 0, done.stderr
    assert_same_run(made, output, algorithm)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["policy.critic=separate"], "policy.critic: 'separate' means nothing to algorithm: grpo (there is no critic)"),
        (["ppo.vf_coef=0.2"], "ppo.vf_coef: 0.2 means nothing to algorithm: grpo (there is no critic); leave it out"),
        (["ppo.target_kl=0.1"], "ppo.target_kl: 0.1 means nothing to algorithm: grpo (TRL's trainer has no such"),
        (["ppo.dual_clip=3.0", "algorithm=rloo"], "ppo.dual_clip: 3.0 means nothing to algorithm: rloo"),
        (["group.num_generations=3"], "batch_size (4) should be a multiple of num_generations (3)"),
        (["group.num_generations=1"], "group.num_generations"),
        (["policy.model=./seq2seq"], "trains causal models only, and policy.model is a seq2seq model; take"),
    ],
    ids=str,
)  # fmt: skip
def test_what_these_algorithms_cannot_do_is_refused_before_a_model_loads(sets, said, made, main, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("rlaif.training.run.run.load", loaded)
    if not (made.folder / "seq2seq").exists():
        tiny.policy(made.folder / "seq2seq", "t5")
    monkeypatch.chdir(made.folder)
    arguments = [part for text in ("algorithm=grpo", *sets) for part in ("--set", text)]
    done = main("train", "run.yaml", "--output", "refused", *arguments)
    assert done.returncode == 2
    assert said in one_line(done)
    assert not (made.folder / "refused").exists()


def test_ppo_makes_nothing_of_a_group(made, monkeypatch):
    from rlaif.core.config.run import read_run

    monkeypatch.chdir(made.folder)
    assert read_run(made.folder / "run.yaml", ["group.num_generations=3"]).algorithm == "ppo"


@BOTH
def test_a_value_that_says_what_is_done_anyway_is_taken(algorithm, llama, tmp_path):
    group_of(llama, tmp_path / "run", algorithm=algorithm, lam=1.0, vf_coef=0.0)
    with pytest.raises(InputError, match=r"ppo\.lam: 0\.9 means nothing"):
        group_of(llama, tmp_path / "run", algorithm=algorithm, lam=0.9)


def test_the_page_tells_of_each_key_what_becomes_of_it():
    page = (ROOT / "docs" / "algorithms.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    told = {name.strip(" `"): (grpo.strip(), rloo.strip()) for cell, grpo, rloo in rows for name in cell.split(", ")}
    assert told.keys() == {field.name for kind in (TrainingSection, PPOSection) for field in fields(kind)}
    for i, algorithm in enumerate(("grpo", "rloo")):
        assert {name for name, said in told.items() if said[i] == "refused"} == set(MEANINGLESS[algorithm]) - {"critic"}


def test_several_processes_are_refused(made):
    done = made.train("--output", "several", "--set", "algorithm=grpo", env=ranks()[0])
    assert done.returncode == 2, done.stderr
    assert "algorithm: grpo runs in one process, and 2 were started" in done.stderr
    assert not (made.folder / "several").exists()


def test_a_seq2seq_model_in_memory_is_refused(policy_folder, tmp_path):
    with pytest.raises(InputError, match="trains causal models only"):
        group_of(load(str(policy_folder("t5"))), tmp_path / "run")
