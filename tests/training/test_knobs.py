"""Each knob of `PPOConfig` acts, and acts as its comment says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlaif
from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import InputError
from rlaif.training.loop.optimizer import rate_factor
from tests import tiny
from tests.policies import ENDS
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


def moved(trainer):
    """Train, and return how far each weight of the policy went."""
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    return {name: after[name] - before[name] for name in before}


@pytest.fixture
def counted(optimizer_steps):
    """Counts the optimizer's steps of a trainer, in a list that grows by the norm of the gradient at each."""

    def count(trainer):
        norms = []

        def look(optimizer):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))

        optimizer_steps(trainer, look)
        return norms

    return count


def rollout_of(trainer, step=1):
    rollout, pending = trainer.act(step)
    return rollout, trainer.wait_for_rewards(pending)


def texts_of(tokens):
    """The ids of each prompt and of its response, without padding."""
    prompts = zip(tokens.prompt_BP, tokens.prompt_mask_BP, strict=True)
    responses = zip(tokens.response_BR, tokens.mask_BR, strict=True)
    return [
        (tuple(prompt[mask].tolist()), tuple(response[there].tolist()))
        for (prompt, mask), (response, there) in zip(prompts, responses, strict=True)
    ]


# --- epochs, batches, gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "mini", "epochs"), [(4, 2, 2), (4, 4, 3), (6, 2, 1), (4, 1, 1)])
def test_optimizer_steps_are_epochs_times_mini_batches(llama, tmp_path, counted, batch, mini, epochs):
    trainer = trainer_of(llama, tmp_path / "run", batch_size=batch, mini_batch_size=mini, ppo_epochs=epochs)
    norms = counted(trainer)
    trainer.train()
    lines = lines_of(tmp_path / "run")
    assert [line["optimizer_steps"] for line in lines] == [epochs * batch // mini] * 2
    assert len(norms) == 2 * epochs * batch // mini
    assert [line["samples"] for line in lines] == [batch, 2 * batch]
    state = trainer.learner.state()
    assert {float(tensor) for name, tensor in state.items() if name.endswith(".step")} == {float(len(norms))}


def test_mini_batches_are_shuffled_anew_in_each_epoch_and_cover_the_batch(llama, tmp_path):
    trainer = trainer_of(llama, tmp_path / "run", batch_size=8, mini_batch_size=2, ppo_epochs=3)
    rollout, verdicts = rollout_of(trainer)
    texts = texts_of(rollout.tokens)
    assert len(set(texts)) == 8
    seen = []
    watching = trainer.policy.register_forward_pre_hook(lambda _, given: seen.append(texts_of(given[0])))
    trainer.learn(rollout, trainer.assign(rollout, verdicts), 1)
    watching.remove()
    assert [len(batch) for batch in seen] == [2] * 12
    epochs = [[texts.index(text) for batch in seen[i : i + 4] for text in batch] for i in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_max_grad_norm_bounds_what_reaches_the_optimizer(llama, tmp_path, counted, optimizer_steps):
    norms, directions = {}, {}
    for bound in (1e-3, 1e9):
        trainer = trainer_of(llama, tmp_path / str(bound), max_grad_norm=bound, ppo_epochs=1, mini_batch_size=4)
        norms[bound] = counted(trainer)

        def keep(optimizer, bound=bound):
            directions.setdefault(bound, torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]))

        optimizer_steps(trainer, keep)
        trainer.train()
    assert norms[1e-3] == pytest.approx([1e-3, 1e-3], rel=1e-3)
    assert norms[1e9][0] > 1e-2
    # One gradient is the other times a factor, each element rounded once to float32, whose eps is 2**-23. The cosine is
    # off by the square of that, and taken in float64.
    one, other = directions[1e-3].double(), directions[1e9].double()
    assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(1, abs=1e-12)
    # What is told is the norm before it was shortened.
    told = [lines_of(tmp_path / str(bound))[0]["grad_norm"] for bound in (1e-3, 1e9)]
    assert told[0] == pytest.approx(told[1], rel=1e-4) == pytest.approx(norms[1e9][0], rel=1e-4)


# --- learning rates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("constant", 2, [0.5, 1, 1, 1]),
        ("linear", 0, [1, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.5, 1, 1, 0.5]),
        ("cosine", 0, [1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4]),
        ("cosine", 1, [1, 1, 0.75, 0.25]),
        ("linear", 9, [1 / 9, 2 / 9, 3 / 9, 4 / 9]),
    ],
)
def test_learning_rates_follow_their_schedule(kind, warmup, expected):
    config = PPOConfig(steps=4, lr_scheduler_type=kind, warmup_steps=warmup)
    assert [rate_factor(config, step) for step in (1, 2, 3, 4)] == pytest.approx(expected)


def test_the_scheduled_rate_is_the_one_that_acts_and_is_told(llama, tmp_path, optimizer_steps):
    rates = []
    trainer = trainer_of(
        llama, tmp_path / "run", steps=3, lr_scheduler_type="linear", warmup_steps=1, learning_rate=0.3e-3,
        vf_learning_rate=0.9e-3, ppo_epochs=1,
    )  # fmt: skip
    optimizer_steps(trainer, lambda optimizer: rates.extend(group["lr"] for group in optimizer.param_groups))
    trainer.train()
    assert rates == pytest.approx([3e-4, 9e-4] * 2 + [3e-4, 9e-4] * 2 + [1.5e-4, 4.5e-4] * 2)
    assert [line["learning_rate"] for line in lines_of(tmp_path / "run")] == pytest.approx([3e-4, 3e-4, 1.5e-4])


def test_adams_first_step_is_as_long_as_the_learning_rate_says(llama, tmp_path):
    """|step| of Adam is at most the rate, and as good as the rate where a gradient is far larger than eps."""
    for rate, vf_rate in ((1e-3, None), (1e-4, 5e-3)):
        trainer = trainer_of(
            llama, tmp_path / f"{rate}", steps=1, ppo_epochs=1, mini_batch_size=4, learning_rate=rate,
            vf_learning_rate=vf_rate,
        )  # fmt: skip
        steps = moved(trainer)
        assert max(float(step.abs().max()) for step in policy_part(steps).values()) == pytest.approx(rate, rel=0.02)
        assert float(steps["value_head.weight"].abs().max()) == pytest.approx(vf_rate or 10 * rate, rel=0.02)


# --- the critic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_critics_warm_up_leaves_the_policy_alone(llama, tmp_path, critic):
    at = {}
    watch = Watch(lambda t, m: at.update({m["step"]: weights_of(t)}))
    trainer = trainer_of(
        llama, tmp_path / "run", given={"callbacks": [watch]}, steps=3, critic_warmup_steps=2, critic=critic
    )
    at[0] = weights_of(trainer)
    trainer.train()
    assert distance(policy_part(at[0]), policy_part(at[2])) == 0
    assert distance(policy_part(at[2]), policy_part(at[3])) > 0
    values = [{k: v for k, v in at[i].items() if k not in policy_part(at[i])} for i in range(4)]
    assert all(distance(values[i], values[i + 1]) > 0 for i in range(3))
    if critic == "separate":
        assert any(not torch.equal(at[0][k], at[1][k]) for k in at[0] if k.startswith("critic."))
    lines = lines_of(tmp_path / "run")
    assert [line["kl"] for line in lines] == [0, 0, 0]
    assert [line["optimizer_steps"] for line in lines] == [4, 4, 4]
    # Adam's steps of the policy are counted from its own first one: the warm-up left no trace in its momentum.
    state = trainer.learner.state()
    assert {float(tensor) for name, tensor in state.items() if name.endswith(".step")} == {4.0, 12.0}


def test_a_warmed_up_critic_explains_more_of_the_returns(llama, tmp_path):
    """Where the first token is all, the head has six states of 32 numbers to tell apart, one of each prompt."""

    def of_prompt(prompts, **_):
        return [float(len(prompt)) for prompt in prompts]

    trainer = trainer_of(
        llama, tmp_path / "run", of_prompt, steps=25, critic_warmup_steps=25, batch_size=12, mini_batch_size=6,
        vf_learning_rate=0.1, cliprange_value=None, kl_coef=0.0, max_grad_norm=1e9, max_new_tokens=1,
    )  # fmt: skip
    trainer.train()
    told = [line["explained_variance"] for line in lines_of(tmp_path / "run")]
    assert told[0] == pytest.approx(0, abs=1e-6)  # a head of zeros says the same of everything
    assert told[-1] > 0.5


def test_vf_coef_weighs_the_value_loss(llama, tmp_path):
    still = moved(trainer_of(llama, tmp_path / "0", vf_coef=0.0))
    assert float(still["value_head.weight"].abs().max()) == 0
    assert float(moved(trainer_of(llama, tmp_path / "1", vf_coef=0.5))["value_head.weight"].abs().max()) > 0


def test_cliprange_value_holds_values_back_and_null_does_not(llama, tmp_path, counted):
    def far(completions, **_):
        return [100.0 + reward for reward in vowels(completions)]

    losses, steps = {}, {}
    for clip in (0.01, None):
        trainer = trainer_of(
            llama, tmp_path / f"{clip}", far, steps=1, ppo_epochs=8, critic_warmup_steps=1, cliprange_value=clip,
            vf_learning_rate=0.05, kl_coef=0.0,
        )  # fmt: skip
        steps[clip] = counted(trainer)
        trainer.train()
        losses[clip] = lines_of(tmp_path / f"{clip}")[0]["value_loss"]
    # A value that has moved further than the range in the right direction is left where it is: no gradient.
    assert steps[0.01][-1] == 0
    assert steps[None][-1] > 0
    assert losses[None] < losses[0.01]


# --- credit ---------------------------------------------------------------------------------------------------

SHAPING = [
    {"gamma": 0.5},
    {"lam": 0.0},
    {"whiten_advantages": False},
    {"kl_coef": 0.0},
    {"kl_coef": 2.0},
    {"score_clip": 0.05},
    {"missing_eos_penalty": 3.0},
    {"use_score_scaling": True},
    {"use_score_scaling": True, "use_score_norm": True},
]


@pytest.mark.parametrize("knobs", [{}, *SHAPING], ids=str)
def test_credit_is_what_its_knobs_say(llama, tmp_path, knobs):
    """Against loops over tokens with Python's own numbers; one knob is turned at a time, and changes the credit."""
    earlier = []

    def kept(completions, **_):
        rewards = vowels(completions)
        earlier.extend(rewards)
        return rewards

    trainer = trainer_of(llama, tmp_path / "run", kept, max_new_tokens=12, **knobs)
    trainer.train()  # so that there is a KL, and a critic that says something
    so_far = list(earlier)
    rollout, verdicts = rollout_of(trainer, 3)
    rewards = vowels(rollout.completions)
    assert len(so_far) == 8
    credit = trainer.assign(rollout, verdicts)
    config = trainer.args
    advantages, returns = credit_by_hand(rollout, rewards, so_far, config)
    assert not rollout.ended_B.all()
    assert float((rollout.old.logprobs - rollout.reference_BR).abs().sum()) > 0
    np.testing.assert_allclose(credit.advantages_BR.numpy(), advantages, atol=1e-4)
    np.testing.assert_allclose(credit.returns_BR.numpy(), returns, atol=1e-4)
    if knobs:
        defaults = {field.name: field.default for field in fields(PPOConfig)}
        other = replace(config, **{name: defaults[name] for name in knobs})
        assert np.abs(credit_by_hand(rollout, rewards, so_far, other)[0] - advantages).max() > 1e-3


def credit_by_hand(rollout, rewards, earlier, config):
    """Advantages and returns as Schulman 2016 and 2020 write them, token by token, each sum anew."""
    scores = list(rewards)
    if config.use_score_norm:
        scores = [score - statistics.fmean([*earlier, *rewards]) for score in scores]
    if config.use_score_scaling:
        scores = [score / statistics.stdev([*earlier, *rewards]) for score in scores]
    if config.score_clip is not None:
        scores = [min(max(score, -config.score_clip), config.score_clip) for score in scores]
    if config.missing_eos_penalty is not None:
        ended = rollout.ended_B.tolist()
        scores = [
            score - (0 if done else config.missing_eos_penalty) for score, done in zip(scores, ended, strict=True)
        ]
    lengths = [int(count) for count in rollout.tokens.mask_BR.sum(1)]
    logprobs, values = rollout.old.logprobs.tolist(), rollout.old.values.tolist()
    reference = rollout.reference_BR.tolist()
    advantages, returns = np.zeros((2, *rollout.tokens.mask_BR.shape))
    for row, n in enumerate(lengths):
        paid = []
        for t in range(n):
            nats = logprobs[row][t] - reference[row][t]
            paid.append(-config.kl_coef * nats + (scores[row] if t == n - 1 else 0))
        after = [*values[row][1:n], 0.0]
        errors = [paid[t] + config.gamma * after[t] - values[row][t] for t in range(n)]
        for t in range(n):
            advantages[row, t] = math.fsum((config.gamma * config.lam) ** (s - t) * errors[s] for s in range(t, n))
            returns[row, t] = advantages[row, t] + values[row][t]
    if config.whiten_advantages:
        tokens = [(row, t) for row, n in enumerate(lengths) for t in range(n)]
        flat = [advantages[at] for at in tokens]
        for at, advantage in zip(tokens, flat, strict=True):
            advantages[at] = (advantage - statistics.fmean(flat)) / statistics.pstdev(flat)
    return advantages, returns


def test_an_adaptive_coefficient_steers_by_ziegler_2019(llama, tmp_path):
    trainer = trainer_of(
        llama, tmp_path / "run", steps=4, adap_kl_ctrl=True, target=0.05, horizon=40, kl_coef=0.2, learning_rate=3e-3
    )
    trainer.train()
    lines = lines_of(tmp_path / "run")
    value = 0.2
    for line in lines:
        assert line["kl_coef"] == pytest.approx(value, rel=1e-9)
        value *= 1 + min(max(line["kl_k1"] / 0.05 - 1, -0.2), 0.2) * 4 / 40
    assert trainer.progress.kl_coef.value == pytest.approx(value, rel=1e-9)
    assert len({line["kl_coef"] for line in lines}) == 4


# --- the loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{"cliprange": 0.001}, {"dual_clip": 1.01}, {"entropy_coef": 0.5}], ids=str)
def test_knobs_of_the_loss_change_the_update(llama, tmp_path, knobs):
    """Where all is bad, a mini-batch makes the other's tokens likelier, bad as they are: there `dual_clip` acts."""
    bad = {"reward": constant(-1.0), "whiten_advantages": False, "steps": 1}
    plain = trainer_of(llama, tmp_path / "0", **bad)
    turned = trainer_of(llama, tmp_path / "1", **bad, **knobs)
    assert distance(moved(plain), moved(turned)) > 1e-5
    clipped = [lines_of(tmp_path / name)[0]["clip_fraction"] for name in "01"]
    assert clipped[1] > clipped[0] or "cliprange" not in knobs


def test_an_entropy_bonus_raises_the_entropy(llama, tmp_path):
    told = {}
    for coefficient in (0.0, 1.0):
        trainer = trainer_of(
            llama, tmp_path / f"{coefficient}", constant(0.0), steps=10, batch_size=8, mini_batch_size=8, kl_coef=0.0,
            entropy_coef=coefficient, learning_rate=3e-3,
        )  # fmt: skip
        trainer.train()
        told[coefficient] = [line["entropy"] for line in lines_of(tmp_path / f"{coefficient}")]
    assert told[1.0][-1] > told[1.0][0] + 0.2
    assert told[1.0][-1] > told[0.0][-1] + 0.2


def test_target_kl_ends_a_step_where_the_policy_has_moved_too_far(llama, tmp_path, counted):
    free = trainer_of(llama, tmp_path / "free", steps=1, ppo_epochs=10, learning_rate=3e-3)
    free.train()
    bound = trainer_of(llama, tmp_path / "bound", steps=1, ppo_epochs=10, learning_rate=3e-3, target_kl=0.01)
    norms = counted(bound)
    bound.train()
    (free_line,), (line,) = lines_of(tmp_path / "free"), lines_of(tmp_path / "bound")
    assert free_line["optimizer_steps"] == 20
    assert 0 < line["optimizer_steps"] == len(norms) < 20
    assert line["approx_kl"] < free_line["approx_kl"]


# --- when it stops, what it keeps -----------------------------------------------------------------------------


def constant(score):
    def fine(completions, **_):
        return [score] * len(completions)

    return fine


@pytest.mark.parametrize(
    ("knobs", "steps"),
    [
        ({"stop_score": 0.8, "stop_window": 3}, 3),
        ({"stop_score": 0.95, "stop_window": 3}, 6),
        ({"stop_score": 0.8, "stop_window": 10}, 6),
        ({"stop_kl": 1e-6, "stop_window": 2}, 2),
        ({"stop_kl": 1e6, "stop_window": 2}, 6),
    ],
    ids=str,
)
def test_a_stop_rule_ends_the_run_after_a_full_window(llama, tmp_path, capsys, knobs, steps):
    trainer = trainer_of(llama, tmp_path / "run", constant(0.9), steps=6, entropy_coef=0.1, **knobs)
    trainer.train()
    assert len(lines_of(tmp_path / "run")) == steps
    assert (tmp_path / "run" / "model" / "config.json").exists()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"step-{steps:06d}"]
    said = capsys.readouterr().err
    assert (f"stopped after step {steps}: the " in said) == (steps < 6)
    assert ("is good enough" in said) == ("stop_score" in knobs and steps < 6)
    assert ("is too far" in said) == ("stop_kl" in knobs and steps < 6)


def test_a_callback_may_end_the_run(llama, tmp_path, capsys):
    watch = Watch(lambda t, m: t.stop("seen enough") if m["step"] == 2 else m["alarms"].append("loud"))
    trainer_of(llama, tmp_path / "run", steps=5, given={"callbacks": [watch]}).train()
    assert [line["alarms"] for line in lines_of(tmp_path / "run")] == [["loud"], []]
    assert "stopped after step 2: seen enough" in capsys.readouterr().err


def test_checkpoints_come_as_often_and_stay_as_many_as_asked_for(llama, tmp_path):
    seen = []
    folder = tmp_path / "run" / "checkpoints"
    watch = Watch(lambda t, m: seen.append(sorted(p.name for p in folder.iterdir()) if folder.exists() else []))
    trainer_of(llama, tmp_path / "run", given={"callbacks": [watch]}, steps=7, save_steps=2, save_total_limit=2).train()
    names = [f"step-{i:06d}" for i in range(8)]
    two, four = [names[2]], [names[2], names[4]]
    assert seen == [[], [], two, two, four, four, [names[4], names[6]]]
    assert sorted(path.name for path in folder.iterdir()) == [names[6], names[7]]


# --- sampling and seeds ---------------------------------------------------------------------------------------


def test_one_seed_makes_one_run_and_another_seed_another(llama, tmp_path):
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        said = []

        def listen(completions, said=said, **_):
            said.extend(completions)
            return vowels(completions)

        trainer = trainer_of(llama, tmp_path / str(number), listen, seed=seed)
        trainer.train()
        lines = [{k: v for k, v in line.items() if k not in ("seconds", "judges")} for line in lines_of(trainer.output)]
        runs.append((said, lines, weights_of(trainer)))
    assert runs[0][:2] == runs[1][:2]
    assert distance(runs[0][2], runs[1][2]) == 0
    assert runs[0][0] != runs[2][0]
    assert distance(runs[0][2], runs[2][2]) > 0


@pytest.mark.parametrize("seed", [-1, 2**63, 2**80])
def test_any_whole_number_is_a_seed(llama, tmp_path, seed):
    trainer_of(llama, tmp_path / "run", seed=seed, steps=1).train()
    assert len(lines_of(tmp_path / "run")) == 1


def test_steps_do_not_sample_the_same(llama, tmp_path):
    said = []

    def listen(completions, **_):
        said.append(list(completions))
        return vowels(completions)

    trainer_of(llama, tmp_path / "run", listen, PROMPTS[:1], learning_rate=1e-12).train()
    assert said[0] != said[1]
    assert len(set(said[0])) == len(said[0])


@pytest.mark.parametrize(
    ("knobs", "holds"),
    [
        ({"max_new_tokens": 3}, lambda tokens: int(tokens.mask_BR.sum(1).max()) == 3),
        ({"min_new_tokens": 40}, lambda tokens: set(tokens.mask_BR.sum(1).tolist()) == {40}),
        ({"temperature": 1e-4}, lambda tokens: len({tuple(row) for row in tokens.response_BR.tolist()}) == 1),
        ({"max_prompt_tokens": 2}, lambda tokens: int(tokens.prompt_mask_BP.sum(1).max()) == 3),
    ],
    ids=["max_new_tokens", "min_new_tokens", "temperature", "max_prompt_tokens"],
)
def test_knobs_of_generation_act(llama, tmp_path, knobs, holds):
    if "min_new_tokens" in knobs:  # of 40 random tokens one is then nearly for sure an end
        llama = tiny.policy(tmp_path / "model", ends=ENDS)
    trainer = trainer_of(llama, tmp_path / "run", prompts=["the same"], **{"max_new_tokens": 40, **knobs})
    assert holds(trainer.act(1)[0].tokens)
    plain = trainer_of(llama, tmp_path / "run", prompts=["the same"], max_new_tokens=40)
    assert not holds(plain.act(1)[0].tokens)


# --- what is learned from -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reward", "is_logit"), [("auto", True), ("logit", True), ("score", False)])
def test_reward_chooses_between_logit_and_score(llama, tmp_path, reward, is_logit):
    card = {"adapter": "classifier", "model": str(tiny.classifier(tmp_path / "judge")), "bad": "hate", "name": "kind"}
    trainer = trainer_of(llama, tmp_path / "run", card, args={"reward": reward})
    rollout, (said,) = rollout_of(trainer)
    judgements = rlaif.score(rollout.completions, card)
    assert [v.reward for v in said] == pytest.approx([j.logit if is_logit else j.score for j in judgements], abs=1e-4)
    assert [v.score for v in said] == pytest.approx([j.score for j in judgements], abs=1e-5)


def test_reward_weights_weigh(llama, tmp_path):
    trainer = trainer_of(llama, tmp_path / "run", [vowels, constant(2.0)], reward_weights=[3.0, -1.0])
    rollout, verdicts = rollout_of(trainer)
    expected = [3 * reward - 2 for reward in vowels(rollout.completions)]
    assert trainer.assign(rollout, verdicts).rewards_B.tolist() == pytest.approx(expected)


def test_gradient_checkpointing_changes_memory_and_not_the_result(llama, tmp_path):
    plain = moved(trainer_of(llama, tmp_path / "0"))
    thrifty = moved(trainer_of(llama, tmp_path / "1", gradient_checkpointing=True))
    assert distance(plain, thrifty) < 1e-6


# --- trackers -------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(monkeypatch):
    """What is given to a tracker that stands where accelerate has its `tensorboard`."""
    from accelerate import tracking

    told = []

    class Notebook(tracking.GeneralTracker):
        name, requires_logging_directory, main_process_only = "notebook", False, True

        def __init__(self, run_name, **_):
            self.run_name = run_name

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            told.append(("config", values))

        def log(self, values, step=None, **_):
            told.append((step, values))

        def finish(self):
            told.append(("end", None))

    from accelerate import accelerator

    kinds = {**tracking.LOGGER_TYPE_TO_CLASS, "tensorboard": Notebook}
    for module in (tracking, accelerator):
        if hasattr(module, "LOGGER_TYPE_TO_CLASS"):
            monkeypatch.setattr(module, "LOGGER_TYPE_TO_CLASS", kinds)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [tracking.LoggerType.TENSORBOARD])
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
    return told


def test_a_tracker_gets_the_numbers_of_each_step(llama, tmp_path, logged):
    trainer_of(llama, tmp_path / "run", report_to=["tensorboard"]).train()
    config, first, second, end = logged
    assert config[1]["ppo_epochs"] == 2
    assert [first[0], second[0], end[0]] == [1, 2, "end"]
    lines = lines_of(tmp_path / "run")
    assert first[1]["reward_mean"] == pytest.approx(lines[0]["reward_mean"])
    assert first[1]["judges.vowels.score_mean"] == pytest.approx(lines[0]["judges"]["vowels"]["score_mean"])
    assert all(isinstance(value, bool | int | float | str) for value in first[1].values())


@pytest.mark.parametrize(("name", "said"), [("wandbb", "there is no 'wandbb'"), ("wandb", "pip install wandb")])
def test_a_tracker_that_is_not_there_is_refused_before_the_model_loads(tmp_path, name, said):
    with pytest.raises(InputError, match=said) as caught:
        trainer_of("no/model", tmp_path / "run", report_to=[name])
    assert "\n" not in str(caught.value)


# --- each of them acts ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a short run showed."""

    folder: Path
    lines: list[dict[str, Any]]
    checkpoints: list[list[str]]
    """Names, at the end of each step and of the run."""
    weights: dict[str, bytes]
    prompts: list[list[int]]
    """Ids, as the policy was given them."""
    responses: list[list[int]]
    rows: list[int]
    """Completions in each forward pass."""
    calls: int
    """How often the model's first layer was computed."""
    logged: list[Any]
    """What a tracker was told."""
    error: str | None


def seen_of(model, folder, judge, logged, **knobs):
    """Train as these knobs say, and look."""
    checkpoints, texts, rows, calls = [], [], [], []
    kept = folder / "checkpoints"

    def names():
        return sorted(path.name for path in kept.iterdir()) if kept.exists() else []

    def look(_, given):
        texts.extend(texts_of(given[0]))
        rows.append(len(given[0].lengths))

    watch = Watch(lambda *_: checkpoints.append(names()))
    trainer = trainer_of(model, folder, judge, given={"callbacks": [watch]}, args=knobs)
    trainer.policy.register_forward_pre_hook(look)
    trainer.policy.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    before, error = len(logged), None
    try:
        trainer.train()
    except rlaif.RlaifError as stopped:
        error = type(stopped).__name__
    return Seen(
        folder=folder,
        lines=lines_of(trainer.output),
        checkpoints=[*checkpoints, names()],
        weights={name: weight.numpy().tobytes() for name, weight in weights_of(trainer).items()},
        prompts=[list(prompt) for prompt, _ in texts],
        responses=[list(response) for _, response in texts],
        rows=rows,
        calls=len(calls),
        logged=logged[before:],
        error=error,
    )


class Moody:
    """A judge with a score and a logit; one that is remote does not answer the first so many calls."""

    name, measures, identity, reads, has_logit = "moody", "quality", "moody", frozenset(), True

    def __init__(self, down=0):
        self.remote, self.down = down > 0, down

    def __call__(self, samples):
        if self.down and samples:
            self.down -= 1
            return [rlaif.Judgement(self.name, None, status="unavailable") for _ in samples]
        return [rlaif.Judgement(self.name, 0.75, logit=1.5) for _ in samples]


def vowels_as_judge():
    return vowels


@dataclass(frozen=True)
class Turn:
    """
    How to turn a knob, and what has to change when it is turned.

    Args:
        to: the other value; a function is called with the folder of the run.
        sees: what changes, of what was seen.
        around: other knobs, where this one acts only beside them.
        judge: makes what is learned from.

    """

    to: Any
    sees: Callable[[Seen], Any]
    around: dict[str, Any] = field(default_factory=dict)
    judge: Callable[[], Any] = vowels_as_judge


def line(key):
    return lambda seen: [told[key] for told in seen.lines]


def weights(seen):
    return seen.weights


def policy_weights(seen):
    return {name: weight for name, weight in seen.weights.items() if name.startswith("model.")}


def value_weights(seen):
    return {name: weight for name, weight in seen.weights.items() if name.startswith("value_head.")}


def steps(seen):
    return len(seen.lines)


STEERED = {"adap_kl_ctrl": True, "horizon": 40.0, "steps": 3}
BAD = {"whiten_advantages": False, "steps": 1}

TURNS = {
    "steps": Turn(3, steps),
    "batch_size": Turn(6, line("samples")),
    "mini_batch_size": Turn(4, line("optimizer_steps")),
    "ppo_epochs": Turn(3, line("optimizer_steps")),
    "learning_rate": Turn(2e-3, policy_weights),
    "vf_learning_rate": Turn(2e-3, value_weights),
    "lr_scheduler_type": Turn("linear", policy_weights),
    "warmup_steps": Turn(2, policy_weights),
    "max_grad_norm": Turn(1e-3, policy_weights),
    "kl_coef": Turn(2.0, policy_weights),
    "kl_in": Turn("loss", policy_weights, {"kl_coef": 2.0}),
    "adap_kl_ctrl": Turn(True, line("kl_coef")),
    "target": Turn(1e-4, line("kl_coef"), STEERED),
    "horizon": Turn(80.0, line("kl_coef"), STEERED),
    "gamma": Turn(0.5, policy_weights),
    "lam": Turn(0.0, policy_weights),
    "whiten_advantages": Turn(False, policy_weights),
    "use_score_scaling": Turn(True, weights),
    "use_score_norm": Turn(True, weights, {"use_score_scaling": True}),
    "score_clip": Turn(0.05, weights),
    "missing_eos_penalty": Turn(3.0, weights),
    "cliprange": Turn(1e-3, line("clip_fraction")),
    "cliprange_value": Turn(1e-3, value_weights),
    "dual_clip": Turn(1.01, policy_weights, BAD, lambda: constant(-1.0)),
    "vf_coef": Turn(0.0, value_weights),
    "entropy_coef": Turn(0.5, policy_weights),
    "critic_warmup_steps": Turn(1, policy_weights),
    "target_kl": Turn(1e-9, line("optimizer_steps")),
    "micro_batch_tokens": Turn(1, lambda seen: max(seen.rows)),
    "judge_patience": Turn(30.0, lambda seen: seen.error, {"judge_patience": 0.0}, lambda: Moody(down=4)),
    "max_new_tokens": Turn(3, lambda seen: max(map(len, seen.responses))),
    "min_new_tokens": Turn(6, lambda seen: min(map(len, seen.responses))),
    "temperature": Turn(0.5, lambda seen: seen.responses),
    "output_dir": Turn(
        lambda folder: str(folder / "elsewhere"),
        lambda seen: [path.relative_to(seen.folder) for path in seen.folder.rglob("metrics.jsonl")],
    ),
    "seed": Turn(1, lambda seen: seen.responses),
    "reward": Turn("score", line("reward_mean"), judge=Moody),
    "reward_weights": Turn([2.0], line("reward_mean")),
    "dtype": Turn("bfloat16", policy_weights),
    "critic": Turn("separate", lambda seen: list(seen.weights)),
    "gradient_checkpointing": Turn(True, lambda seen: seen.calls),
    "max_prompt_tokens": Turn(2, lambda seen: max(map(len, seen.prompts))),
    "save_steps": Turn(1, lambda seen: seen.checkpoints),
    "save_total_limit": Turn(1, lambda seen: seen.checkpoints, {"save_steps": 1}),
    "stop_score": Turn(0.0, steps, {"stop_window": 1}),
    "stop_window": Turn(1, steps, {"stop_score": 0.0}),
    "stop_kl": Turn(1e-6, steps, {"stop_window": 1, "steps": 3}),
    "report_to": Turn(["tensorboard"], lambda seen: len(seen.logged)),
}


@pytest.fixture(scope="module")
def unturned(tmp_path_factory):
    """Two runs, by what is around a knob: they differ in nothing but their folder."""
    made = {}

    def runs(model, turn, logged):
        key = (repr(turn.around), turn.judge)
        if key not in made:
            folders = [tmp_path_factory.mktemp("plain") for _ in range(2)]
            made[key] = [seen_of(model, folder, turn.judge(), logged, **turn.around) for folder in folders]
        return made[key]

    return runs


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """A policy whose completions end at mixed lengths."""
    return tiny.policy(tmp_path_factory.mktemp("ending"), ends=ENDS)


ONE_CHOICE = {"kl_estimator", "top_p"}
"""Knobs of which each place takes one value, and refuses or reads the others as that: see test_trainer.py."""


@pytest.mark.parametrize("knob", [knob.name for knob in fields(PPOConfig) if knob.name not in ONE_CHOICE])
def test_a_knob_that_is_turned_changes_what_it_is_for(knob, ending, unturned, tmp_path, logged):
    assert knob in TURNS, f"nothing shows that {knob} acts: say in TURNS how to turn it, and what then changes"
    turn = TURNS[knob]
    plain, again = unturned(ending, turn, logged)
    assert turn.sees(plain) == turn.sees(again), "it changes by itself"
    to = turn.to(tmp_path) if callable(turn.to) else turn.to
    turned = seen_of(ending, tmp_path, turn.judge(), logged, **{**turn.around, knob: to})
    assert turn.sees(turned) != turn.sees(plain)


def test_no_turn_is_of_a_knob_that_is_gone():
    assert TURNS.keys() <= {knob.name for knob in fields(PPOConfig)}
