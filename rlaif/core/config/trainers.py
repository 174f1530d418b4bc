"""The `args` of trainers: the keys of several sections in one flat dataclass."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from rlaif.core.config.knobs import knob
from rlaif.core.config.sections import (
    GenerationSection,
    GroupSection,
    PPOSection,
    TrainingSection,
    refuse_split_groups,
)
from rlaif.core.errors import InputError
from rlaif.core.ranges import Count, Positive, Share


@dataclass(frozen=True, kw_only=True)
class PPOConfig(GenerationSection, PPOSection, TrainingSection):
    """
    The `args` of `PPOTrainer`: the keys of `training`, `ppo` and `generation`, and the other settings of the trainer.

    The trainer checks the values, and names a wrong one.
    """

    output_dir: str = knob("runs/ppo", "folder of metrics.jsonl, checkpoints and the model")
    seed: int = knob(0, "seed of everything random")
    reward: Literal["auto", "logit", "score"] = knob("auto", "number of the judge to learn from")
    reward_weights: list[float] | None = knob(None, "one weight for each of `reward_funcs`; null: 1 each")
    dtype: Literal["auto", "float32", "bfloat16"] = knob("auto", "type of the frozen base and of autocast")
    critic: Literal["shared", "separate"] = knob(
        "shared", "value head on the policy's trunk, or on a network of its own"
    )
    gradient_checkpointing: bool = knob(False, "recompute activations: less memory, slower")
    max_prompt_tokens: Count | None = knob(None, "longer prompts are truncated on the left; null: no limit")
    save_steps: Count = knob(20, "steps between checkpoints")
    save_total_limit: Count = knob(2, "number of newest checkpoints to keep")
    stop_score: Share | None = knob(None, "stop at this mean score over the window")
    stop_window: Count = knob(10, "number of steps to average over")
    stop_kl: Positive | None = knob(None, "stop at this mean KL over the window, in nats per completion")
    report_to: list[str] = knob([], "trackers, through accelerate: wandb, tensorboard, ...")

    def __post_init__(self) -> None:
        with suppress(TypeError, ZeroDivisionError):  # a value of a wrong type is reported elsewhere
            TrainingSection.__post_init__(self)
            PPOSection.__post_init__(self)
            GenerationSection.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class GroupConfig(GroupSection, PPOConfig):
    """The `args` of `GroupTrainer`: those of `PPOTrainer`, the algorithm, and the size of groups."""

    algorithm: Literal["grpo", "rloo"] = knob("grpo", "which of TRL's trainers to use")

    def __post_init__(self) -> None:
        PPOConfig.__post_init__(self)
        with suppress(TypeError, ZeroDivisionError):  # a value of a wrong type is reported elsewhere
            refuse_split_groups(self.batch_size, self.num_generations)


def refuse_biased(args: PPOConfig) -> None:
    """
    Raise `InputError` where training would end elsewhere than at the optimum of reward less KL.

    It is no rule of the sections, as runs of 0.1.0 that have such values can still be read and measured.
    """
    if args.top_p < 1:
        raise InputError(
            f"generation.top_p: {args.top_p} makes the KL of what is sampled unbounded, so it cannot be trained with; "
            "leave it at 1.0"
        )
    if isinstance(args, GroupConfig):
        return
    if args.kl_estimator == "k3":
        raise InputError("ppo.kl_estimator: k3 draws PPO to another optimum; take k1, or ppo.kl_in: loss with k2")
    if args.kl_estimator == "k2" and args.kl_in == "reward":
        raise InputError(
            "ppo.kl_estimator: k2 in the reward pushes away from the reference; take k1, or ppo.kl_in: loss"
        )
