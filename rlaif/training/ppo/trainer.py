"""PPO against any judge: act, judge, assign, learn."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from rlaif.core.errors import RlaifError
from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import memory
from rlaif.policy.parts import drops_out
from rlaif.training.loop.online import OnlineTrainer, StepParts, Verdicts
from rlaif.training.loop.rollout import Rollout
from rlaif.training.loop.step_metrics import UpdateMetrics, rollout_metrics
from rlaif.training.loop.trainer import Callback
from rlaif.training.ppo.credit import Credit, assign
from rlaif.training.ppo.formulas import explained_variance
from rlaif.training.ppo.learner import BatchShare, Learner

__all__ = ["Callback", "PPOTrainer"]


class PPOTrainer(OnlineTrainer):
    """
    Fine-tunes a causal or seq2seq model by PPO (Schulman et al. 2017) against a judge.

    The arguments are those of TRL's GRPOTrainer. `args.output_dir` gets metrics.jsonl, checkpoints/ and model/.

    Args:
        model: hub id or folder of a model or of a LoRA adapter, or a model.
        reward_funcs: a judge, a card, a function of TRL's contract (`prompts, completions, completion_ids, **columns`
            -> `list[float | None]`), or a list of these. A row with a None weighs nothing.
        args: the keys of `training`, `ppo` and `generation`, and what is around them.
        train_dataset: rows with a `prompt` (text or messages), a list of texts, or prompts.
        processing_class: the tokenizer, where it is not the model's own.
        peft_config: a peft `LoraConfig` trains an adapter; the model with it off is the reference.
        callbacks: see each step.
        merge: merge a LoRA adapter into the model that is written.

    Raises:
        InputError: an argument is wrong; before a model loads, where that can be known.

    """

    learner: Learner

    def make_learner(self) -> Learner:
        """Make the optimizer of policy and critic."""
        return Learner(self.policy, self.args, self.processes.reduce, self.processes.all_reduce_gradients)

    def make_step(self, step: int) -> None:
        """Make a step: act, judge, assign, learn."""
        began_at = time.perf_counter()
        with self.checkpoints.save_on_failure():
            rollout, pending = self.act(step)
            verdicts = self.wait_for_rewards(pending)
        credit = self.assign(rollout, verdicts)
        update = self._complete_update(self.learn(rollout, credit, step), rollout, credit)
        about = rollout_metrics(rollout, credit.rewards_B, credit.judged_B, self.processes.reduce)
        self._end_online_step(StepParts(about, verdicts, update, began_at))

    def assign(self, rollout: Rollout, verdicts: Verdicts) -> Credit:
        """Spread the rewards over the tokens that earned them."""
        rewards, progress = self.rewards.combine(verdicts), self.progress
        credit = assign(rollout, rewards, progress.kl_coef.value, self.args, progress.moments, self.processes.reduce)
        self._show_first_rewards(credit.rewards_B, credit.judged_B)
        return credit

    def learn(self, rollout: Rollout, credit: Credit, step: int) -> UpdateMetrics:
        """Make the optimizer steps of a batch, and return their metrics on this process."""
        share = BatchShare(self.share, self.args.batch_size, step, seed_of(self.args.seed, step, "shuffle"))
        with memory("learning", "training.micro_batch_tokens, or set policy.gradient_checkpointing: true"):
            return self.learner.update(rollout, credit, share)

    def _complete_update(self, update: UpdateMetrics, rollout: Rollout, credit: Credit) -> UpdateMetrics:
        """Return the metrics of the optimizer steps over all processes, with those of the critic."""
        reduce = self.processes.reduce
        variance = explained_variance(rollout.old.values, credit.returns_BR, credit.mask_BR, reduce)
        deviation = self.processes.largest(update.ratio_max_dev)
        self._refuse_first_ratio(deviation)
        return replace(update, ratio_max_dev=deviation, explained_variance=float(variance))

    def _refuse_first_ratio(self, deviation: float | None) -> None:
        """Raise `RlaifError` where the first ratio of a step, before any update, is another than 1 but for rounding."""
        bound = math.expm1(self.policy.rounding) if self.policy.rounding is not None else math.inf
        if deviation is not None and deviation > bound and not drops_out(self.policy.model):
            raise RlaifError(
                f"the first ratio of step {self.progress.step + 1} is off by {deviation:.2g}, where rounding is "
                f"{bound:.2g}: the same tokens are scored otherwise when they are learned from; the checkpoints before "
                f"it are in {self.checkpoints.folder}"
            )
