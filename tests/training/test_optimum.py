"""
Where PPO ends, against optima known in closed form.

Expected reward less beta * KL(policy || reference) is largest at reference * exp(reward / beta) / Z (Ziegler et al.
2019; Korbak et al. 2022, eq. 2). The reference's probabilities are taken from transformers' own logits.
"""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from rlaif.core.config.trainers import GroupConfig
from rlaif.training.trl.trainer import GroupTrainer
from tests import tiny
from tests.trainers import lines_of, ten_words, trainer_of

BETA = 0.5
PROMPT = "hello"
LEARNING = {
    "steps": 60, "batch_size": 128, "mini_batch_size": 64, "learning_rate": 3e-3, "lr_scheduler_type": "linear",
    "kl_coef": BETA, "micro_batch_tokens": 10**6,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Nothing here is large enough for two threads to help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_rewards(*size):
    return torch.rand(size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def next_token(model, ids, given=()):
    """Log-probabilities of the token after a prompt and what is given of the answer, by transformers alone."""
    if model.config.is_encoder_decoder:
        start = [model.config.decoder_start_token_id, *given]
        logits = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([start])).logits
    else:
        logits = model(input_ids=torch.tensor([[*ids, *given]])).logits
    return torch.log_softmax(logits[0, -1].double(), -1)


def pairs(model, ids):
    """Log-probabilities of all answers of at most two tokens; token 0 ends an answer."""
    first = next_token(model, ids)
    joint = torch.stack([first[a] + next_token(model, ids, [a]) for a in range(len(first))])
    joint[0] = -torch.inf
    joint[0, 0] = first[0]
    return joint


def total_variation(p, q):
    return float((p - q).abs().sum() / 2)


def optimum(reference, rewards, beta=BETA):
    return torch.softmax((reference + rewards.double() / beta).flatten(), 0).view(reference.shape)


# --- one token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [("llama", {}), ("llama, LoRA", {"learning_rate": 1e-2}), ("t5", {"steps": 90, "batch_size": 192})],
)
def test_one_token_ends_at_the_optimum(tmp_path, architecture, changes):
    kind, _, lora = architecture.partition(", ")
    folder = tiny.policy(tmp_path / "model", kind)
    reference_model = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder)
    rewards = random_rewards(reference_model.get_output_embeddings().weight.shape[0])
    given = {"peft_config": LoraConfig(r=8, lora_alpha=16, target_modules=["lm_head"])} if lora else {}

    def reward(completion_ids, **_):
        return [float(rewards[ids[0]]) for ids in completion_ids]

    args = {**LEARNING, **changes, "max_new_tokens": 1}
    trainer = trainer_of(folder, tmp_path / "run", reward, [PROMPT], given=given, **args)
    ids = list(trainer.prompts[0].ids)
    reference = next_token(reference_model, ids)
    trainer.train()
    reached, best = next_token(trainer.policy.model, ids).exp(), optimum(reference, rewards)
    assert total_variation(reference.exp(), best) > 0.2
    assert total_variation(reached, best) < 0.05
    # The KL and the reward that the last step tells are those of the optimum, worked out over the vocabulary.
    last = lines_of(tmp_path / "run")[-1]
    assert last["kl_k1"] == pytest.approx(float((best * (best.log() - reference)).sum()), abs=0.15)
    assert last["reward_mean"] == pytest.approx(float((best * rewards).sum()), abs=0.1)


def test_the_model_that_is_kept_is_at_the_optimum_by_transformers_alone(tmp_path):
    folder = tiny.policy(tmp_path / "model")
    reference_model = AutoModelForCausalLM.from_pretrained(folder)
    rewards = random_rewards(reference_model.config.vocab_size)

    def reward(completion_ids, **_):
        return [float(rewards[ids[0]]) for ids in completion_ids]

    given = {"peft_config": LoraConfig(r=8, lora_alpha=16, target_modules=["lm_head"]), "merge": True}
    args = {**LEARNING, "learning_rate": 1e-2, "max_new_tokens": 1, "temperature": 0.7}
    trainer = trainer_of(folder, tmp_path / "run", reward, [PROMPT], given=given, **args)
    trainer.train()
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    ids = list(trainer.prompts[0].ids)
    # At a temperature all is about the distribution that is sampled from: logits / 0.7.
    reference, reached = (torch.log_softmax(next_token(m, ids) / 0.7, -1) for m in (reference_model, kept))
    assert total_variation(reached.exp(), optimum(reference, rewards)) < 0.05


# --- two tokens, and a reward at the end of both ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "LoRA", "separate critic"])
def test_two_tokens_with_a_delayed_reward_end_at_the_optimum(tmp_path, kind):
    model, tokenizer = ten_words()
    rewards = random_rewards(10, 10)

    def reward(completion_ids, **_):
        return [float(rewards[ids[0], [*ids, 0][1]]) for ids in completion_ids]

    given = {"processing_class": tokenizer}
    if kind == "LoRA":
        given["peft_config"] = LoraConfig(r=16, lora_alpha=32, target_modules=r".*(_proj|lm_head)")
    more = {"learning_rate": 5e-3, "steps": 100} if kind == "LoRA" else {"steps": 80}
    more |= {"critic": "separate"} if kind == "separate critic" else {}
    args = {**LEARNING, **more, "max_new_tokens": 2}
    # After a prompt of one token "a" no Llama could say something else than after "a a": what is attended to is equal.
    prompt = [1, 2]
    reference = pairs(model, prompt)
    trainer = trainer_of(model, tmp_path / "run", reward, ["a b"], given=given, **args)
    assert list(trainer.prompts[0].ids) == prompt
    trainer.train()
    best = optimum(reference, rewards)
    assert total_variation(reference.exp(), best) > 0.2
    assert total_variation(pairs(trainer.policy.model, prompt).exp(), best) < 0.05


# --- the KL in the loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [True, False], ids=["noise", "fixed rewards"])
@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_the_kl_in_the_loss_has_the_optimum_of_that_in_the_reward(tmp_path, kl_in, fresh):
    """Of two tokens, of which the first decides on the KL of the second."""
    model, tokenizer = ten_words()
    rewards = random_rewards(10, 10)
    noise = torch.Generator().manual_seed(7)

    def reward(completion_ids, **_):
        if fresh:
            return (torch.rand(len(completion_ids), generator=noise) * 2 - 1).tolist()
        return [float(rewards[ids[0], [*ids, 0][1]]) for ids in completion_ids]

    reference = pairs(model, [1, 2])
    args = {**LEARNING, "steps": 80, "max_new_tokens": 2, "kl_in": kl_in}
    trainer = trainer_of(model, tmp_path / "run", reward, ["a b"], given={"processing_class": tokenizer}, **args)
    trainer.train()
    best = reference.exp() if fresh else optimum(reference, rewards)
    assert total_variation(pairs(trainer.policy.model, [1, 2]).exp(), best) < 0.1


# --- completions that nobody judges ------------------------------------------------------------------------------


def unjudged_part(reference, mass):
    """Answers, in a random order, that together have about this mass by the reference."""
    p = reference.exp().flatten()
    order = torch.randperm(len(p), generator=torch.Generator().manual_seed(3))
    chosen = torch.zeros(len(p), dtype=torch.bool)
    for i in order.tolist():
        if p[chosen].sum() + p[i] < mass + 0.01:
            chosen[i] = True
    assert float(p[chosen].sum()) == pytest.approx(mass, abs=0.02)
    return chosen.view(reference.shape)


def optimum_of_the_judged(reference, rewards, unjudged, beta=BETA):
    """The reference itself where nobody judges, and within the rest the tilted one, with the mass of the rest."""
    tilted = optimum(reference.masked_fill(unjudged, -torch.inf), rewards, beta)
    return torch.where(unjudged, reference.exp(), tilted * reference.exp()[~unjudged].sum())


@pytest.mark.parametrize("lora", [False, True], ids=["full", "LoRA"])
def test_one_token_that_nobody_judges_keeps_its_probability(tmp_path, lora):
    folder = tiny.policy(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    rewards = random_rewards(model.config.vocab_size)
    given = {"peft_config": LoraConfig(r=8, lora_alpha=16, target_modules=["lm_head"])} if lora else {}

    def reward(completion_ids, **_):
        return [None if unjudged[ids[0]] else float(rewards[ids[0]]) for ids in completion_ids]

    args = {**LEARNING, "steps": 80, "max_new_tokens": 1} | ({"learning_rate": 1e-2} if lora else {})
    trainer = trainer_of(folder, tmp_path / "run", reward, [PROMPT], given=given, **args)
    ids = list(trainer.prompts[0].ids)
    reference = next_token(model, ids)
    unjudged = unjudged_part(reference, 0.45)
    trainer.train()
    reached, best = next_token(trainer.policy.model, ids).exp(), optimum_of_the_judged(reference, rewards, unjudged)
    assert total_variation(reference.exp(), best) > 0.1
    assert total_variation(reached, best) < 0.05
    assert float(reached[unjudged].sum()) == pytest.approx(0.45, abs=0.04)


@pytest.mark.parametrize("kind", ["full", "LoRA", "not whitened"])
def test_two_tokens_that_nobody_judges_keep_their_probability(tmp_path, kind):
    """Also where of the answers with one beginning some are judged and others are not."""
    model, tokenizer = ten_words()
    rewards = random_rewards(10, 10)
    reference = pairs(model, [1, 2])
    unjudged = unjudged_part(reference, 0.45)

    def reward(completion_ids, **_):
        places = [(ids[0], [*ids, 0][1]) for ids in completion_ids]
        return [None if unjudged[place] else float(rewards[place]) for place in places]

    given = {"processing_class": tokenizer}
    if kind == "LoRA":
        given["peft_config"] = LoraConfig(r=16, lora_alpha=32, target_modules=r".*(_proj|lm_head)")
    args = {**LEARNING, "steps": 100, "max_new_tokens": 2} | ({"learning_rate": 5e-3} if kind == "LoRA" else {})
    args |= {"whiten_advantages": False} if kind == "not whitened" else {}
    trainer = trainer_of(model, tmp_path / "run", reward, ["a b"], given=given, **args)
    trainer.train()
    best = optimum_of_the_judged(reference, rewards, unjudged)
    reached = pairs(trainer.policy.model, [1, 2]).exp()
    assert total_variation(reference.exp(), best) > 0.1
    assert total_variation(reached, best) < 0.05
    assert float(reached[unjudged].sum()) == pytest.approx(0.45, abs=0.04)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_groups_leave_what_nobody_judges_its_probability_too(tmp_path, algorithm):
    """The optimum of GRPO is another one: k3's gradient is that of KL(reference || policy), so that p / q is linear."""
    folder = tiny.policy(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    rewards = random_rewards(model.config.vocab_size)

    def reward(completion_ids, **_):
        return [None if unjudged[ids[0]] else float(rewards[ids[0]]) for ids in completion_ids]

    args = {
        **LEARNING, "steps": 90, "kl_coef": 1.0, "max_new_tokens": 1, "min_new_tokens": 0, "num_generations": 64,
        "whiten_advantages": False, "algorithm": algorithm, "dtype": "float32", "output_dir": str(tmp_path / "run"),
    }  # fmt: skip
    trainer = GroupTrainer(str(folder), reward, GroupConfig(**args), [PROMPT])
    ids = list(trainer.prompts[0].ids)
    reference = next_token(model, ids)
    unjudged = unjudged_part(reference, 0.45)
    trainer.train()
    best = optimum_of_the_judged(reference, rewards, unjudged, 1.0)
    if algorithm == "grpo":
        best = torch.where(unjudged, reference.exp(), optimum_of_k3(reference, rewards, ~unjudged))
    reached = next_token(trainer.policy.model, ids).exp()
    assert total_variation(reference.exp(), best) > 0.1
    assert total_variation(reached, best) < 0.05
    assert float(reached[unjudged].sum()) == pytest.approx(0.45, abs=0.04)


def optimum_of_k3(reference, rewards, judged):
    """q = p / (1 - reward + level) at a coefficient of 1, where the level gives q the mass that p has."""
    p, rewards = reference.exp() * judged, rewards.double()
    low, high = float(rewards[judged].max()) - 1, 10.0
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if (p / (1 - rewards + level))[judged].sum() > p.sum() else (low, level)
    return (p / (1 - rewards + level)) * judged


# --- ends that are blocked -----------------------------------------------------------------------------------------


@torch.no_grad()
def ends_before(model, ids, count):
    """The probability that an answer, sampled plainly, has its end among its first tokens, by transformers alone."""
    total, alive = 0.0, {(): 1.0}
    for _ in range(count):
        ahead = {}
        for given, p in alive.items():
            following = next_token(model, ids, given).exp()
            total += p * float(following[0])
            ahead |= {(*given, token): p * float(following[token]) for token in range(1, len(following))}
        alive = ahead
    return total


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_what_is_blocked_while_sampling_stays_as_probable_as_it_was(tmp_path, kl_in):
    """A reward for short answers cannot make ends likely where training blocks them, and the metric says how likely."""
    model, tokenizer = ten_words()

    def short(completion_ids, **_):
        return [-float(len(ids)) for ids in completion_ids]

    args = {**LEARNING, "kl_coef": 0.05, "steps": 40, "max_new_tokens": 6, "min_new_tokens": 2, "kl_in": kl_in}
    trainer = trainer_of(model, tmp_path / "run", short, ["a b"], given={"processing_class": tokenizer}, **args)
    before = ends_before(model, [1, 2], 2)
    trainer.train()
    lines, after = lines_of(tmp_path / "run"), ends_before(trainer.policy.model, [1, 2], 2)
    assert lines[0]["ends_early"] == pytest.approx(before, abs=0.02)
    assert lines[-1]["ends_early"] == pytest.approx(after, abs=0.05)
    assert lines[-1]["length_tokens"] < lines[0]["length_tokens"] - 1
    assert after < 2 * before


def test_with_an_end_blocked_the_optimum_is_that_of_what_is_sampled(tmp_path):
    model, tokenizer = ten_words()
    rewards = random_rewards(10)

    def reward(completion_ids, **_):
        return [float(rewards[ids[0]]) for ids in completion_ids]

    args = {**LEARNING, "max_new_tokens": 1, "min_new_tokens": 1}
    given = {"processing_class": tokenizer}
    trainer = trainer_of(model, tmp_path / "run", reward, ["a b"], given=given, **args)
    before, end = next_token(model, [1, 2])[1:].log_softmax(0), next_token(model, [1, 2])[0].exp()
    trainer.train()
    reached = next_token(trainer.policy.model, [1, 2])
    best = optimum(before, rewards[1:])
    assert total_variation(before.exp(), best) > 0.15
    assert total_variation(reached[1:].softmax(0), best) < 0.05
    assert float(reached[0].exp()) == pytest.approx(float(end), rel=0.3)
