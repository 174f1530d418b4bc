"""The trainer as a whole: what it tells, what it survives, what it refuses."""

from __future__ import annotations

import json
import math
import re
import statistics
import threading
from copy import deepcopy

import pytest
import torch

from rlaif import load_judge
from rlaif.core.config.trainers import PPOConfig
from rlaif.core.errors import InputError, JudgeBug, RlaifError
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from rlaif.training.loop.step_metrics import spread
from rlaif.training.ppo.trainer import PPOTrainer
from tests import tiny
from tests.policies import LORA
from tests.remote import card_of
from tests.trainers import PROMPTS, Watch, distance, lines_of, ten_words, trainer_of, vowels, weights_of


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


KEYS = {
    "step", "samples", "reward_mean", "reward_std", "judges", "kl", "kl_coef", "approx_kl", "ratio_max_dev",
    "clip_fraction", "entropy", "policy_loss", "value_loss", "explained_variance", "length_tokens", "eos_rate",
    "grad_norm", "learning_rate", "skipped_updates", "usd", "seconds", "alarms",
}  # fmt: skip
"""Of a line of metrics.jsonl, by the contract."""

CLOCKS = ("seconds", "usd", "from_store", "statuses")


def same_but_for_clocks(lines):
    def without(value):
        return {k: without(v) for k, v in value.items() if k not in CLOCKS} if isinstance(value, dict) else value

    return [without(line) for line in lines]


# --- metrics.jsonl --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", ["none", "some", "all"])
def test_a_line_of_metrics_has_the_keys_of_the_contract_and_numbers_or_null(llama, tmp_path, silent):
    def judge(completions, **_):
        rewards = vowels(completions)
        return [None if silent == "all" or (silent == "some" and i == 1) else r for i, r in enumerate(rewards)]

    trainer_of(llama, tmp_path / "run", judge).train()
    first, second = lines_of(tmp_path / "run")
    for step, line in enumerate((first, second), 1):
        assert line.keys() >= KEYS
        assert (line["step"], line["samples"]) == (step, 4 * step)
        assert line["judges"].keys() == {"judge"}
        assert line["judges"]["judge"]["abstained"] == {"none": 0, "some": 1, "all": 4}[silent]
        assert (line["judges"]["judge"]["score_mean"] is None) == (silent == "all")
        numbers = [v for k, v in line.items() if k not in ("judges", "alarms") and v is not None]
        assert all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        nulls = {key for key, value in line.items() if value is None}
        assert nulls == ({"reward_mean", "reward_std", "value_loss"} if silent == "all" else set())


@torch.no_grad()
def by_hand(model, rollout, row):
    """Log-probabilities and entropies of a completion's real tokens, by transformers alone, without padding."""
    tokens = rollout.tokens
    prompt = tokens.prompt_BP[row][tokens.prompt_mask_BP[row]]
    response = tokens.response_BR[row][: int(tokens.mask_BR[row].sum())]
    logits = model(input_ids=torch.cat([prompt, response]).unsqueeze(0)).logits[0, len(prompt) - 1 : -1].double()
    log_p = torch.log_softmax(logits, -1)
    return log_p.gather(1, response.unsqueeze(1)).squeeze(1), -(log_p.exp() * log_p).sum(-1), response


def test_metrics_are_what_a_loop_over_real_tokens_finds(tmp_path, optimizer_steps):
    """Worked out again for the second step, where the policy is not the reference; one completion was not judged."""
    model, tokenizer = ten_words()
    reference = deepcopy(model)

    def judge(completions, **_):
        return [None if i == 2 else len(text) / 3 + i for i, text in enumerate(completions)]

    trainer = trainer_of(
        model, tmp_path / "run", judge, ["a", "b c", "d e f"], given={"processing_class": tokenizer}, batch_size=6,
        mini_batch_size=6, ppo_epochs=2, learning_rate=3e-3, max_new_tokens=8, cliprange=0.1,
    )  # fmt: skip
    seen, act, assign, policies = {}, trainer.act, trainer.assign, []

    def acting(step):
        policies[:] = [deepcopy(trainer.policy.model)]
        seen["rollout"], pending = act(step)
        return seen["rollout"], pending

    def assigning(*args):
        seen["credit"] = assign(*args)
        return seen["credit"]

    trainer.act, trainer.assign = acting, assigning
    optimizer_steps(trainer, lambda _: policies.append(deepcopy(trainer.policy.model)), after=True)
    trainer.train()
    line, rollout, credit = lines_of(tmp_path / "run")[1], seen["rollout"], seen["credit"]
    now, later, _ = policies
    rows = [by_hand(now, rollout, row) for row in range(6)]
    lengths = [len(response) for *_, response in rows]
    assert len(set(lengths)) > 2
    rewards = [len(text) / 3 + i for i, text in enumerate(rollout.completions) if i != 2]
    assert line["reward_mean"] == pytest.approx(statistics.mean(rewards), rel=1e-5)
    assert line["reward_std"] == pytest.approx(statistics.stdev(rewards), rel=1e-5)
    assert line["judges"]["judge"]["score_mean"] == pytest.approx(statistics.mean(rewards), rel=1e-5)
    assert line["length_tokens"] == pytest.approx(statistics.mean(lengths))
    assert line["eos_rate"] == pytest.approx(statistics.mean(int(response[-1]) == 0 for *_, response in rows))
    assert 0 < line["eos_rate"] < 1
    kl = {"k1": 0.0, "k3": 0.0}
    for row, (logprobs, _, _) in enumerate(rows):
        log_r = by_hand(reference, rollout, row)[0] - logprobs
        kl["k1"] -= float(log_r.sum()) / 6
        kl["k3"] += float((log_r.exp() - 1 - log_r).sum()) / 6
    assert line["kl"] == pytest.approx(kl["k3"], abs=1e-4)
    assert line["kl_k1"] == pytest.approx(kl["k1"], abs=1e-4)
    assert line["kl"] > 0.01
    entropies = torch.cat([entropy for _, entropy, _ in rows])
    assert line["entropy"] == pytest.approx(float(entropies.mean()), abs=1e-5)
    # The critic learns from the tokens of the five that were judged, in two epochs of one mini-batch.
    judged = [row for row in range(6) if row != 2]
    returns = torch.cat([credit.returns_BR[row, : lengths[row]] for row in judged]).double()
    values = torch.cat([rollout.old.values[row, : lengths[row]] for row in judged]).double()
    expected = 1 - float((returns - values).var(correction=0) / returns.var(correction=0))
    assert line["explained_variance"] == pytest.approx(expected, abs=1e-5)
    # The one that nobody judged is drawn to the reference: it counts too.
    log_ratio = torch.cat([by_hand(later, rollout, row)[0] - rows[row][0] for row in range(6)])
    advantages = torch.cat([credit.advantages_BR[row, : lengths[row]] for row in range(6)]).double()
    ratio = log_ratio.exp()
    clipped = ((ratio > 1.1) & (advantages > 0)) | ((ratio < 0.9) & (advantages < 0))
    assert line["clip_fraction"] == pytest.approx(float(clipped.double().mean()) / 2, abs=1e-6)
    assert line["clip_fraction"] > 0
    # KL(old || new) by k3, with the ratio of new to old.
    assert line["approx_kl"] == pytest.approx(float((ratio - 1 - log_ratio).mean()) / 2, rel=1e-3)
    surrogate = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.9, 1.1))
    first = float(-advantages.mean())
    assert line["policy_loss"] == pytest.approx((first + float(surrogate.mean())) / 2, abs=1e-5)
    assert line["ratio_max_dev"] < 1e-4


def test_what_a_judge_of_harm_says_is_told_in_both_directions(llama, tmp_path):
    card = {"adapter": "lexicon", "words": ["a", "e"], "measures": "toxicity", "name": "rude"}
    trainer_of(llama, tmp_path / "run", card).train()
    for line in lines_of(tmp_path / "run"):
        said = line["judges"]["rude"]
        assert said["toxicity_mean"] == pytest.approx(1 - said["score_mean"])


# --- the first batch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "line", "warning"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], "0.3 +- 0.16, 0.1 to 0.5, 5 values", None),
        ([0.995, 0.0, 0.5, 1.0, 0.999, 0.001], "6 values", "83% of the rewards are at an end of the scale"),
        ([9.5, -3.0, 8.25, 100.0, 7.0], "-3 to 100, 5 values", None),
        ([1.0, 2.0, 3.0, 4.0, 1.0], "4 values", "the reward takes only 4 values"),
        ([0.5] * 8, "1 values", "the reward takes only 1 values"),
        ([0.3, math.nan, 0.2, math.nan], "2 values; 2 of 4 abstained", None),
        ([math.nan] * 3, "none; 3 of 3 abstained", "no judge gave a reward"),
    ],
)
def test_the_spread_of_the_first_batch_is_told_with_what_is_wrong_with_it(rewards, line, warning):
    said, warned = spread(torch.tensor(rewards))
    assert line in said
    assert (warned is None) == (warning is None)
    assert warning is None or warning in warned


def test_the_first_batch_is_told_before_the_first_step_and_once(llama, tmp_path, capsys):
    trainer_of(llama, tmp_path / "run", lambda completions, **_: [1.0] * len(completions), batch_size=6).train()
    lines = capsys.readouterr().err.splitlines()
    told = [i for i, line in enumerate(lines) if line.startswith("reward of the first batch: 1 +- 0")]
    assert len(told) == 1
    assert lines[told[0] + 1].startswith("warning: the reward takes only 1 values")
    assert lines[told[0] + 2].startswith("step 1/2")


# --- abstaining, failing, breaking judges ---------------------------------------------------------------------


@pytest.mark.usefixtures("nobody")
class TestRemote:
    """A real endpoint over HTTP that has bad days, at the third step of four."""

    ARGS = {"steps": 4, "save_steps": 1000, "judge_patience": 0.5}  # noqa: RUF012

    def run(self, llama, folder, server, watch=None, session=None, resume=False, **args):
        card = card_of(server, total_timeout=0.3, price={"input": 1.0, "output": 5.0}, name="remote")
        given = {"callbacks": [Watch(watch)] if watch else []}
        judge = load_judge(card, session=session) if session else card
        trainer = trainer_of(llama, folder, judge, given=given, **{**self.ARGS, **args})
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    def ends_alike(self, llama, tmp_path, server):
        undisturbed = self.run(llama, tmp_path / "undisturbed", server)
        resumed = self.run(llama, tmp_path / "run", server, resume=True)
        assert distance(weights_of(undisturbed), weights_of(resumed)) == 0
        one, two = (same_but_for_clocks(lines_of(tmp_path / name)) for name in ("undisturbed", "run"))
        assert one == two

    def test_a_judge_that_is_down_for_a_moment_is_waited_for(self, llama, tmp_path, server):
        def goes_down(trainer, metrics):
            if metrics["step"] == 2:
                server.behaviour = "error_503"
                threading.Timer(1.0, lambda: setattr(server, "behaviour", "ok")).start()

        self.run(llama, tmp_path / "run", server, goes_down, judge_patience=30.0)
        lines = lines_of(tmp_path / "run")
        assert [line["judges"]["remote"]["abstained"] for line in lines] == [0, 0, 0, 0]
        assert "error_503" in {call.behaviour for call in server.calls}
        self.ends_alike(llama, tmp_path, server)

    @pytest.mark.parametrize(
        ("behaviour", "said"),
        [("error_503", "judge remote stayed down for 0.5 s: "), ("close", "judge remote stayed down for 0.5 s: ")],
    )
    def test_one_that_stays_down_ends_the_run_with_all_kept(self, llama, tmp_path, server, behaviour, said):
        def goes_down(trainer, metrics):
            if metrics["step"] == 2:
                server.behaviour = behaviour

        with pytest.raises(RlaifError) as caught:
            self.run(llama, tmp_path / "run", server, goes_down)
        assert (caught.value.exit_status, "\n" in str(caught.value)) == (1, False)
        assert said in str(caught.value)
        assert "step 2 is kept in" in str(caught.value)
        assert "--resume goes on from it" in str(caught.value)
        assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]
        assert len(lines_of(tmp_path / "run")) == 2
        server.behaviour = "ok"
        self.ends_alike(llama, tmp_path, server)

    @pytest.mark.parametrize("behaviour", ["wrong_key", "no_model"])
    def test_what_goes_wrong_for_good_in_the_middle_costs_no_step(self, llama, tmp_path, server, behaviour):
        """A key that is revoked is the user's to mend, but not before work started: that work is kept."""

        def goes_wrong(trainer, metrics):
            if metrics["step"] == 2:
                server.behaviour = behaviour

        with pytest.raises(RlaifError) as caught:
            self.run(llama, tmp_path / "run", server, goes_wrong)
        assert (caught.value.exit_status, "\n" in str(caught.value)) == (1, False)
        assert "step 2 is kept in" in str(caught.value)
        server.behaviour = "ok"
        self.ends_alike(llama, tmp_path, server)

    def test_what_is_wrong_at_the_first_step_is_wrong_input_and_leaves_nothing_to_resume(self, llama, tmp_path, server):
        server.behaviour = "wrong_key"
        with pytest.raises(InputError) as caught:
            self.run(llama, tmp_path / "run", server)
        assert "kept" not in str(caught.value)

    def test_a_budget_that_is_spent_ends_the_run_with_all_kept(self, llama, tmp_path, server):
        with pytest.raises(RlaifError, match=r"the budget .*is spent; step 2 is kept in") as caught:
            self.run(llama, tmp_path / "run", server, session=Session(Budget(calls=10)))
        assert caught.value.exit_status == 1
        assert len(server.calls) == 10
        assert len(lines_of(tmp_path / "run")) == 2
        self.ends_alike(llama, tmp_path, server)

    def test_what_calls_cost_is_told_and_summed(self, llama, tmp_path, server, capsys):
        trainer = self.run(llama, tmp_path / "run", server)
        spent = [line["usd"] for line in lines_of(tmp_path / "run")]
        assert all(usd > 0 for usd in spent)
        assert trainer.progress.spent == pytest.approx(sum(spent))
        assert f"{sum(spent):.4f} USD" in capsys.readouterr().err.splitlines()[-1]


BUGS = {
    "length": ("return [1.0]", r"returned 1 rewards for 4 completions; return one for each"),
    "nan": ("return [float('nan')] * len(completions)", r"returned nan; return a finite number, or None to abstain"),
    "text": ("return ['good'] * len(completions)", r"returned 'good', which is no number"),
    "none": ("return None", r"returned None; return a list with a number or None for each completion"),
    "raises": ("return [1 / 0 for _ in completions]", r"raised at .*: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("kind", BUGS)
def test_a_reward_function_with_a_bug_ends_the_run_in_one_line_with_all_kept(llama, tmp_path, kind):
    code, said = BUGS[kind]
    path = tmp_path / "mine.py"
    path.write_text(
        "calls = []\ndef mine(completions, **_):\n    calls.append(1)\n    if len(calls) == 3:\n"
        f"        {code}\n    return [len(c) / 9 for c in completions]\n"
    )
    names: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(JudgeBug, match=said) as caught:
        trainer_of(llama, tmp_path / "run", names["mine"], steps=4).train()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("reward function mine ")
    assert f"{path}:{5 if kind == 'raises' else 2}" in message
    assert "step 2 is kept in" in message
    assert caught.value.exit_status == 1
    assert (tmp_path / "run" / "checkpoints" / "step-000002").is_dir()
    assert not (tmp_path / "run" / "model").exists()


# --- going on -------------------------------------------------------------------------------------------------


def test_a_run_that_is_cut_in_two_ends_as_one_that_is_not(llama, tmp_path):
    """From Python, with all that has a state turned on."""
    knobs = {
        "steps": 4, "adap_kl_ctrl": True, "target": 0.1, "horizon": 50, "use_score_scaling": True, "warmup_steps": 2,
        "critic_warmup_steps": 1, "lr_scheduler_type": "linear", "stop_window": 3, "stop_score": 1.0,
    }  # fmt: skip
    whole = trainer_of(llama, tmp_path / "whole", **knobs)
    whole.train()

    class Enough(Exception):
        pass

    def enough(trainer, metrics):
        if metrics["step"] == 3:
            raise Enough

    with pytest.raises(Enough):
        trainer_of(llama, tmp_path / "run", given={"callbacks": [Watch(enough)]}, **knobs | {"save_steps": 2}).train()
    rest = trainer_of(llama, tmp_path / "run", **knobs)
    rest.train(resume_from_checkpoint=True)
    assert distance(weights_of(whole), weights_of(rest)) == 0
    assert same_but_for_clocks(lines_of(tmp_path / "whole")) == same_but_for_clocks(lines_of(tmp_path / "run"))


@pytest.mark.parametrize("which", ["", "checkpoints", "checkpoints/step-000003"])
def test_a_path_to_go_on_from_is_a_run_its_checkpoints_or_one_of_them(llama, tmp_path, which):
    whole = trainer_of(llama, tmp_path / "run", steps=3, save_steps=1)
    whole.train()
    rest = trainer_of(llama, tmp_path / "run", steps=3, save_steps=1)
    rest.train(resume_from_checkpoint=str(tmp_path / "run" / which))
    assert distance(weights_of(whole), weights_of(rest)) == 0
    assert len(lines_of(tmp_path / "run")) == 3


def test_a_run_goes_on_from_the_one_checkpoint_that_is_named(llama, tmp_path):
    whole = trainer_of(llama, tmp_path / "run", steps=3, save_steps=1)
    whole.train()
    before, made = lines_of(tmp_path / "run"), []
    watch = Watch(lambda trainer, metrics: made.append(metrics["step"]))
    rest = trainer_of(llama, tmp_path / "run", steps=3, save_steps=1, given={"callbacks": [watch]})
    rest.train(resume_from_checkpoint=tmp_path / "run" / "checkpoints" / "step-000002")
    assert made == [3]
    assert distance(weights_of(whole), weights_of(rest)) == 0
    assert same_but_for_clocks(lines_of(tmp_path / "run")) == same_but_for_clocks(before)


def test_a_trainer_that_was_interrupted_goes_on_when_it_is_asked_again(llama, tmp_path):
    """As in a notebook, where Ctrl-C leaves the object."""
    interrupted = []

    def interrupt(trainer, metrics):
        if not interrupted:
            interrupted.append(metrics["step"])
            trainer.interruption.wished = True

    trainer = trainer_of(llama, tmp_path / "run", steps=3, given={"callbacks": [Watch(interrupt)]})
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [1, 2, 3]


def test_a_run_that_a_rule_has_stopped_makes_no_step_more_when_it_is_resumed(llama, tmp_path):
    """It may have been killed while it wrote its model."""
    rules = {"steps": 9, "stop_window": 2, "stop_kl": 1e-9}
    trainer_of(llama, tmp_path / "run", **rules).train()
    steps = len(lines_of(tmp_path / "run"))
    assert steps < 9
    again = trainer_of(llama, tmp_path / "run", **rules)
    again.train(resume_from_checkpoint=True)
    assert again.stopped
    assert len(lines_of(tmp_path / "run")) == steps
    trainer_of(llama, tmp_path / "run", **rules | {"stop_kl": None, "steps": steps + 1}).train(True)
    assert len(lines_of(tmp_path / "run")) == steps + 1


def test_a_run_of_another_model_is_not_gone_on_with(llama, tmp_path):
    trainer_of(llama, tmp_path / "run", steps=1).train()
    wide = tiny.policy(tmp_path / "wide", hidden_size=64)
    with pytest.raises(InputError, match=r"of another model.* is \[260, 32\] in it, and \[260, 64\] here"):
        trainer_of(wide, tmp_path / "run").train(resume_from_checkpoint=True)
    lora = {"peft_config": LORA}
    with pytest.raises(InputError, match=r"another model or adapter.* is missing in it"):
        trainer_of(llama, tmp_path / "run", given=lora).train(resume_from_checkpoint=True)


def test_a_folder_that_holds_a_run_is_refused_with_both_ways_on(llama, tmp_path):
    trainer_of(llama, tmp_path / "run", steps=1).train()
    with pytest.raises(InputError, match=r"holds a run already; .*resume_from_checkpoint=True.*output_dir"):
        trainer_of(llama, tmp_path / "run", steps=1).train()
    assert len(lines_of(tmp_path / "run")) == 1


def test_a_run_of_other_settings_is_not_gone_on_with(llama, tmp_path):
    trainer_of(llama, tmp_path / "run", steps=1).train()
    with pytest.raises(InputError, match=r"is of a run with kl_coef = 0\.05, not 0\.5; go on with the same"):
        trainer_of(llama, tmp_path / "run", kl_coef=0.5).train(resume_from_checkpoint=True)
    with pytest.raises(InputError, match="holds no whole checkpoint"):
        trainer_of(llama, tmp_path / "other").train(resume_from_checkpoint=tmp_path / "nowhere")


# --- bad input ------------------------------------------------------------------------------------------------

NO_MODEL = "no/model"
"""Of input that is refused before a model would load."""


def needs_label(completions, label, **_):
    return [0.0] * len(completions)


def second(completions, **_):
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("model", "reward", "prompts", "args", "said"),
    [
        (NO_MODEL, vowels, PROMPTS, {"steps": "x"}, "args: steps: should be a whole number, not 'x'"),
        (NO_MODEL, vowels, PROMPTS, {"steps": 0}, "args: steps: should be greater than or equal to 1"),
        (NO_MODEL, vowels, PROMPTS, {"batch_size": "x"}, "args: batch_size: should be a whole number, not 'x'"),
        (NO_MODEL, vowels, PROMPTS, {"mini_batch_size": 0}, "args: mini_batch_size: should be greater than"),
        (NO_MODEL, vowels, PROMPTS, {"min_new_tokens": "x"}, "args: min_new_tokens: should be a whole number"),
        (NO_MODEL, vowels, PROMPTS, {"learning_rate": math.nan}, "args: learning_rate: should be a finite number"),
        (NO_MODEL, vowels, PROMPTS, {"kl_estimator": "k2"}, "kl_estimator: k2 in the reward pushes away from the"),
        (NO_MODEL, vowels, PROMPTS, {"kl_estimator": "k3"}, "kl_estimator: k3 draws PPO to another optimum; take k1"),
        (NO_MODEL, vowels, PROMPTS, {"kl_estimator": "k3", "kl_in": "loss"}, "k3 draws PPO to another optimum"),
        (NO_MODEL, vowels, PROMPTS, {"top_p": 0.9}, "generation.top_p: 0.9 makes the KL of what is sampled unbounded"),
        (NO_MODEL, vowels, PROMPTS, {"kl_estimator": "k4"}, "args: kl_estimator: should be 'k1', 'k2' or 'k3'"),
        (NO_MODEL, vowels, PROMPTS, {"dual_clip": 1.0}, "args: dual_clip: should be greater than 1"),
        (NO_MODEL, vowels, PROMPTS, {"report_to": "tensorboard"}, "args: report_to: should be a list"),
        (NO_MODEL, vowels, PROMPTS, {"batch_size": 5}, "batch_size (5) should be a multiple of mini_batch_size (2)"),
        (NO_MODEL, vowels, PROMPTS, {"min_new_tokens": 9}, "min_new_tokens (9) should not exceed max_new_tokens (6)"),
        (NO_MODEL, vowels, PROMPTS, {"use_score_norm": True}, "use_score_norm needs use_score_scaling: true"),
        (NO_MODEL, [vowels, second], PROMPTS, {"reward_weights": [1.0]}, "1 weights for 2 reward_funcs"),
        (NO_MODEL, [vowels, vowels], PROMPTS, {}, "two judges are named 'vowels'"),
        (NO_MODEL, [], PROMPTS, {}, "reward_funcs: is empty"),
        (NO_MODEL, 3, PROMPTS, {}, "reward_funcs: should be judges, cards or functions, not 3"),
        (NO_MODEL, "no_such_judge", PROMPTS, {}, "no_such_judge"),
        (NO_MODEL, vowels, None, {}, "train_dataset: should be rows with a `prompt`, not None"),
        (NO_MODEL, vowels, "a text", {}, "train_dataset: should be rows with a `prompt`, not 'a text'"),
        (None, vowels, [], {}, "train_dataset"),
        (None, vowels, [{"text": "x"}], {}, "text"),
        (None, vowels, [{"prompt": "   "}, {"prompt": ""}], {}, "train_dataset"),
        (None, vowels, [{"prompt": 3}], {}, "prompt"),
        (None, needs_label, PROMPTS, {}, "needs the column 'label' of the data; there are: none beside the prompt"),
        (None, needs_label, [{"prompt": "x", "other": 1}], {}, "needs the column 'label' of the data; there are: oth"),
        (3, vowels, PROMPTS, {}, "model: should be a hub id, a folder or a model, not 3"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line_before_time_is_spent(llama, tmp_path, model, reward, prompts, args, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        trainer_of(llama if model is None else model, tmp_path / "run", reward, prompts, **args)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"args": {"steps": 2}}, "args: should be a rlaif.PPOConfig, not {'steps': 2}"),
        ({"callbacks": [vowels]}, "callbacks: should be of rlaif.training.ppo.trainer.Callback, not"),
        ({"processing_class": "words"}, "processing_class: should be a tokenizer, not 'words'"),
    ],
)
def test_an_argument_of_another_kind_is_refused_before_a_model_loads(given, said):
    with pytest.raises(InputError) as caught:
        PPOTrainer(NO_MODEL, vowels, train_dataset=PROMPTS, **given)
    assert said in str(caught.value)


def test_no_callbacks_may_be_said_as_none_and_one_alone(llama, tmp_path):
    trainer_of(llama, tmp_path / "none", steps=1, given={"callbacks": None}).train()
    seen = []
    one = Watch(lambda trainer, metrics: seen.append(metrics["step"]))
    trainer_of(llama, tmp_path / "one", steps=1, given={"callbacks": one}).train()
    assert seen == [1]


def test_an_output_folder_that_cannot_be_is_refused(llama, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        trainer_of(llama, tmp_path / "file" / "run").train()


def test_without_settings_the_defaults_hold(llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = PPOTrainer(str(llama), vowels, train_dataset=PROMPTS)
    assert trainer.args == PPOConfig()
    assert trainer.sampling.top_p == 1.0


def test_rows_of_a_data_set_bring_their_columns_to_the_reward(llama, tmp_path):
    from datasets import Dataset

    seen = []

    def judge(prompts, completions, completion_ids, label, **_):
        seen.extend(zip(prompts, label, strict=True))
        assert all(isinstance(token, int) for ids in completion_ids for token in ids)
        return [float(value) for value in label]

    data = Dataset.from_list([{"prompt": text, "label": i} for i, text in enumerate(PROMPTS)])
    trainer_of(llama, tmp_path / "run", judge, data).train()
    assert {(text, i) for i, text in enumerate(PROMPTS)} >= set(seen)
    assert len(set(seen[:4])) == 4


def test_a_step_is_a_line_at_once(llama, tmp_path):
    """Somebody who follows metrics.jsonl sees a step as soon as it is done, whole."""
    seen = []

    def judge(completions, **_):
        seen.append((tmp_path / "run" / "metrics.jsonl").read_text())
        return vowels(completions)

    trainer_of(llama, tmp_path / "run", judge, steps=3).train()
    assert [text.count("\n") for text in seen] == [0, 1, 2]
    assert all(json.loads(line) for text in seen for line in text.splitlines())
    assert all(re.fullmatch(r"(\{.*\}\n)*", text) for text in seen)
