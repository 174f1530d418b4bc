"""Learn: epochs of optimizer steps on shuffled mini-batches of a rollout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif.core.config.trainers import PPOConfig
from rlaif.core.masked import Reduce
from rlaif.policy.model import Policy
from rlaif.policy.tokens import micro_batches
from rlaif.training.loop.kl_control import end_kl, kl_estimate, log_ratio
from rlaif.training.loop.optimizer import load_moments, moments_of, rate_factor
from rlaif.training.loop.rollout import Rollout
from rlaif.training.loop.step_metrics import UpdateMetrics
from rlaif.training.ppo.credit import Credit
from rlaif.training.ppo.formulas import kl_loss, policy_loss, value_loss


@dataclass(frozen=True)
class BatchShare:
    """
    The samples of a batch that one process learns from.

    Args:
        rows: their places in the batch of all processes.
        batch: samples of that batch.
        step: counted from 1; sets the learning rate.
        seed: of the shuffling, the same on all processes.

    """

    rows: Sequence[int]
    batch: int
    step: int
    seed: int


class Learner:
    """
    The optimizer of a policy.

    Gradients are sums over tokens, divided by the tokens of the mini-batch over all processes: neither the size of
    micro-batches nor the number of processes changes the update. Where some completions were not judged, the number is
    multiplied by the share of the batch's tokens that was: on average the loss is a mean over judged tokens, and each
    token, judged or not, weighs the same in whatever mini-batch it is.

    Args:
        policy: the model that is trained.
        config: how it learns.
        reduce: sums over processes.
        sync: sums the gradients over processes, in place.

    """

    def __init__(
        self, policy: Policy, config: PPOConfig, reduce: Reduce, sync: Callable[[Sequence[Tensor]], None]
    ) -> None:
        self._policy, self._config, self._reduce, self._sync = policy, config, reduce, sync
        head = set(policy.value_head.parameters())
        trunk = [p for p in policy.parameters() if p.requires_grad and p not in head]
        self._base = [config.learning_rate, config.vf_learning_rate or 10 * config.learning_rate]
        groups = [{"params": part, "lr": rate} for part, rate in zip((trunk, list(head)), self._base, strict=True)]
        # eps of Huang et al. 2022 (The 37 Implementation Details of PPO, 3): 1e-8 makes the first steps too long.
        self._optimizer = torch.optim.AdamW(groups, eps=1e-5, weight_decay=0.0, fused=True)
        self._parameters = [*trunk, *head]
        critic = set() if policy.critic is None else set(policy.critic.parameters())
        self._values_only = [p for p in self._parameters if p in head or p in critic]
        self._policy_only = [p for p in trunk if p not in critic]

    def update(self, rollout: Rollout, credit: Credit, share: BatchShare) -> UpdateMetrics:
        """
        Learn from a rollout, and return the metrics of the optimizer steps.

        Args:
            rollout: of this process.
            credit: of it.
            share: where its samples stand in the batch of all processes.

        """
        config, stats = self._config, UpdateStats()
        place = {row: i for i, row in enumerate(share.rows)}
        rate = self._set_learning_rate(share.step)
        values_only = share.step <= config.critic_warmup_steps
        judged_share = self._share_of_judged(credit)
        generator = torch.Generator().manual_seed(share.seed)
        for _ in range(config.ppo_epochs):
            order = torch.randperm(share.batch, generator=generator).tolist()
            for start in range(0, share.batch, config.mini_batch_size):
                mine = [place[row] for row in order[start : start + config.mini_batch_size] if row in place]
                if not self._step(rollout, credit, mine, stats, judged_share, values_only=values_only):
                    return stats.to_metrics(rate)
        return stats.to_metrics(rate)

    def _share_of_judged(self, credit: Credit) -> float:
        """Return the share of judged tokens in those that the policy learns from, in the batch of all processes."""
        judged, learned = self._count(credit.mask_BR), self._count(credit.policy_mask_BR)
        return judged / learned if judged else 1.0

    def _count(self, mask_BR: Tensor) -> float:
        return self._reduce(mask_BR.sum().double()).item()

    def _step(
        self,
        rollout: Rollout,
        credit: Credit,
        rows: list[int],
        stats: UpdateStats,
        judged_share: float,
        *,
        values_only: bool,
    ) -> bool:
        """Make an optimizer step, and return whether to go on: the policy has not moved beyond the target KL."""
        config = self._config
        judged, learned = self._count(credit.mask_BR[rows]), self._count(credit.policy_mask_BR[rows])
        if not (judged if values_only else learned):
            return True  # there is nothing to learn from, and momentum alone must not move
        parameters = self._values_only if values_only else self._parameters if judged else self._policy_only
        self._optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(UpdateStats.SUMS), dtype=torch.float64, device=self._policy.device)
        worst = 0.0
        lengths = rollout.tokens.lengths
        with self._policy.learning_mode():
            for micro_batch in micro_batches([lengths[row] for row in rows], config.micro_batch_tokens):
                loss, loss_sums, deviation = self._loss(rollout, credit, [rows[i] for i in micro_batch], values_only)
                # A value head's gradient flows into the trunk, which is the policy's: a warm-up leaves it alone.
                torch.autograd.backward(loss / (learned * judged_share), inputs=parameters)
                sums += loss_sums
                worst = max(worst, deviation)
        stats.add(self._reduce(sums), judged, learned, worst)
        if config.target_kl is not None and stats.last_kl > 1.5 * config.target_kl:
            return False
        self._sync([_gradient(parameter) for parameter in parameters])
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
        if math.isfinite(norm):
            self._optimizer.step()
        stats.add_step(norm)
        return True

    def _loss(
        self, rollout: Rollout, credit: Credit, rows: list[int], values_only: bool
    ) -> tuple[Tensor, Tensor, float]:
        """Return the loss of some samples, summed over tokens, the `UpdateStats.SUMS`, and the largest |ratio - 1|."""
        config, tokens = self._config, rollout.tokens.rows(rows)
        length = tokens.mask_BR.shape[1]

        def select(x_BR: Tensor) -> Tensor:
            return x_BR[rows, :length]

        mask, judged, old = select(credit.policy_mask_BR), select(credit.mask_BR), select(rollout.old.logprobs)
        now = self._policy(tokens, entropies=config.entropy_coef > 0 and not values_only)
        surrogate, clipped = policy_loss(
            now.logprobs,
            old,
            select(credit.advantages_BR),
            mask,
            cliprange=config.cliprange,
            dual_clip=config.dual_clip,
        )
        error = value_loss(
            now.values, select(rollout.old.values), select(credit.returns_BR), judged, cliprange=config.cliprange_value
        )
        loss = config.vf_coef * error.sum()
        if not values_only:
            loss = loss + surrogate.sum()
            if credit.kl_loss_weight:
                kl = kl_loss(now.logprobs, select(rollout.reference_BR), mask)
                loss = loss + credit.kl_loss_weight * kl.sum()
            if credit.ends_weight and now.ends is not None and rollout.reference_ends_BR is not None:
                # What is blocked is in no ratio and no reward; the weights decide on it all the same.
                loss = loss + credit.ends_weight * end_kl(now.ends, select(rollout.reference_ends_BR), mask).sum()
            if now.entropies is not None:
                loss = loss - config.entropy_coef * now.entropies.masked_fill(~judged, 0).sum()
        with torch.no_grad():
            moved = kl_estimate(old, now.logprobs, mask, "k3")
            sums = torch.stack([x.double().sum() for x in (surrogate, error, clipped, moved)])
            deviation = float((log_ratio(now.logprobs, old).expm1().abs().masked_fill(~mask, 0)).max())
        return loss, sums, deviation

    def _set_learning_rate(self, step: int) -> float:
        factor = rate_factor(self._config, step)
        for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
            group["lr"] = base * factor
        return float(self._base[0] * factor)

    def state(self) -> dict[str, Tensor]:
        """Return Adam's moments by name, in the order of the parameters."""
        return moments_of(self._optimizer, self._parameters)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        load_moments(state, self._optimizer, self._parameters)


class UpdateStats:
    """Metrics of the mini-batches of a step: means over tokens, then over mini-batches."""

    SUMS = ("policy_loss", "value_loss", "clip_fraction", "approx_kl")

    def __init__(self) -> None:
        self._rows: list[list[float]] = []
        self._norms: list[float] = []
        self._first: float | None = None
        self._skipped = 0

    @property
    def last_kl(self) -> float:
        """The k3 estimate of how far the last mini-batch saw the policy move, in nats a token."""
        return self._rows[-1][-1]

    def add(self, sums: Tensor, judged: float, learned: float, deviation: float) -> None:
        """
        Add a mini-batch; the first one's ratios should be 1 but for rounding.

        Args:
            sums: `SUMS`, over tokens.
            judged: tokens that the critic learns from.
            learned: tokens that the policy learns from.
            deviation: the largest |ratio - 1|.

        """
        policy_loss, value_loss, clipped, moved = sums.tolist()
        error = value_loss / judged if judged else math.nan
        self._rows.append([policy_loss / learned, error, clipped / learned, moved / learned])
        self._first = deviation if self._first is None else self._first

    def add_step(self, norm: float) -> None:
        """Add an optimizer step by its gradient's norm; one that is not finite was skipped."""
        if math.isfinite(norm):
            self._norms.append(norm)
        else:
            self._skipped += 1

    def to_metrics(self, learning_rate: float) -> UpdateMetrics:
        """Return the metrics of the step."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self.SUMS)
        policy_loss, value_loss, clip_fraction, approx_kl = map(_mean, columns)
        return UpdateMetrics(
            policy_loss=policy_loss,
            value_loss=value_loss,
            clip_fraction=clip_fraction,
            approx_kl=approx_kl,
            ratio_max_dev=self._first,
            grad_norm=_mean(self._norms),
            learning_rate=learning_rate,
            optimizer_steps=len(self._norms),
            skipped_updates=self._skipped,
        )


def _mean(numbers: Sequence[float]) -> float | None:
    finite = [number for number in numbers if math.isfinite(number)]
    return sum(finite) / len(finite) if finite else None


def _gradient(parameter: torch.nn.Parameter) -> Tensor:
    if parameter.grad is None:  # this process had no sample in the mini-batch, another one may
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
