"""TRL's trainers, which ask ours for completions, rewards and log-probabilities."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rlaif.core.config.trainers import GroupConfig
from rlaif.core.masked import masked_moments, zero_outside
from rlaif.data.prompts import Prompt
from rlaif.policy.model import Policy
from rlaif.policy.parts import inner
from rlaif.policy.tokens import TokenBatch
from rlaif.training.loop.kl_control import end_kl, kl_estimate
from rlaif.training.loop.optimizer import rate_factor
from rlaif.training.loop.progress import Progress
from rlaif.training.loop.rollout import Rollout
from rlaif.training.trl.settings import settings_of, updates_of

REFERENCE = object()
"""Stands where TRL keeps a second model: the policy is its own reference, by its frozen weights or its adapter off."""


@dataclass(frozen=True)
class TRLUpdate:
    """
    What TRL logs of an optimizer step.

    Args:
        loss: of the policy.
        clip_fraction: share of tokens whose ratio was clipped.
        grad_norm: before clipping; may not be finite.
        learning_rate: of the policy.
        stepped: whether the weights changed.

    """

    loss: float
    clip_fraction: float
    grad_norm: float
    learning_rate: float
    stepped: bool


class HasOptimizer(Protocol):
    """What keeps the optimizer of a run."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, with its moments."""
        ...


class Owner(Protocol):
    """The trainer whose steps TRL makes: it gives completions and rewards, and sees each update."""

    args: GroupConfig
    policy: Policy
    prompts: Sequence[Prompt]
    rollout: Rollout
    judged_B: Tensor

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        ...

    @property
    def learner(self) -> HasOptimizer:
        """What keeps the optimizer, so that a resumed run has its state."""
        ...

    def rows(self, step: int) -> list[int]:
        """Return the places in `prompts` of what a step completes."""
        ...

    def complete(self) -> list[list[int]]:
        """Complete the prompts of the next step, and return the ids."""
        ...

    def rewards_of_step(self) -> list[float | None]:
        """Return the rewards of these completions."""
        ...

    def on_update(self, update: TRLUpdate) -> bool:
        """Take the metrics of an optimizer step, and return whether to continue."""
        ...


def trainer_of_trl(owner: Owner) -> Any:
    """Make a GRPOTrainer or RLOOTrainer of TRL's that makes the steps that are left."""
    import trl
    from datasets import Dataset
    from transformers import PrinterCallback

    args, policy = owner.args, owner.policy
    base, config = {
        "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
        "rloo": (trl.RLOOTrainer, trl.RLOOConfig),
    }[args.algorithm]
    longest = max(len(prompt.ids) for prompt in owner.prompts)
    settings = config(**settings_of(args, longest=longest, steps=args.steps - owner.progress.step))
    settings._n_gpu = 1  # of several that are to be seen, transformers would take all
    trainer = type(f"Borrowed{base.__name__}", (TRLBridge, base), {"owner": owner})(
        model=policy.model,
        reward_funcs=rewards_of(owner),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": [str(row) for row in range(len(owner.prompts))]}),
        processing_class=deepcopy(policy.tokenizer),  # it is given a pad token
        optimizers=(owner.learner.optimizer, schedule_of(owner)),
    )
    trainer.remove_callback(PrinterCallback)
    if "ref" in getattr(policy.model, "peft_config", {}):
        policy.model.delete_adapter("ref")  # a copy of an adapter that was trained before: the policy has its own
    trainer.beta, trainer.ref_model = args.kl_coef, REFERENCE if args.kl_coef else None
    return trainer


def rewards_of(owner: Owner) -> Any:
    """Make the reward function: completions have been judged when TRL asks."""

    def give_rewards(**_: Any) -> list[float | None]:
        return owner.rewards_of_step()

    return give_rewards


def schedule_of(owner: Owner) -> Any:
    """Make the schedule of the learning rate: PPO's own, by the step that an optimizer step belongs to."""
    args, done, each = owner.args, owner.progress.step, updates_of(owner.args)
    for group in owner.learner.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = args.learning_rate
    return torch.optim.lr_scheduler.LambdaLR(
        owner.learner.optimizer, lambda update: rate_factor(args, done + 1 + update // each)
    )


class TRLBridge:
    """
    What is done otherwise than TRL does it (trl 1.16, trainer/grpo_trainer.py and rloo_trainer.py).

    TRL is given the numbers of our prompts in the place of texts: it would tokenise these in its own way.
    """

    owner: Owner

    _any_to_learn = False
    """Whether there is something to learn from in the mini-batch: a reward, or a KL that costs something."""

    _steps = False
    """Whether the last one changed the weights."""

    # --- act and judge, by the owner ----------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> PromptSampler:
        return PromptSampler(self.owner, self.num_iterations * self.args.steps_per_generation)  # type: ignore[attr-defined]

    def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, dict[str, object]]:
        numbers = [int(prompt) for prompt in prompts]
        assert numbers == self.owner.rows(self.owner.progress.step + 1), "TRL asks for another step's prompts"
        return [list(self.owner.prompts[number].ids) for number in numbers], None, {}

    def _generate_single_turn(self, prompt_ids: Any, *_: Any) -> Any:
        completion_ids = self.owner.complete()
        return (completion_ids, None) if self.owner.args.algorithm == "grpo" else completion_ids

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        output["judged"] = self.owner.judged_B
        output["reference_ends"] = self.owner.rollout.reference_ends_BR
        if self.owner.args.algorithm == "rloo":
            output["advantages"] = _add_unjudged_kl(self.owner, output["advantages"])
        return output

    # --- log-probabilities, by the policy -----------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor | None, None]:
        """
        Return log-probabilities and, when learning, entropies of the completions, [B, R].

        TRL's own are of positions that count from the padding, which is on the left: off for a model with absolute
        ones. Those of the completions as they were sampled, and of the reference, are known since then.
        """
        rollout = self.owner.rollout
        if not torch.is_grad_enabled():
            known_BR = rollout.reference_BR if model is REFERENCE else rollout.old.logprobs
            return known_BR[:, :logits_to_keep], None, None
        prompt_length = input_ids.shape[1] - logits_to_keep
        prompt_BP, response_BR = input_ids[:, :prompt_length], input_ids[:, prompt_length:]
        mask_BT = attention_mask.bool()
        tokens = TokenBatch(prompt_BP, mask_BT[:, :prompt_length], response_BR, mask_BT[:, prompt_length:])
        wanted = self.owner.args.algorithm == "grpo" and self.owner.args.entropy_coef > 0
        scored = self.owner.policy(tokens, entropies=wanted)
        self._ends_BR = scored.ends
        return scored.logprobs, scored.entropies if wanted else torch.zeros_like(scored.logprobs), None

    # --- learn, by TRL ------------------------------------------------------------------------------------------------

    def training_step(self, *given: Any) -> Any:
        """Let activations be recomputed, and LoRA's dropout act, from the loss to the end of the backward pass."""
        with ExitStack() as self._learning:
            return super().training_step(*given)  # type: ignore[misc]

    def compute_loss(self, model: Any, inputs: Any, **more: Any) -> Any:
        """See `training_step`."""
        self._learning.enter_context(self.owner.policy.learning_mode())
        self._any_to_learn |= bool(inputs["judged"].any()) or self.owner.args.kl_coef > 0
        loss = super().compute_loss(model, inputs, **more)  # type: ignore[misc]
        kl_coef = self.owner.args.kl_coef
        return loss + kl_coef * _mean_end_kl(self, inputs) if kl_coef else loss

    def _clip_grad_norm(self, model: Any) -> Any:
        """Shorten gradients; where nothing is learned, or they are not finite, leave none: Adam makes no step then."""
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        self._steps = self._any_to_learn and math.isfinite(norm)
        if not self._steps:
            model.zero_grad(set_to_none=True)
        self._any_to_learn = False
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Pass the metrics of an optimizer step to the owner."""
        super().log(logs, start_time)  # type: ignore[misc]
        if "loss" not in logs:
            return
        update = TRLUpdate(
            logs["loss"], logs["clip_ratio/region_mean"], logs["grad_norm"], logs["learning_rate"], self._steps
        )
        if not self.owner.on_update(update):
            self.control.should_training_stop = True  # type: ignore[attr-defined]

    def _send_telemetry(self) -> None:
        """Tell nobody."""


class PromptSampler(torch.utils.data.Sampler[int]):
    """The prompts of the steps that are left, those of each as often as TRL asks for them."""

    def __init__(self, owner: Owner, repeats: int) -> None:
        self._owner, self._repeats = owner, repeats
        self._steps = range(owner.progress.step + 1, owner.args.steps + 1)

    def __len__(self) -> int:
        return len(self._steps) * self._repeats * self._owner.args.batch_size

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            rows = self._owner.rows(step)
            for _ in range(self._repeats):
                yield from rows


@contextmanager
def restore_after_training(model: Any) -> Iterator[None]:
    """Let TRL train a model, silently, and change nothing of it but its weights."""
    own = inner(model)
    settings = deepcopy((own.config, own.generation_config))

    def only_the_flag(mode: bool = True) -> Any:
        model.training = mode  # TRL reads it; dropout stays off
        return model

    model.train = only_the_flag
    try:
        with silent():
            yield
    finally:
        del model.train
        model.training = False
        vars(own).pop("forward", None)  # a fused output layer, which the policy has of its own
        own.config.__dict__.update(vars(settings[0]))
        own.generation_config = settings[1]


@contextmanager
def silent() -> Iterator[None]:
    """Let TRL and what it stands on say only what is an error."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("trl", "transformers", "accelerate")}
    with warnings.catch_warnings():
        for library in ("trl", "transformers", "accelerate", "torch"):
            warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in loggers.items():
                logger.setLevel(level)


def _add_unjudged_kl(owner: Owner, advantages_B: Tensor) -> Tensor:
    """
    Return RLOO's advantages, normalised if asked, with those of unjudged completions: their KL alone.

    GRPO's loss draws each token to the reference, judged or not. RLOO has the KL in the reward, of which TRL gives
    a completion without a reward none.
    """
    rollout = owner.rollout
    judged_B = owner.judged_B
    kl_BR = kl_estimate(rollout.old.logprobs, rollout.reference_BR, rollout.tokens.mask_BR, "k1")
    unjudged_B = (-owner.args.kl_coef * kl_BR.sum(1)).masked_fill(judged_B, 0)
    factor = 1.0
    if owner.args.whiten_advantages:  # by TRL's own rule, over completions that were compared with others
        size = owner.args.num_generations
        compared_B = judged_B & (judged_B.view(-1, size).sum(1).repeat_interleave(size) > 1)
        mean, variance = masked_moments(advantages_B, compared_B)
        count = float(compared_B.sum())
        factor = 1 / (math.sqrt(float(variance) * count / (count - 1)) + 1e-4) if count > 1 else 1.0
        advantages_B = zero_outside(advantages_B - mean.to(advantages_B.dtype), compared_B)
    return factor * (advantages_B + unjudged_B)


def _mean_end_kl(bridge: TRLBridge, inputs: Any) -> Any:
    """Return the KL of the ends that `min_new_tokens` blocks, by the same mean as TRL's loss."""
    mask_BR = inputs["completion_mask"].bool()
    reference_BR = inputs["reference_ends"][:, : mask_BR.shape[1]]
    total = end_kl(bridge._ends_BR, reference_BR, mask_BR).sum()
    if bridge.owner.args.algorithm == "rloo":
        return total / len(mask_BR)
    micro_batches = bridge.current_gradient_accumulation_steps / bridge.args.steps_per_generation  # type: ignore[attr-defined]
    return total / (inputs["num_items_in_batch"].clamp(min=1.0) * micro_batches)
