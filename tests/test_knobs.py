"""Each knob of `PPOConfig` acts, and acts as its comment says."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import rlaif
from rlaif.core.config.sections import GenerationSection, PPOSection
from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import InputError
from rlaif.training.loop.kl_control import kl_estimate
from rlaif.training.loop.optimizer import rate_factor
from rlaif.training.ppo.formulas import gae, token_rewards, whiten
from tests import tiny
from tests.policies import ENDS
from tests.training import PROMPTS, Watch, distance, lines_of, policy_part, trainer_of, vowels, weights_of


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


def counted(trainer):
    """Count the optimizer's steps; returns a list that grows by the norm of the gradient at each."""
    norms = []

    def look(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))

    trainer.learner._optimizer.register_step_pre_hook(look)
    return norms


def rollout_of(trainer, step=1):
    rollout, pending = trainer.act(step)
    return rollout, trainer.judged(pending)


# --- epochs, batches, gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "mini", "epochs"), [(4, 2, 2), (4, 4, 3), (6, 2, 1), (4, 1, 1)])
def test_optimizer_steps_are_epochs_times_mini_batches(llama, tmp_path, batch, mini, epochs):
    trainer = trainer_of(llama, tmp_path / "run", batch_size=batch, mini_batch_size=mini, ppo_epochs=epochs)
    norms = counted(trainer)
    trainer.train()
    lines = lines_of(tmp_path / "run")
    assert [line["optimizer_steps"] for line in lines] == [epochs * batch // mini] * 2
    assert len(norms) == 2 * epochs * batch // mini
    assert [line["samples"] for line in lines] == [batch, 2 * batch]
    state = trainer.learner.state()
    assert {float(tensor) for name, tensor in state.items() if name.endswith(".step")} == {float(len(norms))}


def test_mini_batches_are_shuffled_anew_in_each_epoch_and_cover_the_batch(llama, tmp_path, monkeypatch):
    trainer = trainer_of(llama, tmp_path / "run", batch_size=8, mini_batch_size=2, ppo_epochs=3)
    rollout, verdicts = rollout_of(trainer)
    seen = []
    step = trainer.learner._step
    monkeypatch.setattr(
        trainer.learner, "_step", lambda r, c, rows, *a, **k: [seen.append(rows), step(r, c, rows, *a, **k)][1]
    )
    trainer.learn(rollout, trainer.assign(rollout, verdicts), 1)
    epochs = [[row for rows in seen[i : i + 4] for row in rows] for i in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_max_grad_norm_bounds_what_reaches_the_optimizer(llama, tmp_path):
    norms, directions = {}, {}
    for bound in (1e-3, 1e9):
        trainer = trainer_of(llama, tmp_path / str(bound), max_grad_norm=bound, ppo_epochs=1, mini_batch_size=4)
        norms[bound] = counted(trainer)

        def keep(optimizer, *_, bound=bound):
            directions.setdefault(bound, torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]))

        trainer.learner._optimizer.register_step_pre_hook(keep)
        trainer.train()
    assert norms[1e-3] == pytest.approx([1e-3, 1e-3], rel=1e-3)
    assert norms[1e9][0] > 1e-2
    assert float(torch.cosine_similarity(directions[1e-3], directions[1e9], dim=0)) == pytest.approx(1, abs=1e-5)
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


def test_the_scheduled_rate_is_the_one_that_acts_and_is_told(llama, tmp_path):
    rates = []
    watch = Watch(lambda t, m: rates.append([group["lr"] for group in t.learner._optimizer.param_groups]))
    trainer = trainer_of(
        llama, tmp_path / "run", given={"callbacks": [watch]}, steps=3, lr_scheduler_type="linear", warmup_steps=1,
        learning_rate=0.3e-3, vf_learning_rate=0.9e-3,
    )  # fmt: skip
    trainer.train()
    assert torch.tensor(rates).flatten().tolist() == pytest.approx([3e-4, 9e-4, 3e-4, 9e-4, 1.5e-4, 4.5e-4])
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


def test_cliprange_value_holds_values_back_and_null_does_not(llama, tmp_path):
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
    {"kl_estimator": "k2"},
    {"kl_estimator": "k3"},
    {"score_clip": 0.05},
    {"missing_eos_penalty": 3.0},
    {"use_score_scaling": True},
    {"use_score_scaling": True, "use_score_norm": True},
]


@pytest.mark.parametrize("knobs", [{}, *SHAPING], ids=str)
def test_credit_is_what_its_knobs_say(llama, tmp_path, knobs):
    """Worked out again from the rollout; one knob is turned at a time, and each changes the credit."""
    trainer = trainer_of(llama, tmp_path / "run", max_new_tokens=12, **knobs)
    trainer.train()  # so that there is a KL, and a critic that says something
    rollout, verdicts = rollout_of(trainer, 3)
    config = trainer.args
    raw = [verdict.reward for verdict in verdicts[0]]
    before = (trainer.progress.moments.count, trainer.progress.moments.mean, trainer.progress.moments.squares)
    credit = trainer.assign(rollout, verdicts)
    scores = torch.tensor(raw, dtype=torch.float64)
    count, mean, squares = before
    delta = float(scores.mean()) - mean
    squares += float(((scores - scores.mean()) ** 2).sum()) + delta**2 * count * 4 / (count + 4)
    mean += delta * 4 / (count + 4)
    if config.use_score_norm:
        scores = scores - mean
    if config.use_score_scaling:
        scores = scores / math.sqrt(squares / (count + 3))
    if config.score_clip is not None:
        scores = scores.clip(-config.score_clip, config.score_clip)
    if config.missing_eos_penalty is not None:
        scores = scores - config.missing_eos_penalty * (~rollout.ended_B).double()
    mask = rollout.tokens.mask_BR
    kl = kl_estimate(rollout.old.logprobs, rollout.reference_BR, mask, config.kl_estimator)
    rewards = token_rewards(scores.float(), kl, mask, config.kl_coef)
    advantages, returns = gae(rewards, rollout.old.values, mask, gamma=config.gamma, lam=config.lam)
    if config.whiten_advantages:
        advantages = whiten(advantages, mask)
    assert not rollout.ended_B.all()
    assert float(kl.abs().sum()) > 0
    assert torch.allclose(credit.advantages_BR, advantages, atol=1e-5)
    assert torch.allclose(credit.returns_BR, returns, atol=1e-5)
    if knobs:
        trainer.learner._config = trainer.args = PPOConfig(**{**vars(config), **{k: _default(k) for k in knobs}})
        trainer.progress.moments = type(trainer.progress.moments)(*before)
        trainer.progress.kl_coef.value = trainer.args.kl_coef
        assert not torch.allclose(trainer.assign(rollout, verdicts).advantages_BR, advantages, atol=1e-5)


def _default(name):
    return next(field.default for field in fields(PPOConfig) if field.name == name)


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


def test_target_kl_ends_a_step_where_the_policy_has_moved_too_far(llama, tmp_path):
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
        ({"top_p": 1e-6}, lambda tokens: len({tuple(row) for row in tokens.response_BR.tolist()}) == 1),
        ({"max_prompt_tokens": 2}, lambda tokens: int(tokens.prompt_mask_BP.sum(1).max()) == 3),
    ],
    ids=["max_new_tokens", "min_new_tokens", "temperature", "top_p", "max_prompt_tokens"],
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


def test_a_tracker_gets_the_numbers_of_each_step(llama, tmp_path, monkeypatch):
    from accelerate import tracking

    logged = []

    class Notebook(tracking.GeneralTracker):
        name, requires_logging_directory, main_process_only = "notebook", False, True

        def __init__(self, run_name, **_):
            self.run_name = run_name

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            logged.append(("config", values))

        def log(self, values, step=None, **_):
            logged.append((step, values))

        def finish(self):
            logged.append(("end", None))

    from accelerate import accelerator

    kinds = {**tracking.LOGGER_TYPE_TO_CLASS, "tensorboard": Notebook}
    for module in (tracking, accelerator):
        if hasattr(module, "LOGGER_TYPE_TO_CLASS"):
            monkeypatch.setattr(module, "LOGGER_TYPE_TO_CLASS", kinds)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [tracking.LoggerType.TENSORBOARD])
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
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


# --- nothing is forgotten -------------------------------------------------------------------------------------


def test_every_knob_is_in_this_file_or_in_one_that_is_named_here():
    elsewhere = {
        "steps": "test_trainer", "output_dir": "test_trainer", "judge_patience": "test_trainer",
        "micro_batch_tokens": "test_learning", "dtype": "test_learning", "max_prompt_tokens": "test_data",
    }  # fmt: skip
    text = Path(__file__).read_text()
    knobs = {field.name for kind in (PPOSection, GenerationSection, PPOConfig) for field in fields(kind)}
    assert {name for name in knobs if f"{name}=" not in text and f'"{name}"' not in text} <= elsewhere.keys()
