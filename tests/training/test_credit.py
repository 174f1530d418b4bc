"""Credit of completions: the reward, the KL and the critic's values become advantages and returns of tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rlaif.core.config.sections import PPOSection
from rlaif.judges.shaping import RunningMoments
from rlaif.policy.model import TokenScores
from rlaif.policy.tokens import TokenBatch
from rlaif.training.loop.rollout import Rollout
from rlaif.training.ppo.credit import Credit, assign

LENGTHS = (3, 2, 1)
LOGPROBS = [[-1.0, -2.0, -0.5], [-1.5, -0.25, 0.0], [-3.0, 0.0, 0.0]]
REFERENCE = [[-1.5, -1.0, -0.75], [-1.0, -2.25, 0.0], [-2.0, 0.0, 0.0]]
VALUES = [[0.5, 1.0, -0.5], [0.25, 0.75, 0.0], [2.0, 0.0, 0.0]]
REWARDS = [2.0, -1.0, 4.0]


def rollout() -> Rollout:
    """Three completions of three, two and one tokens; the second was cut."""
    mask = torch.arange(3) < torch.tensor(LENGTHS).unsqueeze(1)
    ids = torch.ones(3, 3, dtype=torch.long)
    tokens = TokenBatch(ids, torch.ones_like(mask), ids, mask)
    old = TokenScores(torch.tensor(LOGPROBS), torch.tensor(VALUES), torch.zeros(3, 3))
    return Rollout(tokens, old, torch.tensor(REFERENCE), torch.tensor([True, False, True]), ["a", "b", "c"])


def config(**knobs: object) -> PPOSection:
    return PPOSection(**{"whiten_advantages": False, "gamma": 0.9, "lam": 0.5, **knobs})


def by_hand(rewards: list[float | None], kl_coef: float, nats: list[list[float]]) -> tuple[list[float], list[float]]:
    """Advantages and returns of all tokens in a row, with gamma 0.9 and lambda 0.5; 0 outside what was judged."""
    advantages, returns = torch.zeros(2, 3, 3).tolist()
    for row, (n, reward) in enumerate(zip(LENGTHS, rewards, strict=True)):
        carried = following = 0.0
        for t in reversed(range(n) if reward is not None else ()):
            paid = -kl_coef * nats[row][t] + (reward if t == n - 1 else 0.0)
            carried = paid + 0.9 * following - VALUES[row][t] + 0.45 * carried
            following = VALUES[row][t]
            advantages[row][t], returns[row][t] = carried, carried + following
    return advantages, returns


NATS = [[p - q for p, q in zip(*rows, strict=True)] for rows in zip(LOGPROBS, REFERENCE, strict=True)]


@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_rewards_become_advantages_and_returns_as_worked_out_by_hand(kl_coef):
    credit = assign(rollout(), REWARDS, kl_coef, config(), RunningMoments())
    advantages, returns = by_hand(REWARDS, kl_coef, NATS)
    torch.testing.assert_close(credit.advantages_BR, torch.tensor(advantages))
    torch.testing.assert_close(credit.returns_BR, torch.tensor(returns))
    assert credit.mask_BR.sum(1).tolist() == list(LENGTHS)
    assert (credit.judged_B.tolist(), credit.rewards_B.tolist()) == ([True] * 3, REWARDS)


def test_with_the_kl_in_the_loss_the_reward_has_none_and_earlier_tokens_answer_for_the_kl_of_later_ones():
    credit = assign(rollout(), [2.0, None, 4.0], 0.5, config(kl_in="loss"), RunningMoments())
    advantages, returns = by_hand([2.0, None, 4.0], 0.0, NATS)
    mean = (sum(NATS[0]) + NATS[2][0]) / 2
    later = [[NATS[0][1] + NATS[0][2], NATS[0][2], 0.0], [NATS[1][1], 0.0], [0.0]]
    for t in range(3):
        advantages[0][t] -= 0.5 * (later[0][t] - mean)
    advantages[2][0] -= 0.5 * (later[2][0] - mean)
    advantages[1][:2] = [-0.5 * later[1][0], -(0.75 - 0.25)]
    torch.testing.assert_close(credit.advantages_BR, torch.tensor(advantages))
    torch.testing.assert_close(credit.returns_BR, torch.tensor(returns))
    assert credit.kl_loss_weight == 0.5
    assert assign(rollout(), REWARDS, 0.5, config(), RunningMoments()).kl_loss_weight == 0.0


def test_the_reward_of_an_abstention_weighs_nothing_and_the_others_stay_as_they_are():
    """Its advantages are those of its KL: -0.1 * (log r to the end), less what the critic's value rose by."""
    credit = assign(rollout(), [2.0, None, 4.0], 0.1, config(), RunningMoments())
    advantages, returns = by_hand([2.0, None, 4.0], 0.1, NATS)
    advantages[1][:2] = [-0.1 * (-0.5 + 2.0), -0.1 * 2.0 - (0.75 - 0.25)]
    torch.testing.assert_close(credit.advantages_BR, torch.tensor(advantages))
    torch.testing.assert_close(credit.returns_BR, torch.tensor(returns))
    assert credit.mask_BR.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert torch.equal(credit.policy_mask_BR, rollout().tokens.mask_BR)
    assert (credit.judged_B.tolist(), credit.rewards_B.tolist()) == ([True, False, True], [2.0, 0.0, 4.0])


def test_an_abstention_teaches_nothing_where_the_kl_costs_nothing():
    credit = assign(rollout(), [2.0, None, 4.0], 0.0, config(), RunningMoments())
    assert torch.equal(credit.policy_mask_BR, credit.mask_BR)
    assert not credit.advantages_BR[1].any()


def test_rewards_are_shaped_before_they_are_spread_and_the_moments_remember_them():
    moments = RunningMoments()
    credit = assign(rollout(), REWARDS, 0.0, config(score_clip=1.5, missing_eos_penalty=3.0), moments)
    torch.testing.assert_close(credit.returns_BR, torch.tensor(by_hand([1.5, -4.0, 1.5], 0.0, NATS)[1]))
    assert credit.rewards_B.tolist() == REWARDS, "what the judges gave"
    assert (moments.count, moments.mean) == (3, pytest.approx(5 / 3))


def test_whitened_advantages_have_mean_0_and_variance_1_over_tokens_that_count_and_returns_stay():
    plain = assign(rollout(), [2.0, None, 4.0], 0.1, config(), RunningMoments())
    white = assign(rollout(), [2.0, None, 4.0], 0.1, config(whiten_advantages=True), RunningMoments())
    kept = plain.advantages_BR[plain.mask_BR]
    torch.testing.assert_close(white.advantages_BR[white.mask_BR], (kept - kept.mean()) / kept.std(correction=0))
    # What was not judged is in no mean, but in the same unit.
    torch.testing.assert_close(white.advantages_BR[1], plain.advantages_BR[1] / kept.std(correction=0))
    torch.testing.assert_close(white.returns_BR, plain.returns_BR)


def test_moments_and_whitening_are_over_all_processes():
    """Of two processes that hold the same, each sum is twice that of one, and each mean the same."""
    moments = RunningMoments()
    one = assign(rollout(), REWARDS, 0.1, config(whiten_advantages=True), RunningMoments())
    two = assign(rollout(), REWARDS, 0.1, config(whiten_advantages=True), moments, lambda x: 2 * x)
    assert moments.count == 6
    torch.testing.assert_close(two.advantages_BR, one.advantages_BR)


def test_credit_cannot_be_changed():
    credit = assign(rollout(), REWARDS, 0.1, config(), RunningMoments())
    with pytest.raises(dataclasses.FrozenInstanceError):
        credit.rewards_B = torch.zeros(3)
    assert isinstance(credit, Credit)
