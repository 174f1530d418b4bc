"""The arithmetic of PPO against numbers worked out by hand, and against float64 loops written differently."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlaif.core.masked import Reduce, masked_mean, masked_moments, no_reduce
from rlaif.judges.shaping import RunningMoments
from rlaif.policy.token_logprobs import logprobs_and_entropy
from rlaif.training.loop.kl_control import AdaptiveKL, FixedKL, kl_estimate, log_ratio
from rlaif.training.ppo.formulas import (
    explained_variance,
    gae,
    kl_loss,
    policy_loss,
    sum_to_end,
    token_rewards,
    unjudged_advantages,
    value_loss,
    whiten,
    whitening_factor,
)

NAN = math.nan

numbers = st.floats(-50, 50, allow_nan=False, width=32)
masked_numbers = st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=20)
seeds = st.integers(0, 2**32 - 1)


def double(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(got: Tensor, wanted: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(got.detach().numpy(), np.asarray(wanted), rtol=tolerance, atol=tolerance)


def unzip(pairs: Sequence[tuple[float, bool]]) -> tuple[Tensor, Tensor]:
    return double([x for x, _ in pairs]), torch.tensor([kept for _, kept in pairs])


def in_processes(*works: Callable[[Reduce], Any]) -> list[Any]:
    """Run each with a `reduce` that adds up over all of them, as an all-reduce does."""
    everyone, slots = Barrier(len(works), timeout=20), [torch.zeros(())] * len(works)

    def run(rank: int) -> Any:
        def reduce(x: Tensor) -> Tensor:
            slots[rank] = x
            everyone.wait()
            total = torch.stack(slots).sum(0)
            everyone.wait()
            return total

        return works[rank](reduce)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, range(len(works))))


def right_padded(rng: np.random.Generator, rows: int, length: int) -> Tensor:
    return torch.arange(length) < torch.tensor(rng.integers(0, length + 1, rows)).unsqueeze(1)


# --- masked moments -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(masked_numbers)
def test_masked_moments_are_those_of_the_values_that_are_kept(pairs):
    x, mask = unzip(pairs)
    kept = [value for value, keep in pairs if keep] or [0.0]
    mean, variance = masked_moments(x, mask)
    close(mean, np.mean(kept), 1e-9)
    close(variance, np.var(kept), 1e-9)
    close(masked_mean(x, mask), np.mean(kept), 1e-9)


def test_nothing_kept_has_mean_and_variance_zero():
    x, mask = double([[1.0, NAN], [2.0, 3.0]]), torch.zeros(2, 2, dtype=torch.bool)
    assert masked_mean(x, mask) == 0
    assert masked_moments(x, mask) == (0, 0)
    assert whiten(x, mask).tolist() == [[0, 0], [0, 0]]
    assert explained_variance(x, x, mask) == 0


ACROSS: dict[str, Callable[[Tensor, Tensor, Reduce], Tensor]] = {
    "masked_mean": masked_mean,
    "masked_moments": lambda x, mask, reduce: torch.stack(masked_moments(x, mask, reduce)),
    "whiten": whiten,
    "explained_variance": lambda x, mask, reduce: explained_variance(x.abs().sqrt(), x, mask, reduce),
}


@settings(deadline=None, max_examples=40)
@given(masked_numbers, masked_numbers)
@pytest.mark.parametrize("name", ACROSS)
def test_moments_of_two_processes_are_those_of_one_that_holds_all(name, here, there):
    parts = [unzip(here), unzip(there)]
    got = in_processes(*(partial(ACROSS[name], *part) for part in parts))
    whole = ACROSS[name](*unzip([*here, *there]), no_reduce)
    if name == "whiten":
        close(torch.cat(got), whole, 1e-6)
    else:
        assert torch.equal(*got)
        close(got[0], whole, 1e-6)


def test_the_mean_of_many_float32_values_is_summed_in_float64():
    # In float32 the sum stops at 2^24 = 16777216: adding 1 to it changes nothing.
    x = torch.ones(2**10)
    x[0] = 2.0**24
    mask = torch.ones_like(x, dtype=torch.bool)
    mean = masked_mean(x, mask)
    assert mean.dtype == torch.float32
    assert mean == (2**24 + 1023) / 1024
    assert masked_moments(x, mask)[0].dtype == torch.float64


def test_whitening_by_hand():
    # 1, 2, 3, 6 have mean 3 and variance (4 + 1 + 0 + 9) / 4 = 3.5
    x = double([[1.0, 2.0, 99.0], [3.0, 6.0, NAN]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    s = math.sqrt(3.5)
    close(whiten(x, mask), [[-2 / s, -1 / s, 0], [0, 3 / s, 0]], 1e-8)


@settings(deadline=None)
@given(masked_numbers)
def test_what_is_whitened_has_mean_zero_and_variance_one_or_zero(pairs):
    x, mask = unzip(pairs)
    mean, variance = masked_moments(whiten(x, mask), mask)
    close(mean, 0, 1e-9)
    before = masked_moments(x, mask)[1]
    close(variance, before / (before + 1e-8), 1e-6)


@pytest.mark.parametrize("x", [[0.1], [0.1, 0.1, 0.1], [1e6 + 0.1] * 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whitening_one_value_or_equal_ones_gives_zero_and_no_noise(x, dtype):
    x = torch.tensor(x, dtype=dtype)
    close(whiten(x, torch.ones_like(x, dtype=torch.bool)), np.zeros(len(x)), 1e-5)


def test_masked_rows_change_nothing_in_whitening():
    x, mask = double([[1.0, 4.0], [7.0, 100.0]]), torch.tensor([[True, True], [False, False]])
    close(whiten(x, mask)[0], whiten(x[:1], mask[:1])[0])


@pytest.mark.parametrize(
    ("values", "explained"),
    [
        ([1.0, 2.0, 6.0], 1.0),  # perfect
        ([3.0, 3.0, 3.0], 0.0),  # the mean
        ([11.0, 12.0, 16.0], 1.0),  # a constant offset is no variance
        # left: 1, 3, 0 with mean 4/3, variance (1 + 25 + 16) / 27 = 14/9; the returns: 14/3
        ([0.0, -1.0, 6.0], 2 / 3),
        # twice as far as needed: what is left is -(returns), as spread as they
        ([2.0, 4.0, 12.0], 0.0),
        ([-1.0, -2.0, -6.0], -3.0),
    ],
)
def test_explained_variance_by_hand(values, explained):
    returns, mask = double([1.0, 2.0, 6.0, NAN]), torch.tensor([True, True, True, False])
    close(explained_variance(double([*values, NAN]), returns, mask), explained)


def test_the_explained_variance_of_small_returns_is_that_of_large_ones():
    returns, values, mask = double([1.0, 2.0, 6.0]), double([0.0, -1.0, 6.0]), torch.ones(3, dtype=torch.bool)
    close(explained_variance(1e-4 * values, 1e-4 * returns, mask), 2 / 3)


def test_the_whitening_factor_is_one_over_the_deviation_and_1_where_there_is_none():
    mask = torch.tensor([True, True, True, False])
    assert whitening_factor(double([1.0, 3.0, 5.0, 99.0]), mask) == pytest.approx(1 / math.sqrt(8 / 3))
    assert whitening_factor(double([2.0, 2.0, 2.0, 99.0]), mask) == 1.0
    assert whitening_factor(double([1.0, 3.0, 5.0, 99.0]), ~mask) == 1.0


def test_flat_returns_leave_nothing_to_explain():
    assert explained_variance(double([1.0, 5.0]), double([3.0, 3.0]), torch.tensor([True, True])) == 0


# --- log-probabilities ----------------------------------------------------------------------------------------


def test_log_probability_and_entropy_by_hand():
    # odds 1 : 3 : 4
    logits = torch.tensor([[0.0, math.log(3), math.log(4)]] * 3)
    logprobs, entropy = logprobs_and_entropy(logits, torch.tensor([0, 1, 2]))
    close(logprobs, [math.log(1 / 8), math.log(3 / 8), math.log(1 / 2)], 1e-6)
    wanted = math.log(8) / 8 + 3 / 8 * math.log(8 / 3) + math.log(2) / 2
    close(entropy, [wanted] * 3, 1e-6)


@settings(deadline=None)
@given(seeds, st.floats(0.1, 30))
def test_log_probabilities_and_entropies_are_those_of_loops_in_float64(seed, spread):
    rng = np.random.default_rng(seed)
    logits, ids = rng.normal(0, spread, (4, 7)).astype(np.float32), rng.integers(0, 7, 4)
    got, entropies = logprobs_and_entropy(torch.tensor(logits), torch.tensor(ids))
    for i in range(4):
        top = float(max(logits[i]))
        total = math.fsum(math.exp(float(z) - top) for z in logits[i])
        log_p = [float(z) - top - math.log(total) for z in logits[i]]
        assert float(got[i]) == pytest.approx(log_p[ids[i]], rel=1e-5, abs=1e-5)
        assert float(entropies[i]) == pytest.approx(-math.fsum(math.exp(p) * p for p in log_p), rel=1e-5, abs=1e-5)


def test_the_entropy_of_a_uniform_distribution_is_log_v_and_of_a_certain_one_zero():
    ids = torch.tensor([0])
    assert logprobs_and_entropy(torch.full((1, 50), 3.0), ids)[1].item() == pytest.approx(math.log(50), rel=1e-6)
    for far in (-200.0, -1e30, -math.inf):
        logits = torch.full((1, 50), far)
        logits[0, 0] = 0.0
        logprobs, entropy = logprobs_and_entropy(logits, ids)
        assert (logprobs.item(), entropy.item()) == (0, 0)


def test_a_forbidden_token_has_probability_zero_and_its_gradient_is_no_nan():
    logits = torch.tensor([[0.0, math.log(3), -math.inf]], requires_grad=True)
    logprobs, entropy = logprobs_and_entropy(logits, torch.tensor([1]))
    assert logprobs.item() == pytest.approx(math.log(3 / 4))
    h = entropy.item()
    assert h == pytest.approx(math.log(4) / 4 + 3 / 4 * math.log(4 / 3))
    # dH / dz_i = -p_i (log p_i + H)
    entropy.sum().backward()
    wanted = [-1 / 4 * (math.log(1 / 4) + h), -3 / 4 * (math.log(3 / 4) + h), 0]
    close(logits.grad[0], wanted, 1e-6)
    assert logprobs_and_entropy(logits, torch.tensor([2]))[0].item() == -math.inf


def test_bfloat16_logits_are_reckoned_in_float32():
    torch.manual_seed(0)
    logits, ids = (torch.randn(5, 300) * 4).bfloat16(), torch.arange(5)
    logprobs, entropy = logprobs_and_entropy(logits, ids)
    assert logprobs.dtype == entropy.dtype == torch.float32
    exact = torch.log_softmax(logits.double(), -1)
    close(logprobs, exact[ids, ids], 1e-6)
    close(entropy, -(exact.exp() * exact).sum(-1), 1e-5)


def test_a_log_ratio_is_a_difference_that_stops_at_twenty():
    p, q = double([-1.0, -100.0, 0.0, -math.inf, 0.0]), double([-3.0, -1.0, -100.0, -1.0, -math.inf])
    assert log_ratio(p, q).tolist() == [2, -20, 20, -20, 20]


# --- distance from the reference ------------------------------------------------------------------------------


def test_kl_estimates_by_hand():
    # p = 1/2, q = 1/8: r = 1/4 and log r = -2 ln 2
    p, q, kept = double([math.log(1 / 2)]), double([math.log(1 / 8)]), torch.tensor([True])
    ln2 = math.log(2)
    close(kl_estimate(p, q, kept, "k1"), [2 * ln2])
    close(kl_estimate(p, q, kept, "k2"), [2 * ln2**2])
    close(kl_estimate(p, q, kept, "k3"), [1 / 4 - 1 + 2 * ln2])
    # the other way round: r = 4
    close(kl_estimate(q, p, kept, "k1"), [-2 * ln2])
    close(kl_estimate(q, p, kept, "k3"), [4 - 1 - 2 * ln2])


def test_k1_is_the_default():
    p, q, kept = double([-1.0, -2.0]), double([-3.0, -1.0]), torch.tensor([True, True])
    assert kl_estimate(p, q, kept).tolist() == [2, -1]


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_equal_models_are_at_distance_zero(kind):
    p = torch.randn(3, 4)
    assert kl_estimate(p, p.clone(), torch.ones(3, 4, dtype=torch.bool), kind).abs().max() == 0


@settings(deadline=None)
@given(seeds, st.integers(2, 8), st.floats(0, 3))
def test_the_expectation_of_k1_and_of_k3_is_the_kl_divergence(seed, vocabulary, spread):
    rng = np.random.default_rng(seed)
    p, q = (np.exp(z) / np.exp(z).sum() for z in rng.normal(0, spread, (2, vocabulary)))
    kl = sum(p[i] * math.log(p[i] / q[i]) for i in range(vocabulary))
    everything = torch.ones(vocabulary, dtype=torch.bool)
    for kind in ("k1", "k3"):
        estimates = kl_estimate(torch.tensor(np.log(p)), torch.tensor(np.log(q)), everything, kind)
        assert float((torch.tensor(p) * estimates).sum()) == pytest.approx(kl, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.floats(-40, 0), st.floats(-40, 0))
def test_k2_and_k3_are_never_negative(p, q):
    for dtype in (torch.float32, torch.float64):
        one = [torch.tensor([x], dtype=dtype) for x in (p, q)]
        assert kl_estimate(*one, torch.tensor([True]), "k2") >= 0
        assert kl_estimate(*one, torch.tensor([True]), "k3") >= 0


def test_k3_of_near_models_keeps_its_digits_in_float32():
    # For a small d = log r, k3 = d^2 / 2 + d^3 / 6: exp(d) - 1 - d in float32 would be noise of 1e-7.
    p, d = torch.tensor([0.0]), torch.tensor([1e-4])
    k3 = kl_estimate(p, d, torch.tensor([True]), "k3").item()
    assert k3 == pytest.approx(0.5e-8, rel=0.01, abs=1e-11)


def test_a_token_that_the_reference_never_says_costs_a_finite_kl():
    p, q, kept = torch.zeros(1), torch.tensor([-math.inf]), torch.tensor([True])
    assert kl_estimate(p, q, kept, "k1").item() == 20
    assert kl_estimate(p, q, kept, "k2").item() == 200
    assert kl_estimate(p, q, kept, "k3").item() == pytest.approx(19)
    # and one that only the reference says: e^20 - 21
    assert kl_estimate(q, p, kept, "k3").item() == pytest.approx(math.exp(20) - 21, rel=1e-6)


def test_a_fixed_coefficient_stays():
    fixed = FixedKL(0.05)
    fixed.update(1000.0, 64)
    assert fixed.value == 0.05


@pytest.mark.parametrize(
    ("kl", "value"),
    [
        (6.0, 0.2),  # on target
        (6.6, 0.2 * 1.00064),  # error 0.1, times 64 of 10 000
        (5.4, 0.2 * 0.99936),
        (60.0, 0.2 * 1.00128),  # error 9, clipped to 0.2
        (0.0, 0.2 * 0.99872),  # error -1, clipped to -0.2
        (-3.0, 0.2 * 0.99872),
        (NAN, 0.2),
    ],
)
def test_the_adaptive_coefficient_of_ziegler_by_hand(kl, value):
    adaptive = AdaptiveKL(0.2, target=6.0, horizon=10_000)
    adaptive.update(kl, 64)
    assert adaptive.value == pytest.approx(value, rel=1e-12)


def test_the_adaptive_coefficient_never_turns_negative():
    adaptive = AdaptiveKL(0.2, target=6.0, horizon=10)
    for i in range(1, 50):
        adaptive.update(0.0, 512)  # 512 samples against a horizon of 10: as a full horizon, times 1 - 0.2
        assert adaptive.value == pytest.approx(0.2 * 0.8**i)


def test_the_adaptive_coefficient_steers_the_kl_to_its_target():
    # a policy whose KL is 3 / coefficient settles at the target of 6 where the coefficient is 1/2
    adaptive = AdaptiveKL(0.05, target=6.0, horizon=1000)
    for _ in range(500):
        adaptive.update(3 / adaptive.value, 64)
    assert adaptive.value == pytest.approx(0.5, rel=1e-3)


# --- rewards --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(masked_numbers, min_size=1, max_size=5))
def test_running_moments_are_those_of_all_rewards_so_far(batches):
    moments, kept = RunningMoments(), []
    for batch in batches:
        moments.update(*unzip(batch))
        kept += [x for x, keep in batch if keep]
    assert moments.count == len(kept)
    assert moments.mean == pytest.approx(np.mean(kept) if kept else 0, rel=1e-9, abs=1e-9)
    std = np.std(kept, ddof=1) if len(kept) > 1 else 0
    if std > 1e-6:
        assert moments.std == pytest.approx(std, rel=1e-6)


def test_running_moments_by_hand():
    moments = RunningMoments()
    everything = torch.tensor([True, True])
    moments.update(double([1.0, 3.0]), everything)
    assert (moments.count, moments.mean, moments.std) == (2, 2, pytest.approx(math.sqrt(2)))
    # 1, 3, 5, 7: mean 4, squares 9 + 1 + 1 + 9 = 20, divided by n - 1 = 3
    moments.update(double([5.0, 7.0]), everything)
    assert (moments.count, moments.mean, moments.squares) == (4, 4, 20)
    assert moments.std == pytest.approx(math.sqrt(20 / 3))


def test_running_moments_of_two_processes_are_those_of_one_that_holds_all():
    rng = np.random.default_rng(0)
    batches = rng.normal(3, 2, (4, 2, 5))
    judged = rng.random((4, 2, 5)) < 0.6
    judged[1, 0] = False  # a process where everything was abstained

    def work(rank: int) -> Callable[[Reduce], RunningMoments]:
        def run(reduce: Reduce) -> RunningMoments:
            moments = RunningMoments()
            for x, mask in zip(batches[:, rank], judged[:, rank], strict=True):
                moments.update(torch.tensor(x), torch.tensor(mask), reduce)
            return moments

        return run

    here, there = in_processes(work(0), work(1))
    assert here == there
    assert here.count == judged.sum()
    assert here.mean == pytest.approx(batches[judged].mean())
    assert here.std == pytest.approx(batches[judged].std(ddof=1))


@pytest.mark.parametrize("x", [0.0, 0.1, 1e6 + 0.1])
def test_rewards_that_are_all_equal_are_not_divided_by_zero(x):
    moments = RunningMoments()
    assert moments.std == 1
    for size in (1, 3, 7):
        moments.update(double([x] * size), torch.ones(size, dtype=torch.bool))
        assert moments.std == 1


def test_abstentions_leave_the_running_moments_alone():
    moments = RunningMoments()
    moments.update(double([NAN, 1.0, 0.0, 3.0]), torch.tensor([False, True, False, True]))
    assert (moments.count, moments.mean) == (2, 2)
    moments.update(double([0.0, NAN]), torch.tensor([False, False]))
    assert (moments.count, moments.mean, moments.std) == (2, 2, pytest.approx(math.sqrt(2)))


def test_the_score_stands_on_the_last_real_token_and_not_on_the_pad_after_it():
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    kl = double([[1.0, 2.0, 99.0], [0.0, -1.0, 3.0], [4.0, NAN, NAN]])
    rewards = token_rewards(double([10.0, 20.0, -5.0]), kl, mask, 0.5)
    close(rewards, [[-0.5, 9.0, 0], [0, 0.5, 18.5], [-7.0, 0, 0]])


def test_an_empty_response_and_one_that_was_not_judged_earn_nothing():
    mask = torch.tensor([[False, False], [True, False]])
    rewards = token_rewards(double([NAN, 1.0]), double([[7.0, NAN], [0.0, 0.0]]), mask, 1.0)
    assert rewards.tolist() == [[0, 0], [1, 0]]


@settings(deadline=None)
@given(seeds)
def test_the_rewards_of_a_completion_add_up_to_its_score_minus_the_price_of_its_kl(seed):
    rng = np.random.default_rng(seed)
    mask = right_padded(rng, 4, 5)
    scores, kl = torch.tensor(rng.normal(size=4)), torch.tensor(rng.normal(size=(4, 5)))
    rewards = token_rewards(scores, kl, mask, 0.3)
    for b in range(4):
        n = int(mask[b].sum())
        wanted = float(scores[b]) - 0.3 * sum(float(kl[b, t]) for t in range(n)) if n else 0.0
        assert float(rewards[b].sum()) == pytest.approx(wanted)
        assert rewards[b, n:].abs().sum() == 0


def test_scores_of_another_dtype_do_not_change_that_of_the_rewards():
    rewards = token_rewards(double([0.5]), torch.zeros(1, 2), torch.tensor([[True, True]]), 0.1)
    assert rewards.dtype == torch.float32


# --- advantages -----------------------------------------------------------------------------------------------


def gae_by_sums(rewards: Any, values: Any, mask: Any, gamma: float, lam: float) -> np.ndarray:
    """A_t = sum over l of (gamma lam)^l delta_(t + l), each sum anew."""
    advantages = np.zeros(np.shape(rewards))
    for b in range(len(rewards)):
        n = int(sum(mask[b]))
        deltas = [rewards[b][t] + (gamma * values[b][t + 1] if t + 1 < n else 0.0) - values[b][t] for t in range(n)]
        for t in range(n):
            advantages[b, t] = math.fsum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, n))
    return advantages


def test_advantages_of_three_tokens_by_hand():
    # delta_3 = 2 - 1.5 = 0.5                A_3 = 0.5
    # delta_2 = 0 + 0.9 * 1.5 - 1 = 0.35     A_2 = 0.35 + 0.72 * 0.5 = 0.71
    # delta_1 = 1 + 0.9 * 1 - 0.5 = 1.4      A_1 = 1.4 + 0.72 * 0.71 = 1.9112
    rewards, values = double([[1.0, 0.0, 2.0, NAN]]), double([[0.5, 1.0, 1.5, NAN]])
    advantages, returns = gae(rewards, values, torch.tensor([[True, True, True, False]]), gamma=0.9, lam=0.8)
    close(advantages, [[1.9112, 0.71, 0.5, 0]])
    close(returns, [[2.4112, 1.71, 2.0, 0]])


@settings(deadline=None)
@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_those_of_the_sums_in_the_paper(seed, gamma, lam):
    rng = np.random.default_rng(seed)
    mask = right_padded(rng, 4, 6)
    rewards, values = rng.normal(size=(2, 4, 6))
    advantages, returns = gae(torch.tensor(rewards), torch.tensor(values), mask, gamma=gamma, lam=lam)
    wanted = gae_by_sums(rewards, values, mask.tolist(), gamma, lam)
    close(advantages, wanted, 1e-9)
    close(returns, (wanted + values) * mask.numpy(), 1e-9)


@settings(deadline=None)
@given(seeds)
def test_without_discount_returns_are_what_is_still_to_come(seed):
    rng = np.random.default_rng(seed)
    mask = right_padded(rng, 3, 5)
    rewards, values = torch.tensor(rng.normal(size=(2, 3, 5)))
    _, returns = gae(rewards, values, mask, gamma=1.0, lam=1.0)
    for b in range(3):
        n = int(mask[b].sum())
        close(returns[b], [float(rewards[b, t:n].sum()) for t in range(n)] + [0] * (5 - n), 1e-9)


def test_with_lambda_zero_advantages_are_the_errors_of_one_step():
    rewards, values = double([[1.0, 2.0, 3.0]]), double([[4.0, 6.0, 8.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.5, lam=0.0)
    close(advantages, [[1 + 3 - 4, 2 + 4 - 6, 3 - 8]])
    close(returns, [[4, 6, 3]])


def test_a_critic_that_is_right_leaves_no_advantage():
    # one reward of 8 at the end, halved by each step back
    rewards, values = double([[0.0, 0.0, 8.0, 0.0]]), double([[2.0, 4.0, 8.0, 77.0]])
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.95)
    close(advantages, [[0, 0, 0, 0]])
    close(returns, [[2, 4, 8, 0]])


@pytest.mark.parametrize("beyond", [0.0, 1e9, NAN, math.inf])
def test_nothing_past_the_end_reaches_a_token_and_longer_padding_changes_nothing(beyond):
    rewards, values = double([[1.0, 2.0]]), double([[0.3, 0.7]])
    alone = gae(rewards, values, torch.ones(1, 2, dtype=torch.bool), gamma=0.99, lam=0.95)
    past = double([[beyond] * 3])
    padded = gae(
        torch.cat([rewards, past], 1),
        torch.cat([values, past], 1),
        torch.tensor([[True, True, False, False, False]]),
        gamma=0.99,
        lam=0.95,
    )
    for short, long in zip(alone, padded, strict=True):
        assert long.tolist() == [[*short[0].tolist(), 0, 0, 0]]


def test_the_advantage_of_a_single_token_is_its_reward_less_its_value():
    advantages, returns = gae(double([[2.0]]), double([[0.5]]), torch.tensor([[True]]), gamma=0.9, lam=0.8)
    assert (advantages.tolist(), returns.tolist()) == ([[1.5]], [[2.0]])


def test_an_empty_response_has_no_advantage():
    mask = torch.tensor([[False, False], [True, True]])
    advantages, returns = gae(torch.ones(2, 2), torch.ones(2, 2), mask, gamma=1.0, lam=1.0)
    assert advantages[0].tolist() == returns[0].tolist() == [0, 0]
    assert returns[1].tolist() == [2, 1]


# --- what nobody judged ---------------------------------------------------------------------------------------


def test_sums_to_the_end_by_hand():
    x, mask = double([[1, 2, 4], [8, NAN, 16]]), torch.tensor([[True, True, True], [True, False, False]])
    close(sum_to_end(x, mask), [[7, 6, 4], [8, 0, 0]])


def test_without_a_reward_advantages_are_the_kl_to_come_and_what_the_value_fell_by():
    kl, values = double([[1.5, 1.0, 2.0], [1.0, NAN, NAN]]), double([[3.0, 4.0, 2.5], [7.0, NAN, NAN]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    close(unjudged_advantages(kl, values, mask, 0.1), [[-0.15, -0.1 - 1.0, -0.2 + 0.5], [-0.1, 0, 0]])


def test_the_gradient_of_the_kl_loss_is_the_log_ratio():
    logprobs = double([-1.0, -2.0, -4.0, NAN]).requires_grad_()
    loss = kl_loss(logprobs, double([-1.5, -2.0, -1.0, -1.0]), torch.tensor([True, True, True, False]))
    close(loss, [0.125, 0, 4.5, 0])
    (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
    close(gradient, [0.5, 0, -3, 0])


# --- losses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantage", "ratio", "dual_clip", "loss", "gradient", "acts"),
    [
        # the gradient is by the log-probability: -A * ratio where nothing is clipped
        (2.0, 1.0, None, -2.0, -2.0, False),
        (-2.0, 1.0, None, 2.0, 2.0, False),
        (2.0, 1.1, None, -2.2, -2.2, False),
        (-2.0, 0.9, None, 1.8, 1.8, False),
        # a good token that became likelier: enough
        (2.0, 1.5, None, -2.4, 0.0, True),
        # a good token that became rarer: back with it
        (2.0, 0.5, None, -1.0, -1.0, False),
        # a bad token that became rarer: enough
        (-2.0, 0.5, None, 1.6, 0.0, True),
        # a bad token that became likelier: back with it, however far
        (-2.0, 1.5, None, 3.0, 3.0, False),
        (-2.0, 5.0, None, 10.0, 10.0, False),
        # ... or only as far as the dual clip: 3 * 2
        (-2.0, 5.0, 3.0, 6.0, 0.0, True),
        (-2.0, 2.0, 3.0, 4.0, 4.0, False),
        (-2.0, 0.5, 3.0, 1.6, 0.0, True),
        (2.0, 5.0, 3.0, -2.4, 0.0, True),
        (2.0, 0.5, 3.0, -1.0, -1.0, False),
        (0.0, 5.0, 3.0, 0.0, 0.0, False),
    ],
)
def test_the_policy_loss_by_hand(advantage, ratio, dual_clip, loss, gradient, acts):
    old = double([-3.0])
    now = (old + math.log(ratio)).requires_grad_()
    kept = torch.tensor([True])
    got, clipped = policy_loss(now, old, double([advantage]), kept, cliprange=0.2, dual_clip=dual_clip)
    got.sum().backward()
    close(got, [loss])
    close(now.grad, [gradient])
    assert clipped.tolist() == [acts]


def test_a_token_just_at_the_bound_of_the_dual_clip_is_not_clipped():
    now = double([math.log(2)]).requires_grad_()
    assert now.exp().tolist() == [2.0]
    kept = torch.tensor([True])
    loss, acts = policy_loss(now, double([0.0]), double([-1.5]), kept, cliprange=0.2, dual_clip=2.0)
    loss.sum().backward()
    assert (loss.tolist(), now.grad.tolist(), acts.tolist()) == ([3.0], [3.0], [False])


@settings(deadline=None)
@given(seeds, st.floats(0.05, 0.9), st.one_of(st.none(), st.floats(1.5, 5)))
def test_the_policy_loss_is_that_of_cases_written_out(seed, cliprange, dual_clip):
    rng = np.random.default_rng(seed)
    old, moved, advantages = rng.normal(size=(3, 20))
    mask = rng.random(20) < 0.7
    got, clipped = policy_loss(
        *(torch.tensor(x) for x in (old + moved, old, advantages, mask)), cliprange=cliprange, dual_clip=dual_clip
    )
    for i in range(20):
        a, ratio = advantages[i], math.exp(moved[i])
        if a >= 0:  # the objective min(ratio, 1 + c) * A, then for bad tokens max(ratio, 1 - c) * A
            used = min(ratio, 1 + cliprange)
        else:
            used = max(ratio, 1 - cliprange)
            if dual_clip is not None:
                used = min(used, dual_clip)
        assert float(got[i]) == pytest.approx(-a * used if mask[i] else 0, rel=1e-9, abs=1e-12)
        assert bool(clipped[i]) == bool(mask[i] and used != pytest.approx(ratio, rel=1e-12))


@settings(deadline=None)
@given(seeds)
def test_where_the_policy_is_still_the_old_one_the_loss_is_minus_the_advantage(seed):
    rng = np.random.default_rng(seed)
    old, advantages = torch.tensor(rng.normal(size=(2, 3, 4)))
    got, clipped = policy_loss(old.clone(), old, advantages, torch.ones(3, 4, dtype=torch.bool), cliprange=0.2)
    assert torch.equal(got, -advantages)
    assert not clipped.any()


def test_a_ratio_that_would_overflow_gives_a_finite_loss_and_gradient():
    now = torch.tensor([-0.1, -500.0], requires_grad=True)
    old, advantages = torch.tensor([-500.0, -0.1]), torch.tensor([-1.0, 1.0])
    loss, _ = policy_loss(now, old, advantages, torch.tensor([True, True]), cliprange=0.2)
    loss.sum().backward()
    close(loss, [math.exp(20), -math.exp(-20)], 1e-6)
    assert now.grad.isfinite().all()


@pytest.mark.parametrize(
    ("value", "returned", "cliprange", "loss", "gradient"),
    [
        # from an old value of 1; it may move to between 0.5 and 1.5
        (1.25, 3.0, 0.5, 1.75**2 / 2, -1.75),  # inside: half the squared error, its gradient the error
        (2.5, 3.0, 0.5, 1.5**2 / 2, 0.0),  # moved far towards the return: it counts as 1.5, and stops there
        (0.0, 3.0, 0.5, 3.0**2 / 2, -3.0),  # moved away from it: the plain error is larger
        (2.5, 1.25, 0.5, 1.25**2 / 2, 1.25),  # shot past it: the same
        (2.5, 3.0, None, 0.5**2 / 2, -0.5),
        (0.0, 3.0, None, 3.0**2 / 2, -3.0),
    ],
)
def test_the_value_loss_by_hand(value, returned, cliprange, loss, gradient):
    now = double([value]).requires_grad_()
    got = value_loss(now, double([1.0]), double([returned]), torch.tensor([True]), cliprange=cliprange)
    got.sum().backward()
    close(got, [loss])
    close(now.grad, [gradient])


@settings(deadline=None)
@given(seeds, st.one_of(st.none(), st.floats(0.01, 2)))
def test_the_value_loss_is_that_of_loops(seed, cliprange):
    rng = np.random.default_rng(seed)
    values, old, returns = rng.normal(size=(3, 20))
    mask = rng.random(20) < 0.7
    got = value_loss(*(torch.tensor(x) for x in (values, old, returns, mask)), cliprange=cliprange)
    for i in range(20):
        errors = [values[i] - returns[i]]
        if cliprange is not None:
            errors.append(min(max(values[i], old[i] - cliprange), old[i] + cliprange) - returns[i])
        assert float(got[i]) == pytest.approx(max(e * e for e in errors) / 2 if mask[i] else 0, rel=1e-9, abs=1e-12)


# --- masks ----------------------------------------------------------------------------------------------------

MASKED: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "masked_mean": (1, masked_mean),
    "masked_moments": (1, lambda x, mask: torch.stack(masked_moments(x, mask))),
    "whiten": (1, whiten),
    "explained_variance": (2, explained_variance),
    "k1": (2, lambda p, q, mask: kl_estimate(p, q, mask, "k1")),
    "k2": (2, lambda p, q, mask: kl_estimate(p, q, mask, "k2")),
    "k3": (2, lambda p, q, mask: kl_estimate(p, q, mask, "k3")),
    "token_rewards": (1, lambda kl, mask: token_rewards(double([1.0, 2.0]), kl, mask, 0.1)),
    "gae": (2, lambda r, v, mask: torch.stack(gae(r, v, mask, gamma=0.9, lam=0.8))),
    "policy_loss": (3, lambda p, q, a, mask: policy_loss(p, q, a, mask, cliprange=0.2)[0]),
    "policy_loss, dual": (3, lambda p, q, a, mask: policy_loss(p, q, a, mask, cliprange=0.2, dual_clip=1.5)[0]),
    "value_loss": (3, lambda v, o, r, mask: value_loss(v, o, r, mask, cliprange=None)),
    "value_loss, clipped": (3, lambda v, o, r, mask: value_loss(v, o, r, mask, cliprange=0.2)),
}


@pytest.mark.parametrize("garbage", [NAN, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("name", MASKED)
def test_what_stands_outside_the_mask_reaches_neither_values_nor_gradients(name, garbage):
    arguments, function = MASKED[name]
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    torch.manual_seed(0)
    clean = [torch.randn(2, 4, dtype=torch.float64) for _ in range(arguments)]

    def run(fill: float) -> tuple[Tensor, Sequence[Tensor]]:
        inputs = [x.masked_fill(~mask, fill).requires_grad_() for x in clean]
        out = function(*inputs, mask)
        loss = (out * torch.linspace(1, 2, out.numel(), dtype=torch.float64).view(out.shape)).sum()
        return out, torch.autograd.grad(loss, inputs, materialize_grads=True)

    (wanted, wanted_gradients), (got, gradients) = run(0.0), run(garbage)
    assert torch.equal(got, wanted)
    assert got.isfinite().all()
    if got.shape[-2:] == mask.shape:
        assert got[..., ~mask].abs().sum() == 0
    for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
        assert torch.equal(gradient, wanted_gradient)
        assert gradient[~mask].abs().sum() == 0


def test_no_clipping_is_counted_outside_the_mask():
    now, old, kept = double([0.0, 0.0]), double([-5.0, -5.0]), torch.tensor([True, False])
    assert policy_loss(now, old, double([1.0, 1.0]), kept, cliprange=0.2)[1].tolist() == [True, False]
