"""PPO against any judge: act, judge, assign, learn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import memory
from rlaif.judges.rewards import SourceReward
from rlaif.training.loop.rollout import Rollout
from rlaif.training.loop.step_metrics import rollout_metrics
from rlaif.training.loop.trainer import Callback, Trainer
from rlaif.training.ppo.credit import Credit, assign
from rlaif.training.ppo.formulas import explained_variance
from rlaif.training.ppo.learner import Learner

__all__ = ["Callback", "PPOTrainer"]


class PPOTrainer(Trainer):
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

    def _learner(self) -> Learner:
        return Learner(self.policy, self.args, self.processes.reduce, self.processes.all_reduce_gradients)

    def _steps(self) -> None:
        while self.progress.step < self.args.steps and not self.stopped:
            start, step = time.perf_counter(), self.progress.step + 1
            with self._checkpoint_on_failure():
                rollout, pending = self.act(step)
                verdicts = self.wait_for_rewards(pending)
            credit = self.assign(rollout, verdicts)
            update = self.learn(rollout, credit, step)
            metrics = self.make_metrics(step, rollout, credit, verdicts, update, start)
            self._end_of_step(metrics)

    # --- a step -----------------------------------------------------------------------------------------------------

    def assign(self, rollout: Rollout, verdicts: Sequence[Sequence[SourceReward]]) -> Credit:
        """Spread the rewards over the tokens that earned them."""
        rewards, progress = self.rewards.combine(verdicts), self.progress
        credit = assign(rollout, rewards, progress.kl_coef.value, self.args, progress.moments, self.processes.reduce)
        self._first(credit.rewards_B, credit.judged_B)
        return credit

    def learn(self, rollout: Rollout, credit: Credit, step: int) -> dict[str, Any]:
        """Make the optimizer steps of a batch, and return what is told of them."""
        seed = seed_of(self.args.seed, step, "shuffle")
        with memory("learning", "training.micro_batch_tokens, or set policy.gradient_checkpointing: true"):
            return self.learner.update(
                rollout, credit, rows=self.share, batch=self.args.batch_size, step=step, seed=seed
            )

    def make_metrics(
        self,
        step: int,
        rollout: Rollout,
        credit: Credit,
        verdicts: Sequence[Sequence[SourceReward]],
        update: dict[str, Any],
        start: float,
    ) -> dict[str, Any]:
        """Return the metrics of a step."""
        about = rollout_metrics(rollout, credit.rewards_B, credit.judged_B, self.processes.reduce)
        update["ratio_max_dev"] = self.processes.largest(update["ratio_max_dev"])
        values = (rollout.old.values, credit.returns_BR, credit.mask_BR)
        update["explained_variance"] = float(explained_variance(*values, self.processes.reduce))
        return self._line(step, about, verdicts, update, start)
