"""GRPO and RLOO against any judge: we act and have it judged as in PPO, TRL's own trainers assign and learn."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif.core.config.trainers import GroupConfig
from rlaif.core.system.devices import memory
from rlaif.judges.shaping import rewards_to_tensors, shape_rewards
from rlaif.training.loop.online import OnlineTrainer, StepParts, Verdicts
from rlaif.training.loop.optimizer import load_moments, moments_of
from rlaif.training.loop.rollout import Rollout
from rlaif.training.loop.step_metrics import UpdateMetrics, rollout_metrics
from rlaif.training.trl.bridge import TRLUpdate, restore_after_training, trainer_of_trl
from rlaif.training.trl.settings import refuse_unfit, updates_of

__all__ = ["GroupTrainer", "refuse_unfit"]


class GroupTrainer(OnlineTrainer):
    """
    Fine-tunes a causal model by GRPO (Shao et al. 2024) or RLOO (Ahmadian et al. 2024) against a judge.

    The advantage of a completion is over the others of its prompt: there is no critic. The arguments, and what is
    written, are those of `PPOTrainer`, with a `GroupConfig`. A step is one batch, learned from for all iterations.

    TRL's GRPOTrainer and RLOOTrainer compute advantages and loss, and make the optimizer steps. Completions, their
    rewards and all log-probabilities come from here, so that prompts, sampling, judges and metrics are those of PPO.
    """

    settings = GroupConfig
    args: GroupConfig
    learner: Moments

    rollout: Rollout
    """The completions that are learned from: those of the step that is being made."""

    _updates: list[TRLUpdate]
    _verdicts: Verdicts

    def complete(self) -> list[list[int]]:
        """Complete the prompts of the next step, have them judged, and return the ids of the completions."""
        self._began_at = time.perf_counter()
        with self.checkpoints.save_on_failure():
            self.rollout, pending = self.act(self.progress.step + 1)
            self._verdicts = self.wait_for_rewards(pending)
        self._rewards_B, self.judged_B = rewards_to_tensors(self.rewards.combine(self._verdicts), self.processes.device)
        self._show_first_rewards(self._rewards_B, self.judged_B)
        tokens = self.rollout.tokens
        return [ids[mask].tolist() for ids, mask in zip(tokens.response_BR, tokens.mask_BR, strict=True)]

    def rewards_of_step(self) -> list[float | None]:
        """Return what is learned from: the rewards of the completions, None where a judge abstained."""
        shaped_B = shape_rewards(
            self._rewards_B, self.judged_B, self.rollout.ended_B, self.args, self.progress.moments,
            self.processes.reduce,
        )  # fmt: skip
        return [float(x) if known else None for x, known in zip(shaped_B, self.judged_B, strict=True)]

    def on_update(self, update: TRLUpdate) -> bool:
        """Take what TRL says of an optimizer step, end the step with its last one, and return whether to continue."""
        self._updates.append(update)
        if len(self._updates) == updates_of(self.args):
            about = rollout_metrics(self.rollout, self._rewards_B, self.judged_B, self.processes.reduce)
            metrics = summarize_updates(self._updates)
            self._updates = []
            self._end_online_step(StepParts(about, self._verdicts, metrics, self._began_at))
        return not self.stopped

    # --- what trainers differ in --------------------------------------------------------------------------------------

    def _refuse(self, model: Any) -> None:
        refuse_unfit(self.args, model)

    @property
    def prompts_a_step(self) -> int:
        """Different prompts; each has as many completions as there are in a group."""
        return self.args.batch_size // self.args.num_generations

    def rows(self, step: int) -> list[int]:
        """Return the places in `prompts` of what a step completes, group after group."""
        rows = self.batches.rows_of(step, range(self.prompts_a_step))
        return [row for row in rows for _ in range(self.args.num_generations)]

    def make_learner(self) -> Moments:
        """Make the optimizer of the policy; there is no critic."""
        self.policy.value_head.requires_grad_(False)
        return Moments([parameter for parameter in self.policy.parameters() if parameter.requires_grad])

    def _make_steps(self) -> None:
        """Let TRL make the steps that are left: it asks for completions and rewards, and reports each update."""
        if not self._has_steps_left():
            return
        self._updates = []
        lower = "training.micro_batch_tokens, or set policy.gradient_checkpointing: true"
        with restore_after_training(self.policy.model), memory("learning", lower):
            trainer_of_trl(self).train()

    def make_step(self, step: int) -> None:
        """Refuse: TRL makes the steps."""
        raise NotImplementedError("TRL makes the steps; call train")


class Moments:
    """
    Adam as TRL's trainers set it up, kept here so that a run that is resumed has its moments back.

    Args:
        parameters: what is trained.

    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self.optimizer = torch.optim.AdamW(parameters, weight_decay=0.0, fused=True)

    def state(self) -> dict[str, Tensor]:
        """Return Adam's moments."""
        return moments_of(self.optimizer, self._parameters)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        load_moments(state, self.optimizer, self._parameters)


def summarize_updates(updates: Sequence[TRLUpdate]) -> UpdateMetrics:
    """Return the metrics of the optimizer steps of one step; what there is only with a critic is None."""
    return UpdateMetrics(
        policy_loss=_mean([update.loss for update in updates]),
        value_loss=None,
        clip_fraction=_mean([update.clip_fraction for update in updates]),
        approx_kl=None,
        ratio_max_dev=None,
        grad_norm=_mean([update.grad_norm for update in updates if update.stepped]),
        learning_rate=updates[-1].learning_rate,
        optimizer_steps=sum(update.stepped for update in updates),
        skipped_updates=sum(not math.isfinite(update.grad_norm) for update in updates),
    )


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
