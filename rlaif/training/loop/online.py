"""A trainer that learns from rewards of its own completions: what PPO, GRPO and RLOO have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rlaif.core.config.trainers import PPOConfig, refuse_biased
from rlaif.core.errors import InputError
from rlaif.core.records.steps import Step
from rlaif.core.schema import check, short_repr
from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import memory
from rlaif.core.system.distributed import Processes
from rlaif.data.prompts import Prompt, prompts_of
from rlaif.judges.asking import refuse_unasked
from rlaif.judges.rewards import Pending, Rewards, SourceReward
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.loading import LoadedModel, load_any
from rlaif.policy.model import Policy
from rlaif.policy.sampler_check import check_sampler
from rlaif.training.loop.batches import Batches
from rlaif.training.loop.display import describe_step
from rlaif.training.loop.kl_control import AdaptiveKL, FixedKL
from rlaif.training.loop.progress import OnlineProgress
from rlaif.training.loop.rollout import Rollout, act
from rlaif.training.loop.step_metrics import RolloutMetrics, UpdateMetrics, spread, verdict_metrics
from rlaif.training.loop.stopping import reason_to_stop
from rlaif.training.loop.trainer import Callback, Trainer, check_callbacks

Verdicts = Sequence[Sequence[SourceReward]]
"""What each source of rewards said of each completion."""


@dataclass(frozen=True)
class StepParts:
    """
    What the metrics of a step are made of.

    Args:
        rollout: of the completions and their rewards.
        verdicts: of each source of rewards.
        update: of the optimizer steps.
        began_at: when the step began, by `time.perf_counter`.

    """

    rollout: RolloutMetrics
    verdicts: Verdicts
    update: UpdateMetrics
    began_at: float


class OnlineTrainer(Trainer):
    """
    Completes prompts, has the completions judged, and learns from the rewards.

    The arguments are described at `rlaif.PPOTrainer`, which people make.
    """

    settings: type[PPOConfig] = PPOConfig
    """Of what kind `args` are."""

    args: PPOConfig
    progress: OnlineProgress

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: PPOConfig | None = None,
        train_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        callbacks: Sequence[Callback] | None = None,
        merge: bool = False,
    ) -> None:
        self.args = args = check_args(args, self.settings)
        refuse_biased(args)
        self._refuse(model)
        callbacks = check_callbacks(callbacks)
        is_ready = isinstance(reward_funcs, Rewards)
        self.rewards = reward_funcs if is_ready else Rewards(reward_funcs, args.reward_weights, args.reward)
        refuse_no_rows(train_dataset)
        processes = Processes(args.judge_patience, args.report_to, args.output_dir)
        processes.share(args.batch_size)  # refused, where it cannot be shared, before a model loads
        policy = load_policy(model, processing_class, peft_config, args, processes)
        self.prompts, self.notes = read_prompts(train_dataset, policy.tokenizer, args.max_prompt_tokens)
        self.rewards.refuse_lacking(self.prompts)
        policy.refuse_unfit([len(prompt.ids) for prompt in self.prompts], args.max_new_tokens)
        self.sampling = Sampling(args.max_new_tokens, args.min_new_tokens, args.temperature, args.top_p)
        batches = Batches(len(self.prompts), self.prompts_a_step, args.seed)
        super().__init__(args, policy, batches, processes, callbacks, merge=merge)

    @property
    def prompts_a_step(self) -> int:
        """Different prompts that a step completes, over all processes."""
        return self.args.batch_size

    def rows(self, step: int) -> list[int]:
        """Return the places in `prompts` of what this process completes in a step."""
        return self.batches.rows_of(step, self.share)

    # --- a step -----------------------------------------------------------------------------------------------------

    def act(self, step: int) -> tuple[Rollout, Pending]:
        """Complete the prompts of a step; its seed differs by step and process, so that no two sample alike."""
        prompts = [self.prompts[row] for row in self.rows(step)]
        torch.manual_seed(seed_of(self.args.seed, step, self.processes.rank))
        with memory("acting", "training.batch_size, generation.max_new_tokens or training.micro_batch_tokens"):
            return act(
                self.policy,
                prompts,
                self.rewards,
                self.sampling,
                micro_batch_tokens=self.args.micro_batch_tokens,
                poll=self.interruption.poll,
            )

    def wait_for_rewards(self, pending: Pending) -> list[list[SourceReward]]:
        """Wait for the verdicts, or raise where a judge stays down or the budget is spent."""
        verdicts = pending.result(patience=self.args.judge_patience, poll=self.interruption.poll)
        for source, rewards in zip(self.rewards.sources, verdicts, strict=True):
            refuse_unasked(source.name, rewards, self.args.judge_patience)
        return verdicts

    def _show_first_rewards(self, rewards_B: Tensor, judged_B: Tensor) -> None:
        """Say how the rewards of a run's first step are spread."""
        if not self.progress.step:
            self.view.first(*spread(self.processes.gather(rewards_B.masked_fill(~judged_B, torch.nan))))

    def _end_online_step(self, parts: StepParts) -> None:
        """Make the metrics of a step, adapt the KL coefficient, see whether to stop, and end the step."""
        progress, number = self.progress, self.progress.step + 1
        judges, usd = verdict_metrics(
            self.rewards.sources, parts.verdicts, self.processes.device, self.processes.reduce
        )
        step = Step(
            step=number, samples=number * self.args.batch_size, **vars(parts.rollout), judges=judges,
            kl_coef=progress.kl_coef.value, **vars(parts.update), usd=usd,
            seconds=time.perf_counter() - parts.began_at, alarms=(),
        )  # fmt: skip
        progress.add(step, self.args)
        if why := self._reason_to_stop():
            self.stop(why)
        self.end_step(step, describe_step(step, progress.spent))

    # --- what trainers differ in --------------------------------------------------------------------------------------

    def _refuse(self, model: Any) -> None:
        """Raise `InputError` where this trainer cannot do what is asked of it, before a model loads."""

    def make_progress(self) -> OnlineProgress:
        """Make what is counted beside the weights: KL coefficient, spending, moments of rewards."""
        args = self.args
        if args.adap_kl_ctrl:
            return OnlineProgress(kl_coef=AdaptiveKL(args.kl_coef, args.target, args.horizon))
        return OnlineProgress(kl_coef=FixedKL(args.kl_coef))

    def _load(self) -> None:
        self.rewards.load()

    def _reason_to_stop(self) -> str | None:
        return reason_to_stop(self.progress.window, self.args)


def check_args(args: PPOConfig | None, kind: type[PPOConfig]) -> PPOConfig:
    """Return the arguments of a trainer, the defaults where there are none, or raise `InputError` for a wrong one."""
    if args is not None and not isinstance(args, kind):
        raise InputError(f"args: should be a rlaif.{kind.__name__}, not {short_repr(args)}")
    return check(kind, asdict(args or kind()), "args")


def load_policy(model: Any, tokenizer: Any, lora: Any, args: PPOConfig, processes: Processes) -> Policy:
    """Load the policy onto the device of its process, with the same weights in all of them."""
    torch.manual_seed(seed_of(args.seed, "adapter"))
    loaded = load_any(model, tokenizer, lora, args.dtype, processes.device)
    policy = Policy(
        loaded, temperature=args.temperature, min_new_tokens=args.min_new_tokens, critic=args.critic,
        gradient_checkpointing=args.gradient_checkpointing,
    ).to(processes.device)  # fmt: skip
    processes.broadcast_from_main(list(policy.weights().values()))
    policy.rounding = check_sampler(policy, "policy.model" if isinstance(model, LoadedModel) else "model")
    return policy


def refuse_no_rows(dataset: Any) -> None:
    """Raise `InputError` where a data set holds no rows."""
    if not isinstance(dataset, Iterable) or isinstance(dataset, str):
        raise InputError(f"train_dataset: should be rows with a `prompt`, not {short_repr(dataset)}")


def read_prompts(dataset: Any, tokenizer: Any, max_tokens: int | None) -> tuple[Sequence[Prompt], tuple[str, ...]]:
    """Return the prompts of a data set, and notes on what was done to them."""
    if isinstance(dataset, list | tuple) and dataset and isinstance(dataset[0], Prompt):
        return dataset, ()
    return prompts_of(dataset, tokenizer, max_prompt_tokens=max_tokens)
