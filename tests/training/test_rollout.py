"""A rollout: what was sampled is what is judged and learned from, and remote judges read while it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlaif.core.types import Judgement, Sample
from rlaif.data.prompts import Prompt
from rlaif.judges.rewards import Pending, Rewards
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.model import Policy
from rlaif.training.loop.rollout import Rollout, act
from tests import tiny
from tests.policies import ENDS, LORA, policy_of, prompts_of_mixed_lengths

ALL = pytest.mark.parametrize("architecture", tiny.POLICIES)
ONE_OF_EACH = pytest.mark.parametrize("architecture", ["llama", "t5"])


class Fake:
    """A judge that writes down what it was asked; `says` may wait or raise."""

    measures, identity, has_logit = "quality", "fake", False
    reads: frozenset[str] = frozenset()

    def __init__(
        self, says: Callable[[Sample], float] = lambda s: 0.5, *, name: str = "fake", remote: bool = True
    ) -> None:
        self.says, self.name, self.remote = says, name, remote
        self.asked: list[list[Sample]] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        self.asked.append(list(samples))
        return [Judgement(self.name, self.says(sample)) for sample in samples]


def prompts(count: int = 6) -> list[Prompt]:
    return [Prompt(f"prompt {i}", ids, {"i": i}) for i, ids in enumerate(prompts_of_mixed_lengths(count))]


def rolled(
    policy: Policy, rewards: Rewards | None = None, *, count: int = 6, most: int = 12, seed: int = 0, **keys: Any
) -> tuple[Rollout, Pending]:
    torch.manual_seed(seed)
    given = {"micro_batch_tokens": 64, **keys}
    sampling = Sampling(most, temperature=policy.temperature)
    return act(policy, prompts(count), rewards or Rewards(Fake(remote=False)), sampling, **given)


# --- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "lora", "adapter"])
@ALL
def test_at_the_start_the_kl_is_0_and_the_ratios_of_the_learning_pass_are_1(
    policy_folder, sft_adapter, architecture, kind
):
    source = sft_adapter(architecture) if kind == "adapter" else policy_folder(architecture, hub_defaults=True)
    policy = policy_of(
        source, temperature=0.7, lora=LORA if kind == "lora" else None, gradient_checkpointing=kind == "full"
    )
    rollout, _ = rolled(policy)
    assert torch.equal(rollout.old.logprobs, rollout.reference_BR)
    assert rollout.old.logprobs[rollout.tokens.mask_BR].lt(0).all()
    with policy.learning_mode():
        for rows in ([3, 1], [0], [5, 2, 4]):
            tokens = rollout.tokens.rows(rows)
            now, length = policy(tokens), tokens.mask_BR.shape[1]
            ratio = (now.logprobs - rollout.old.logprobs[rows, :length]).exp()
            assert (ratio - 1).abs().max() < 1e-4
            assert now.logprobs.requires_grad
            assert not rollout.old.logprobs.requires_grad


@ALL
def test_the_size_of_micro_batches_does_not_change_the_scores(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture), lively=True, temperature=0.7)
    whole, _ = rolled(policy, micro_batch_tokens=100_000)
    for tokens in (1, 64):
        pieces, _ = rolled(policy, micro_batch_tokens=tokens)
        assert torch.equal(pieces.tokens.response_BR, whole.tokens.response_BR)
        for one, other in zip((*pieces.old, pieces.reference_BR), (*whole.old, whole.reference_BR), strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


@ONE_OF_EACH
def test_what_is_scored_is_what_was_sampled_in_the_order_of_the_prompts(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture), lively=True)
    rollout, pending = rolled(policy, most=4)
    tokens = rollout.tokens
    for row, prompt in enumerate(prompts()):
        assert tokens.prompt_BP[row][tokens.prompt_mask_BP[row]].tolist() == list(prompt.ids)
        response = tokens.response_BR[row][tokens.mask_BR[row]]
        assert rollout.completions[row] == policy.tokenizer.decode(response, skip_special_tokens=True)
        assert rollout.ended_B[row] == (response[-1].item() in ENDS)
        assert pending.samples[row] == Sample(rollout.completions[row], prompt.text, prompt.columns)
        with torch.no_grad():
            alone = policy(tokens.rows([row]), entropies=True)
        for one, batch in zip(alone, rollout.old, strict=True):
            assert (one[0] - batch[row, : len(response)]).abs().max() < 1e-4
    assert 0 < rollout.ended_B.sum() < len(tokens), "all ended, or none: nothing was tested"
    for scores in (*rollout.old, rollout.reference_BR):
        assert not scores[~tokens.mask_BR].any()
        assert scores.dtype == torch.float32


@ONE_OF_EACH
def test_a_rollout_follows_the_seed(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture))
    first, again, other = (rolled(policy, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first.tokens.response_BR, again.tokens.response_BR)
    assert torch.equal(first.old.logprobs, again.old.logprobs)
    assert first.completions != other.completions


def test_the_time_that_judges_take_does_not_change_what_is_sampled(policy_folder):
    policy = policy_of(policy_folder("llama"))
    slow = Rewards(Fake(lambda sample: 0.5 if not time.sleep(0.01) else 0.0))
    assert rolled(policy, slow)[0].completions == rolled(policy)[0].completions


def test_sampled_ids_are_kept_where_text_does_not_lead_back_to_them(policy_folder, monkeypatch):
    policy = policy_of(policy_folder("llama"))
    rollout, pending = rolled(policy)
    shown: list[list[int]] = []

    def lossy(ids: Any, **_: Any) -> str:
        shown.append(torch.as_tensor(ids).tolist())
        return "always the same"

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a completion was tokenised again")

    words = policy.tokenizer
    stub = SimpleNamespace(decode=lossy, encode=never, bos_token_id=words.bos_token_id, pad_token_id=words.pad_token_id)
    monkeypatch.setattr(policy, "tokenizer", stub)
    given: list[Any] = []

    def lengths(completion_ids: list[list[int]], completions: list[str]) -> list[float]:
        given.extend(completion_ids)
        assert completions == ["always the same"] * 6
        return [0.0] * 6

    other, pending = rolled(policy, Rewards(lengths))
    pending.result()
    assert torch.equal(other.tokens.response_BR, rollout.tokens.response_BR)
    assert torch.equal(other.old.logprobs, rollout.old.logprobs)
    kept = [ids[mask].tolist() for ids, mask in zip(other.tokens.response_BR, other.tokens.mask_BR, strict=True)]
    assert given == kept
    assert sorted(shown) == sorted(kept)


@pytest.mark.parametrize("architecture", ["t5", "flan_t5", "bart"])
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_the_encoder_runs_once_for_generation_and_scoring_and_for_the_reference_by_its_own_weights(
    policy_folder, architecture, lora
):
    policy = policy_of(policy_folder(architecture), lora=lora, lively=True)
    inner = policy.model.get_base_model() if lora else policy.model
    rows, in_reference = [], []
    reference, active = policy.use_reference, []
    inner.get_encoder().register_forward_hook(lambda *_: in_reference.append(bool(active)))
    inner.get_encoder().register_forward_pre_hook(
        lambda _, args, keys: rows.append(len(keys["input_ids"])), with_kwargs=True
    )

    class Watched:
        def __enter__(self) -> None:
            active.append(reference())
            active[0].__enter__()

        def __exit__(self, *error: Any) -> None:
            active.pop().__exit__(*error)

    policy.use_reference = Watched  # type: ignore[method-assign,assignment]
    for micro_batch_tokens in (100_000, 1):
        rows.clear()
        in_reference.clear()
        rolled(policy, micro_batch_tokens=micro_batch_tokens)
        assert in_reference == [False, True]
        assert rows == [6, 6]


# --- judging while it is written ----------------------------------------------------------------------------------


def test_a_remote_judge_gets_each_completion_as_it_ends_and_a_local_one_the_finished_batch(policy_folder, monkeypatch):
    policy = policy_of(policy_folder("gpt2"))
    steps, began, ended = [0], {}, []

    def says(sample: Sample) -> float:
        began[sample.columns["i"]] = steps[0]
        return 0.5

    local_at: list[int] = []
    remote, local = Fake(says), Fake(lambda s: local_at.append(steps[0]) or 0.5, name="local", remote=False)
    completed = Pending.add
    monkeypatch.setattr(Pending, "add", lambda *given: (ended.append(1), completed(*given)))

    def wait_for_the_judge() -> None:
        deadline = time.monotonic() + 30
        while len(began) < len(ended) and time.monotonic() < deadline:
            time.sleep(0.001)

    def poll() -> None:
        """Called at each token; the next is not made before the judge has begun with what has ended."""
        wait_for_the_judge()
        steps[0] += 1

    rollout, pending = rolled(policy, Rewards([local, remote]), count=8, most=12, poll=poll)
    assert not local.asked
    generated = rollout.tokens.response_BR.shape[1]
    wait_for_the_judge()
    pending.result()
    assert local.asked == [pending.samples]
    assert min(local_at) > generated
    lengths = rollout.tokens.mask_BR.sum(1).tolist()
    assert len(set(lengths)) > 3
    for row, length in enumerate(lengths):
        assert began[row] == length if rollout.ended_B[row] else began[row] >= generated


def test_generation_does_not_wait_for_a_judge(policy_folder):
    policy = policy_of(policy_folder("llama"))
    release = threading.Event()
    rewards = Rewards(Fake(lambda sample: 0.5 if release.wait(30) else 0.0))
    rollout, pending = rolled(policy, rewards, count=8)
    assert rollout.ended_B.any()
    release.set()
    assert rewards.combine(pending.result()) == [0.5] * 8


def test_equal_completions_of_a_prompt_are_asked_once(policy_folder):
    policy = policy_of(policy_folder("llama"))
    judge = Fake()
    torch.manual_seed(0)
    same = [Prompt("p", [80, 81])] * 40
    rollout, pending = act(policy, same, Rewards(judge), Sampling(2), micro_batch_tokens=1000)
    pending.result()
    distinct = set(rollout.completions)
    assert len(distinct) < 40, "no two were equal: nothing was tested"
    assert sorted(samples[0].completion for samples in judge.asked) == sorted(distinct)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("when", ["generating", "scoring", "scoring the reference"])
@ONE_OF_EACH
def test_what_a_poll_raises_ends_the_rollout_and_no_further_judge_is_asked(policy_folder, architecture, when):
    policy = policy_of(policy_folder(architecture))
    rollout, _ = rolled(policy)
    generated = rollout.tokens.response_BR.shape[1]
    at = {"generating": 3, "scoring": generated + 2, "scoring the reference": generated + 6 + 2}[when]
    cancelled, calls = [], [0]
    rewards = Rewards(Fake())
    begin = rewards.begin

    def watched(count: int) -> Pending:
        pending = begin(count)
        cancel = pending.cancel
        pending.cancel = lambda: (cancelled.append(True), cancel())[1]  # type: ignore[method-assign]
        return pending

    rewards.begin = watched  # type: ignore[method-assign]

    def poll() -> None:
        calls[0] += 1
        if calls[0] == at:
            raise Stopped

    weights = {name: weight.clone() for name, weight in policy.weights().items()}
    with pytest.raises(Stopped):
        rolled(policy, rewards, micro_batch_tokens=1, poll=poll)
    assert cancelled
    assert calls[0] == at
    assert all(torch.equal(weights[name], weight) for name, weight in policy.weights().items())
    assert torch.equal(rolled(policy)[0].old.logprobs, rollout.old.logprobs)


def test_a_poll_is_called_after_each_token(policy_folder):
    policy = policy_of(policy_folder("llama"), ends=None)
    calls = []
    rollout, _ = rolled(policy, count=2, most=7, micro_batch_tokens=100_000, poll=lambda: calls.append(1))
    assert len(calls) == rollout.tokens.response_BR.shape[1] + 2  # and before each piece that is scored


def test_completions_are_shown_without_special_tokens(policy_folder):
    policy = policy_of(policy_folder("llama"), ends=[2])
    policy.model.lm_head.weight.data.zero_()  # every id is as likely
    rollout, _ = rolled(policy, count=40, most=30)
    assert any(set(ids) & {0, 1, 3} for ids in rollout.tokens.response_BR.tolist())
    assert rollout.ended_B.any()
    for text in rollout.completions:
        assert not any(special in text for special in tiny.SPECIAL)
