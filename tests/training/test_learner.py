"""What an update does to the weights: in bfloat16, in micro-batches, with abstentions, with numbers that overflow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlaif.policy.tokens import micro_batches
from rlaif.training.ppo.learner import BatchShare
from tests import tiny
from tests.tiny import POLICIES
from tests.trainers import PROMPTS, Watch, distance, lines_of, policy_part, trainer_of, vowels, weights_of


@pytest.fixture(autouse=True)
def one_thread():
    """Nothing here is large enough for two threads to help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.policy(tmp_path_factory.mktemp("llama"))


def one_update(trainer, step=1):
    """Act, judge, assign, learn, once; returns rollout, credit and the metrics of the update."""
    rollout, pending = trainer.act(step)
    credit = trainer.assign(rollout, trainer.wait_for_rewards(pending))
    return rollout, credit, trainer.learn(rollout, credit, step)


# --- the first mini-batch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True], ids=["full", "LoRA"])
@pytest.mark.parametrize("architecture", POLICIES)
def test_before_the_first_update_the_kl_is_0_and_all_ratios_are_1(tmp_path, architecture, lora):
    folder = tiny.policy(tmp_path / "model", architecture)
    given = {"peft_config": LoraConfig(r=4, fan_in_fan_out=architecture == "gpt2")} if lora else {}
    trainer = trainer_of(
        folder, tmp_path / "run", given=given, steps=1, temperature=0.7, batch_size=6, mini_batch_size=3
    )
    trainer.train()
    (line,) = lines_of(tmp_path / "run")
    assert line["kl"] == line["kl_k1"] == 0
    assert line["ratio_max_dev"] < 1e-4
    assert line["optimizer_steps"] == 4


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_in_bfloat16_the_kl_before_the_first_update_is_0_too(tmp_path, architecture):
    folder = tiny.policy(tmp_path / "model", architecture, dtype=torch.bfloat16)
    trainer_of(folder, tmp_path / "run", steps=1, dtype="bfloat16").train()
    (line,) = lines_of(tmp_path / "run")
    assert line["kl"] == line["kl_k1"] == 0
    assert line["ratio_max_dev"] < 0.1


# --- bfloat16 -------------------------------------------------------------------------------------------------


def test_a_bfloat16_checkpoint_moves_as_one_of_the_same_values_in_float32(tmp_path, monkeypatch):
    half = tiny.policy(tmp_path / "half", dtype=torch.bfloat16)
    whole = tmp_path / "whole"
    AutoModelForCausalLM.from_pretrained(half, dtype=torch.float32).save_pretrained(whole)
    AutoTokenizer.from_pretrained(half).save_pretrained(whole)
    starts, moved, sampled = {}, {}, []
    for name, folder, dtype in (("whole", whole, "float32"), ("half", half, "float32"), ("cast", half, "bfloat16")):
        trainer = trainer_of(
            folder, tmp_path / name / "run", dtype=dtype, learning_rate=1e-5, ppo_epochs=4, batch_size=16,
            mini_batch_size=8, max_new_tokens=16,
        )  # fmt: skip
        starts[name] = weights_of(trainer)
        assert all(weight.dtype == torch.float32 for weight in starts[name].values())
        # All learn from the same completions: bfloat16 would sample others.
        sampled.append(sampled[0] if sampled else trainer.act(1)[0].tokens)
        monkeypatch.setattr(trainer.policy, "generate", lambda *_, **__: sampled[0])
        one_update(trainer)
        after = weights_of(trainer)
        moved[name] = {key: after[key] - starts[name][key] for key in policy_part(after)}

    def norm(name):
        return float(torch.cat([tensor.flatten() for tensor in moved[name].values()]).norm())

    # Fully in float32 the checkpoint's dtype is forgotten; in autocast only the arithmetic of the passes is coarser.
    assert distance(moved["half"], moved["whole"]) == 0
    assert norm("cast") == pytest.approx(norm("whole"), rel=0.02)
    for name, steps in moved.items():
        changed = {key: float((step != 0).float().mean()) for key, step in steps.items() if "embed_tokens" not in key}
        assert min(changed.values()) > 0.9, name
    # What it is about: rounded to bfloat16 most of these steps would be none.
    rounded = [(starts["half"][key] + step).bfloat16() != starts["half"][key] for key, step in moved["half"].items()]
    assert float(torch.cat([change.flatten() for change in rounded]).float().mean()) < 0.1


# --- micro-batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "flan_t5"])
def test_the_size_of_micro_batches_changes_nothing(tmp_path, architecture):
    folder = tiny.policy(tmp_path / "model", architecture)

    def one_abstains(completions, **_):
        return [None if i == 2 else reward for i, reward in enumerate(vowels(completions))]

    reached, pieces = {}, {}
    for tokens in (1, 50, 100, 10**6):
        trainer = trainer_of(
            folder, tmp_path / str(tokens), one_abstains, micro_batch_tokens=tokens, batch_size=6, mini_batch_size=6,
            ppo_epochs=1, max_new_tokens=20, entropy_coef=0.01,
        )  # fmt: skip
        rollout, credit, told = one_update(trainer)
        assert len(set(rollout.tokens.lengths)) > 1
        assert credit.judged_B.tolist() == [True, True, False, True, True, True]
        reached[tokens], pieces[tokens] = weights_of(trainer), len(micro_batches(rollout.tokens.lengths, tokens))
        assert told.optimizer_steps == 1
    assert pieces[1] == 6
    assert pieces[10**6] == 1
    assert len(set(pieces.values())) >= 3
    for tokens in (1, 50, 100):
        assert distance(reached[tokens], reached[10**6]) < 1e-5


def test_a_mini_batch_is_weighed_by_its_tokens_not_by_its_samples(llama, tmp_path, optimizer_steps):
    """One gradient worked out from the policy's own forward, sample by sample, against what reaches the optimizer."""
    trainer = trainer_of(
        llama, tmp_path / "run", batch_size=4, mini_batch_size=4, ppo_epochs=1, max_grad_norm=1e9, micro_batch_tokens=1
    )
    rollout, pending = trainer.act(1)
    credit = trainer.assign(rollout, trainer.wait_for_rewards(pending))
    total = torch.zeros(())
    for row in range(4):
        tokens = rollout.tokens.rows([row])
        now, n = trainer.policy(tokens), int(tokens.mask_BR.sum())
        ratio = (now.logprobs[0, :n] - rollout.old.logprobs[row, :n]).exp()
        total = total - (ratio * credit.advantages_BR[row, :n]).sum()
        total = total + 0.1 * 0.5 * ((now.values[0, :n] - credit.returns_BR[row, :n]) ** 2).sum()
    weights = dict(trainer.policy.named_parameters())
    gradients = torch.autograd.grad(total / rollout.tokens.mask_BR.sum(), list(weights.values()))
    seen = {}

    def look(_):
        seen.update({name: weight.grad.clone() for name, weight in weights.items()})

    optimizer_steps(trainer, look)
    trainer.learn(rollout, credit, 1)
    for (name, gradient), expected in zip(seen.items(), gradients, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-6), name
        assert expected.abs().max() > 1e-6 or "bias" in name, name


# --- abstentions ----------------------------------------------------------------------------------------------


def test_abstentions_weigh_nothing(llama, tmp_path):
    """The update is the same whatever the rewards of the rows that abstain would have been."""
    trainer = trainer_of(llama, tmp_path / "run", use_score_scaling=True, use_score_norm=True)
    rollout, pending = trainer.act(1)
    verdicts = trainer.wait_for_rewards(pending)
    start = weights_of(trainer)
    reached = []
    for would_be in (0.0, 1e6):
        trainer.policy.load_weights(start)
        trainer.learner.load_state({})  # no momentum
        trainer.progress.moments = type(trainer.progress.moments)()
        said = [replace(v, reward=would_be) if row == 1 else v for row, v in enumerate(verdicts[0])]
        silent = [replace(v, reward=None, score=None) if row == 1 else v for row, v in enumerate(said)]
        credit = trainer.assign(rollout, [silent])
        assert not credit.mask_BR[1].any()
        assert float(credit.advantages_BR[1].abs().sum()) == float(credit.returns_BR[1].abs().sum()) == 0
        trainer.learn(rollout, credit, 1)
        reached.append(weights_of(trainer))
    assert distance(*reached) == 0
    assert distance(reached[0], start) > 0


def test_a_row_that_abstains_teaches_as_if_it_were_not_there(llama, tmp_path):
    """Gradients of three judged rows of four are those of the three alone: no zero in the mean, none in the count."""
    seen = []
    for rows in ([0, 1, 2, 3], [0, 2, 3]):
        trainer = trainer_of(llama, tmp_path / str(len(rows)), mini_batch_size=4, ppo_epochs=1)
        rollout, pending = trainer.act(1)
        (said,) = trainer.wait_for_rewards(pending)
        silent = [replace(v, reward=None, score=None) if row == 1 else v for row, v in enumerate(said)]
        kept = replace(
            rollout,
            tokens=rollout.tokens.rows(rows),
            old=type(rollout.old)(*(x[rows] for x in rollout.old)),
            reference_BR=rollout.reference_BR[rows],
            ended_B=rollout.ended_B[rows],
        )
        length = kept.tokens.mask_BR.shape[1]
        kept = replace(
            kept, old=type(kept.old)(*(x[:, :length] for x in kept.old)), reference_BR=kept.reference_BR[:, :length]
        )
        credit = trainer.assign(kept, [[silent[row] for row in rows]])
        trainer.learner.update(kept, credit, BatchShare(range(len(rows)), len(rows), 1, 0))
        seen.append(weights_of(trainer))
    assert distance(*seen) < 1e-5


def test_where_the_kl_costs_nothing_a_batch_of_abstentions_moves_no_weight_and_no_momentum(llama, tmp_path):
    calls = []

    def silent_at_the_second(completions, **_):
        calls.append(1)
        return [None] * len(completions) if len(calls) == 2 else vowels(completions)

    at = {}
    watch = Watch(lambda t, m: at.update({m["step"]: (weights_of(t), dict(t.learner.state()))}))
    given = {"callbacks": [watch]}
    trainer = trainer_of(llama, tmp_path / "run", silent_at_the_second, steps=3, given=given, kl_coef=0.0)
    moments = []
    at_end = trainer.learner.update

    def update(*args, **kwargs):
        told = at_end(*args, **kwargs)
        moments.append({name: tensor.clone() for name, tensor in trainer.learner.state().items()})
        return told

    trainer.learner.update = update
    trainer.train()
    first, second, third = lines_of(tmp_path / "run")
    assert distance(at[1][0], at[2][0]) == 0
    assert distance(moments[0], moments[1]) == 0
    assert distance(at[2][0], at[3][0]) > 0
    assert second["judges"]["silent_at_the_second"] == {
        "score_mean": None, "abstained": 4, "statuses": {"declined": 4}, "seconds": pytest.approx(0, abs=1),
        "from_store": 0,
    }  # fmt: skip
    assert [line["optimizer_steps"] for line in (first, second, third)] == [4, 0, 4]
    assert second["reward_mean"] is second["reward_std"] is second["grad_norm"] is second["policy_loss"] is None
    assert second["skipped_updates"] == 0
    assert second["kl"] > 0


def test_a_batch_of_nothing_but_abstentions_is_drawn_to_the_reference_and_leaves_the_critic_alone(llama, tmp_path):
    calls, at = [], {}

    def silent_later(completions, **_):
        calls.append(1)
        return vowels(completions) if len(calls) <= 2 else [None] * len(completions)

    watch = Watch(lambda trainer, line: at.update({line["step"]: weights_of(trainer)}))
    args = {"steps": 24, "kl_coef": 1.0, "batch_size": 32, "mini_batch_size": 16, "lr_scheduler_type": "linear"}
    trainer_of(llama, tmp_path / "run", silent_later, given={"callbacks": [watch]}, **args).train()
    lines = lines_of(tmp_path / "run")
    assert lines[-1]["kl"] < 0.9 * max(line["kl"] for line in lines)
    assert all(line["optimizer_steps"] == 4 for line in lines)
    assert all(line["policy_loss"] is not None and line["value_loss"] is None for line in lines[2:])
    head = {name for name in at[2] if name.startswith("value_head.")}
    assert head
    assert all(torch.equal(at[2][name], at[24][name]) for name in head)


def test_a_sample_that_one_of_two_sources_abstains_on_has_no_reward(llama, tmp_path):
    def half(completions, **_):
        return [None, *[1.0] * (len(completions) - 1)]

    trainer = trainer_of(llama, tmp_path / "run", [vowels, half], reward_weights=[1.0, 2.0])
    rollout, pending = trainer.act(1)
    verdicts = trainer.wait_for_rewards(pending)
    credit = trainer.assign(rollout, verdicts)
    assert credit.judged_B.tolist() == [False, True, True, True]
    expected = [0.0, *[reward + 2.0 for reward in vowels(rollout.completions)[1:]]]
    assert credit.rewards_B.tolist() == pytest.approx(expected)


# --- updates that are not finite ------------------------------------------------------------------------------


def test_an_update_that_is_not_finite_is_skipped_and_counted(llama, tmp_path, monkeypatch):
    from rlaif.training.ppo import learner

    trainer = trainer_of(llama, tmp_path / "run", steps=2)
    whole, calls, weights = learner.policy_loss, [], []

    def broken(*args, **kwargs):
        calls.append(1)
        weights.append(weights_of(trainer))
        loss, acts = whole(*args, **kwargs)
        return (loss * float("nan") if len(calls) == 2 else loss), acts

    monkeypatch.setattr(learner, "policy_loss", broken)
    trainer.train()
    first, second = lines_of(tmp_path / "run")
    assert (first["optimizer_steps"], first["skipped_updates"]) == (3, 1)
    assert (second["optimizer_steps"], second["skipped_updates"]) == (4, 0)
    assert distance(weights[0], weights[1]) > 0
    assert distance(weights[1], weights[2]) == 0
    assert distance(weights[2], weights[3]) > 0
    assert all(bool(tensor.isfinite().all()) for tensor in weights_of(trainer).values())


def test_a_reward_that_overflows_costs_its_updates_and_not_the_run(llama, tmp_path):
    calls = []

    def huge_once(completions, **_):
        calls.append(1)
        return [1e30, *vowels(completions)[1:]] if len(calls) == 1 else vowels(completions)

    trainer = trainer_of(llama, tmp_path / "run", huge_once, save_steps=1, whiten_advantages=False)
    trainer.train()
    first, second = lines_of(tmp_path / "run")
    assert first["skipped_updates"] > 0
    assert second["skipped_updates"] == 0
    assert all(bool(tensor.isfinite().all()) for tensor in weights_of(trainer).values())


@pytest.mark.parametrize("reward", [1e39, -1e300])
def test_a_reward_beyond_float32_is_refused_as_the_bug_that_it_is(llama, tmp_path, reward):
    from rlaif.core.errors import JudgeBug

    def beyond(completions, **_):
        return [reward] * len(completions)

    with pytest.raises(JudgeBug, match=r"returned .* return a finite number") as caught:
        trainer_of(llama, tmp_path / "run", beyond).train()
    assert "\n" not in str(caught.value)


# --- one row --------------------------------------------------------------------------------------------------


def test_a_data_set_of_one_prompt_is_repeated(llama, tmp_path):
    seen = []

    def look(prompts, completions, **_):
        seen.extend(prompts)
        return vowels(completions)

    trainer_of(llama, tmp_path / "run", look, PROMPTS[:1]).train()
    assert seen == PROMPTS[:1] * 8
